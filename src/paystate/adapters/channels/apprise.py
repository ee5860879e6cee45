"""Chats and pagers by Apprise: Slack, Discord, Teams, Telegram, ntfy … whatever has an Apprise URL."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from paystate.domain.alerts.port import Message, NotSent
from paystate.machinery.secrets import Secret
from paystate.machinery.settings import Settings

TIMEOUT_SECONDS = 30
SHOWN_DIGITS = 12


class Apprise:
    """URLs hold tokens: an address is the URL's scheme and digest, under which the setting is found again."""

    name = "apprise"

    def __init__(self, urls: Sequence[Secret]) -> None:
        self._urls: Mapping[str, Secret] = {_address(url): url for url in urls}

    def addresses(self) -> Sequence[str]:
        return tuple(self._urls)

    async def send(self, address: str, message: Message) -> None:
        url = self._urls.get(address)
        if url is None:
            raise NotSent("The URL is set no longer.")
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await asyncio.to_thread(_notify, url, message)
        except TimeoutError:
            raise NotSent(f"No answer within {TIMEOUT_SECONDS} s.") from None


def _notify(url: Secret, message: Message) -> None:
    """Apprise tells why only to its own log, which could hold the URL; it stays switched off."""
    import apprise

    sender = apprise.Apprise()
    if not sender.add(url.reveal()):
        raise NotSent("Apprise does not know this kind of URL.")
    if not sender.notify(title=message.subject, body=message.text):
        raise NotSent("The service did not take it.")


def _address(url: Secret) -> str:
    text = url.reveal()
    return f"{urlsplit(text).scheme}:{hashlib.sha256(text.encode()).hexdigest()[:SHOWN_DIGITS]}"


def make(settings: Settings) -> Apprise:
    """The channel with every URL that is set."""
    return Apprise(settings.alert_urls)
