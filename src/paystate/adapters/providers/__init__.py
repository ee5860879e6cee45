"""Payment providers, one vendor per file; whatever lies in this folder is found and offered."""

import importlib
import pkgutil

from paystate.domain.payments.port import Provider
from paystate.machinery.http import Http


def load_providers(http: Http) -> dict[str, Provider]:
    """Every adapter of this folder by its name; each module offers `make(http) -> Provider`."""
    found = {}
    for info in pkgutil.iter_modules(__path__):
        provider: Provider = importlib.import_module(f"{__name__}.{info.name}").make(http)
        found[provider.name] = provider
    return found
