"""A customer's browser in a demo: it follows links and redirects and presses buttons, and knows no script."""

import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import urlencode, urljoin, urlsplit

from paystate.kit.errors import PaystateError

CALL_SECONDS = 30.0
MAX_PAGE_BYTES = 1024 * 1024
REDIRECTS = 5
FORM = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}


class Lost(PaystateError):
    """The page is not there, or has no such button."""

    code = "customer_lost"


@dataclass(frozen=True, slots=True)
class Form:
    """A form of a page: where it leads, and its fields."""

    action: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Seen:
    """A page as it was answered."""

    url: str
    html: str

    @property
    def links(self) -> list[str]:
        return [urljoin(self.url, href) for href in _read(self.html).links]

    @property
    def forms(self) -> list[Form]:
        return [Form(urljoin(self.url, form.action), form.fields) for form in _read(self.html).forms]

    def form(self, **having: str) -> Form:
        """The first form with these fields. Raises Lost."""
        for form in self.forms:
            if having.items() <= form.fields.items():
                return form
        raise Lost(f"The page {self.url} has no form with {having}.")


class Customer:
    """One browser; it never runs a script and never waits."""

    def open(self, url: str) -> Seen:
        return self._call("GET", url, b"")

    def submit(self, form: Form, **typed: str) -> Seen:
        """Press the form's button after typing into some of its fields."""
        return self._call("POST", form.action, urlencode({**form.fields, **typed}).encode())

    def _call(self, method: str, url: str, body: bytes) -> Seen:
        for _ in range(REDIRECTS):
            status, location, html = _asked(method, url, body)
            if location is None:
                if status >= 400:
                    raise Lost(f"{method} {url} was answered with {status}.")
                return Seen(url, html)
            method, url, body = "GET", urljoin(url, location), b""
        raise Lost(f"{url} leads on and on.")


def _asked(method: str, url: str, body: bytes) -> tuple[int, str | None, str]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=CALL_SECONDS)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    try:
        connection.request(method, path, body=body or None, headers=FORM if method == "POST" else {})
        answer = connection.getresponse()
        html = answer.read(MAX_PAGE_BYTES).decode("utf-8", "replace")
        return answer.status, answer.headers.get("Location"), html
    finally:
        connection.close()


class _Reader(HTMLParser):
    """Collects forms with their named fields, and links."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: list[str] = []
        self._fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._fields = {}
            self.forms.append(Form(given.get("action", ""), self._fields))
        elif tag in ("input", "select") and given.get("name"):
            self._fields[given["name"]] = given.get("value", "")
        elif tag == "a" and given.get("href"):
            self.links.append(given["href"])


def _read(html: str) -> _Reader:
    reader = _Reader()
    reader.feed(html)
    return reader
