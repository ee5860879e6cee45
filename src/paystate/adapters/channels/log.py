"""The log as a channel: every alert is a line of it, also where nothing else is set."""

from collections.abc import Sequence

from paystate.domain.alerts.port import Message
from paystate.machinery.logs import get_logger
from paystate.machinery.settings import Settings

ADDRESS = "log"
log = get_logger(__name__)


class Log:
    """Always there, and never fails: a log that cannot be written stops nobody."""

    name = "log"

    def addresses(self) -> Sequence[str]:
        return (ADDRESS,)

    async def send(self, address: str, message: Message) -> None:
        del address
        log.warning("alert", event_id=message.id, detail=message.subject)


def make(settings: Settings) -> Log:
    """The channel; it needs nothing set."""
    del settings
    return Log()
