"""Channels that tell operators of alerts, one per file; whatever lies in this folder is found and offered."""

import importlib
import pkgutil

from paystate.domain.alerts.port import Channel
from paystate.machinery.settings import Settings


def load_channels(settings: Settings) -> dict[str, Channel]:
    """Every channel of this folder by its name; each module offers `make(settings) -> Channel`."""
    found = {}
    for info in pkgutil.iter_modules(__path__):
        channel: Channel = importlib.import_module(f"{__name__}.{info.name}").make(settings)
        found[channel.name] = channel
    return found
