"""The rules every text from outside must pass: strings, card numbers, e-mail addresses, URLs for a customer's browser."""

import ipaddress
import re
import unicodedata
from collections.abc import Collection, Iterator
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from paystate.kit.errors import Refused, invalid

MAX_URL_LENGTH = 2048
MAX_EMAIL_LENGTH = 254
_MAX_LOCAL_LENGTH = 64
_MAX_LABEL_LENGTH = 63
_MAX_HOST_LENGTH = 253
_CARD_LENGTHS = range(13, 20)

LengthCode = Literal["invalid_length", "too_long"]

# C1 controls, lone surrogates, zero-width characters, line and paragraph separators, bidirectional overrides, BOM.
_HIDDEN = "\x7f-\x9f\u200b-\u200d\u2028\u2029\u202a-\u202e\u2060\u2066-\u2069\ufeff\ud800-\udfff"
_NOT_IN_A_LINE = re.compile(f"[\x00-\x1f{_HIDDEN}]")
_NOT_IN_LINES = re.compile(f"[\x00-\x09\x0b-\x1f{_HIDDEN}]")


def clean_text(
    value: str,
    *,
    pointer: str,
    max_length: int,
    min_length: int = 0,
    single_line: bool = True,
    length_code: LengthCode = "invalid_length",
) -> str:
    """The text in NFC, safe to store, sign and show.

    Raises Refused: `invalid_characters` for control, zero-width or bidirectional characters, lone surrogates and
    outer spaces (with `single_line=False` a line feed is allowed inside); `length_code` above `max_length` code
    points, `invalid_length` below `min_length`.
    """
    if len(value) > 4 * max_length:  # NFC makes one of four at most; a flood is not normalised
        raise _wrong_length(pointer, length_code, min_length, max_length)
    text = unicodedata.normalize("NFC", value)
    forbidden = _NOT_IN_A_LINE if single_line else _NOT_IN_LINES
    if forbidden.search(text) or text != text.strip():
        raise invalid(
            pointer,
            "invalid_characters",
            "Control, invisible and direction-changing characters and outer spaces are not allowed.",
        )
    if len(text) > max_length:
        raise _wrong_length(pointer, length_code, min_length, max_length)
    if len(text) < min_length:
        raise _wrong_length(pointer, "invalid_length", min_length, max_length)
    return text


def _wrong_length(pointer: str, code: str, min_length: int, max_length: int) -> Refused:
    return invalid(pointer, code, f"Between {min_length} and {max_length} characters are allowed.")


_DIGIT_RUN = re.compile(r"\d(?:[\d\s\u2010-\u2015\u2212-]*\d)?")
_NOT_DIGITS = re.compile(r"\D+")
_CARD_START = re.compile(r"[2-6]|81|9792")
"""Issuer prefixes in use. Leaving out 0 and 1 keeps timestamps and counters from looking like cards."""


def looks_like_card(text: str) -> bool:
    """Whether the text contains what may be a card number: 13 to 19 digits, grouped or not, that pass Luhn."""
    return any(_passes_luhn(digits) for digits in _candidates(text))


def _candidates(text: str) -> Iterator[str]:
    for run in _DIGIT_RUN.finditer(text):
        groups = [_ascii_digits(group) for group in _NOT_DIGITS.split(run.group())]
        yield from groups
        for first, group in enumerate(groups):
            if len(group) == 4:  # every printed grouping of a card number starts with four digits
                yield from _joined(groups[first : first + max(_CARD_LENGTHS)])


def _joined(groups: list[str]) -> Iterator[str]:
    digits = ""
    for group in groups:
        digits += group
        if len(digits) >= _CARD_LENGTHS.stop:
            return
        yield digits


def _ascii_digits(text: str) -> str:
    return text if text.isascii() else "".join(str(unicodedata.decimal(c)) for c in text)


def _passes_luhn(digits: str) -> bool:
    if len(digits) not in _CARD_LENGTHS or not _CARD_START.match(digits):
        return False
    doubled = (sum(divmod(2 * int(d), 10)) for d in digits[-2::-2])
    return (sum(doubled) + sum(int(d) for d in digits[-1::-2])) % 10 == 0


_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*\Z")
_ASCII_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\Z")


def clean_email(value: str, *, pointer: str = "/email") -> str:
    """One plain address, its domain in lower case and, where it is international, in its ASCII (``xn--``) form.

    Raises Refused `invalid_email` for anything a mail header could misread: two addresses, quotes, line breaks.
    """
    local, _, domain = value.rpartition("@")
    host = _ascii_host(domain) if len(value) <= MAX_EMAIL_LENGTH else None
    plain = _LOCAL.match(local) is not None and len(local) <= _MAX_LOCAL_LENGTH
    if not plain or host is None or "." not in host or len(local) + 1 + len(host) > MAX_EMAIL_LENGTH:
        raise invalid(pointer, "invalid_email", "One address such as name@example.com is expected.")
    return f"{local}@{host}"


def _ascii_host(domain: str) -> str | None:
    labels = [_ascii_label(label) for label in domain.split(".")]
    if None in labels or str(labels[-1]).isdigit():
        return None
    host = ".".join(str(label) for label in labels)
    return host if len(host) <= _MAX_HOST_LENGTH else None


def _ascii_label(label: str) -> str | None:
    """One label as the DNS carries it (IDNA 2008: NFC, lower case, letters, marks, digits, hyphens)."""
    lower = unicodedata.normalize("NFKC", label.lower())
    if not lower.isascii():
        if any(
            unicodedata.category(c)[0] not in "LM" and unicodedata.category(c) != "Nd" and c != "-"
            for c in lower
        ):
            return None
        lower = "xn--" + lower.encode("punycode").decode("ascii")
    return lower if len(lower) <= _MAX_LABEL_LENGTH and _ASCII_LABEL.match(lower) else None


_URL_CHARACTERS = re.compile(r"(https?)://[!$%&'()*+,./0-9:;=?@A-Z\[\]_a-z~-]+\Z")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z.-]+)(?::(?P<port>[0-9]{1,5}))?\Z")
_DEFAULT_PORTS = {"https": 443, "http": 80}


def parse_public_url(
    value: str, *, pointer: str, allowed_origins: Collection[str] = (), allow_http_loopback: bool = False
) -> str:
    """A URL that we may send a customer's browser to, unchanged.

    `allowed_origins` are texts like ``https://shop.example``; empty means any https origin. Plain http passes only
    towards this machine and only when allowed. Raises Refused `url_not_allowed`.
    """
    origin = _origin(value) if len(value) <= MAX_URL_LENGTH else None
    if origin is None:
        raise invalid(
            pointer, "url_not_allowed", "An absolute https URL without user name and fragment is expected."
        )
    scheme, host, _ = origin
    if scheme == "http" and not (allow_http_loopback and _is_loopback(host)):
        raise invalid(pointer, "url_not_allowed", "The URL must use https.")
    if allowed_origins and origin not in {_origin(allowed) for allowed in allowed_origins}:
        raise invalid(pointer, "url_not_allowed", "The origin of the URL is not one of the allowed origins.")
    return value


def clean_origin(value: str, *, pointer: str, allow_http_loopback: bool = False) -> str:
    """An origin for an allowlist, as ``https://host`` or ``https://host:port``. Raises Refused `url_not_allowed`."""
    url = parse_public_url(value, pointer=pointer, allow_http_loopback=allow_http_loopback)
    split = urlsplit(url)
    if split.path not in ("", "/") or "?" in url:
        raise invalid(pointer, "url_not_allowed", "An origin has no path and no query.")
    return origin_of(url)


def origin_of(url: str) -> str:
    """``https://Shop.example:443/a`` → ``https://shop.example``. Raises ValueError for what is no plain http(s) URL."""
    origin = _origin(url)
    if origin is None:
        raise ValueError("not a plain http or https URL")
    scheme, host, port = origin
    return f"{scheme}://{host}" if port == _DEFAULT_PORTS[scheme] else f"{scheme}://{host}:{port}"


def _origin(url: str) -> tuple[str, str, int] | None:
    """Scheme, host, port; None for a URL that two parsers could read differently."""
    if not _URL_CHARACTERS.match(url):
        return None
    try:
        parts: SplitResult = urlsplit(url)
    except ValueError:  # a bracketed host that is no IPv6 address
        return None
    authority = _AUTHORITY.match(parts.netloc)
    if authority is None:
        return None
    host = authority["host"].lower()
    port = int(authority["port"] or _DEFAULT_PORTS[parts.scheme])
    return (parts.scheme, host, port) if _is_host(host) and 1 <= port <= 65_535 else None


def _is_host(host: str) -> bool:
    if host.startswith("["):
        return _address(host) is not None
    return len(host) <= _MAX_HOST_LENGTH and all(
        len(label) <= _MAX_LABEL_LENGTH and _ASCII_LABEL.match(label) for label in host.split(".")
    )


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
