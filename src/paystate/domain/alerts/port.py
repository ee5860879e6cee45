"""What telling of an alert needs from outside: channels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class NotSent(Exception):
    """It did not go out, or nobody knows; `str()` says why in one line, without secrets."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is told. `id` is the same for every try of one telling, for receivers that drop repeats."""

    id: str
    subject: str
    text: str


class Channel(Protocol):
    """One way of telling somebody."""

    @property
    def name(self) -> str: ...

    def addresses(self) -> Sequence[str]:
        """Every address that is set, as it may be stored and shown: without secrets."""

    async def send(self, address: str, message: Message) -> None:
        """Hand the message over. Raises NotSent, also for an address that is set no longer."""
