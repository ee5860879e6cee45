"""E-mail by SMTP, encrypted on the way: `smtps://` from the first byte, `smtp://` by STARTTLS (plain on loopback only)."""

from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import format_datetime
from urllib.parse import unquote, urlsplit

from paystate.domain.alerts.port import Message, NotSent
from paystate.kit.clock import SystemClock, as_datetime
from paystate.machinery.settings import Settings

TIMEOUT_SECONDS = 20
PORTS = {"smtps": 465, "smtp": 587}
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Email:
    """The operators' addresses, over the one server that is set; without a server it has no addresses."""

    name = "email"

    def __init__(self, server: str, sender: str, to: Sequence[str]) -> None:
        self._server = server
        self._sender = sender
        self._to = tuple(to)

    def addresses(self) -> Sequence[str]:
        return self._to if self._server else ()

    async def send(self, address: str, message: Message) -> None:
        # Imported here: most processes never send, and start sooner without.
        import aiosmtplib

        if address not in self.addresses():
            raise NotSent("The address is set no longer.")
        parts = urlsplit(self._server)
        host = parts.hostname or ""
        try:
            await aiosmtplib.send(
                self._letter(address, message),
                hostname=host,
                port=parts.port or PORTS[parts.scheme],
                username=unquote(parts.username) if parts.username else None,
                password=unquote(parts.password) if parts.password else None,
                use_tls=parts.scheme == "smtps",
                start_tls=None if host in LOOPBACK else parts.scheme == "smtp",
                timeout=TIMEOUT_SECONDS,
            )
        except aiosmtplib.SMTPResponseException as error:
            raise NotSent(f"The mail server answered {error.code}.") from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise NotSent(f"The mail server could not be used ({type(error).__name__}).") from error

    def _letter(self, address: str, message: Message) -> EmailMessage:
        letter = EmailMessage()
        letter["From"] = self._sender
        letter["To"] = address
        letter["Subject"] = message.subject
        letter["Date"] = format_datetime(as_datetime(SystemClock().now()))
        letter["Message-ID"] = f"<{message.id}@{self._sender.rpartition('@')[2]}>"
        letter["Auto-Submitted"] = "auto-generated"
        letter.set_content(message.text)
        return letter


def make(settings: Settings) -> Email:
    """The channel as the settings want it."""
    server = "" if settings.smtp_url is None else settings.smtp_url.reveal()
    host = urlsplit(settings.public_url).hostname or "localhost"
    return Email(server, settings.email_from or f"paystate@{host}", settings.alert_emails)
