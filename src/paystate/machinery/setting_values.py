"""How the text of a setting becomes a value, and what is said when it does not."""

import ipaddress
import re
import zoneinfo
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from croniter import croniter
from pydantic import BeforeValidator, Field

from paystate.kit.errors import PaystateError
from paystate.kit.text import clean_email, origin_of
from paystate.machinery.secrets import KeyRing, Secret

MIN_CRON_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class RateLimit:
    """So many in so many seconds; written ``600/60``."""

    count: int
    seconds: int

    def __str__(self) -> str:
        return f"{self.count}/{self.seconds}"


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _networks(value: Any) -> Any:
    return [ipaddress.ip_network(str(part)) for part in _split(value)]


def _email(value: Any) -> str:
    try:
        return clean_email(str(value))
    except PaystateError:
        raise ValueError("an e-mail address such as name@example.com is expected") from None


def _rate(value: Any) -> Any:
    if isinstance(value, RateLimit):
        return value
    match = re.fullmatch(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,5})", str(value))
    if match is None:
        raise ValueError("a limit is written as count/seconds, for example 600/60")
    return RateLimit(int(match[1]), int(match[2]))


def _secret(value: Any) -> Any:
    return Secret(value) if isinstance(value, str) else value


def _key_ring(value: Any) -> Any:
    secret = _secret(value)
    if isinstance(secret, Secret):
        KeyRing.parse(secret.reveal())
    return secret


def _cron_secret(value: Any) -> Any:
    secret = _secret(value)
    if isinstance(secret, Secret) and len(secret.reveal().encode()) < MIN_CRON_SECRET_BYTES:
        raise ValueError("at least 32 bytes are needed; make one with: openssl rand -hex 32")
    return secret


def _database(value: Any) -> Any:
    secret = _secret(value)
    if isinstance(secret, Secret):
        url = secret.reveal()
        if not re.match(r"sqlite:///[^:?]|postgresql://", url):
            raise ValueError("use sqlite:///path/of/file.db or postgresql://user@host/name")
    return secret


def _origin(value: Any) -> str:
    parts = urlsplit(str(value))
    if parts.path not in ("", "/") or parts.query:
        raise ValueError("an address without a path is expected, such as https://pay.example.com")
    return origin_of(str(value))


def _cron(value: Any) -> Any:
    if len(str(value).split()) != 5 or not croniter.is_valid(str(value)):
        raise ValueError("a cron expression of five fields is expected, for example */15 * * * *")
    return value


def _zone(value: Any) -> Any:
    if value not in zoneinfo.available_timezones():
        raise ValueError("a time zone such as UTC or Europe/Berlin is expected")
    return value


def _secrets(value: Any) -> Any:
    """Texts apart by spaces: a comma may be part of a URL."""
    parts = value.split() if isinstance(value, str) else value
    return [_secret(part) for part in parts]


def _alert_urls(value: Any) -> Any:
    urls = _secrets(value)
    if any(isinstance(url, Secret) and not urlsplit(url.reveal()).scheme for url in urls):
        raise ValueError("Apprise URLs are expected, apart by spaces, such as ntfys://topic")
    return urls


def _smtp_url(value: Any) -> Any:
    secret = _secret(value)
    if isinstance(secret, Secret):
        parts = urlsplit(secret.reveal())
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname or parts.path not in ("", "/"):
            raise ValueError("use smtps://user:password@host or smtp://user:password@host:587")
    return secret


Texts = Annotated[tuple[str, ...], BeforeValidator(_split)]
Networks = Annotated[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...], BeforeValidator(_networks)]
Email = Annotated[str, BeforeValidator(_email)]
Emails = Annotated[tuple[Email, ...], BeforeValidator(_split)]
Rate = Annotated[RateLimit, BeforeValidator(_rate)]
Origin = Annotated[str, BeforeValidator(_origin)]
Cron = Annotated[str, BeforeValidator(_cron)]
Zone = Annotated[str, BeforeValidator(_zone)]
Region = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
DatabaseUrl = Annotated[Secret, BeforeValidator(_database)]
KeyText = Annotated[Secret, BeforeValidator(_key_ring)]
CronSecret = Annotated[Secret, BeforeValidator(_cron_secret)]
AlertUrls = Annotated[tuple[Secret, ...], BeforeValidator(_alert_urls)]
SmtpUrl = Annotated[Secret, BeforeValidator(_smtp_url)]
