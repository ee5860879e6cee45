"""Secrets: a type that never shows itself, a comparison that tells nothing, and encryption bound to its place."""

import base64
import binascii
import hashlib
import hmac
import itertools
import re
import secrets
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from paystate.kit.errors import PaystateError

KEY_BYTES: Final = 32
MAX_KEYS: Final = 16
API_KEY_PREFIX: Final = "psk_"
FIRST_KID: Final = "k1"
"""The name of a key that is given without one."""

_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_KID = re.compile(r"[A-Za-z0-9_-]{1,32}\Z")
_HEX_KEY = re.compile(r"[0-9A-Fa-f]{64}\Z")
_FEWEST_DISTINCT_BYTES: Final = 16
"""Of 32 random bytes about 30 differ; fewer than 16 happen less than once in 10^14 keys."""


def ct_eq(a: bytes, b: bytes) -> bool:
    """Whether both are equal, in a time that does not depend on where they differ. Texts are encoded by the caller."""
    return hmac.compare_digest(a, b)


class Secret:
    """A text that prints as ``***`` everywhere; only `reveal()` gives it away."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself; for the one call that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return format("***", spec)

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and ct_eq(_encode(self._text), _encode(other._text))

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> str:
        raise TypeError("a Secret is never pickled")

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, memo: object) -> "Secret":
        return self


class SealBroken(PaystateError):
    """The text was altered, belongs to another place, or was sealed with a key that is not on the ring."""

    code = "seal_broken"

    def __init__(self) -> None:
        super().__init__(
            "A stored secret cannot be opened: wrong place, altered, or its key is not on the ring."
        )


class WeakKey(PaystateError, ValueError):
    """A key that must not protect anything; the sentence never repeats it."""

    code = "weak_key"


class KeyRing:
    """Named keys of 32 bytes: the current one seals, all of them open.

    A sealed text is ``v1.<kid>.<base64>`` and opens only with the `aad` it was sealed with (table, column, row,
    merchant), so that a ciphertext copied to another row is worthless.
    """

    def __init__(self, keys: Mapping[str, bytes], current: str) -> None:
        if current not in keys or len(keys) > MAX_KEYS:
            raise WeakKey(f"A key ring holds 1 to {MAX_KEYS} keys and the current one is among them.")
        for kid, key in keys.items():
            if not _KID.match(kid):
                raise WeakKey("The name of a key is 1 to 32 letters, digits, '-' or '_'.")
            _refuse_weak(kid, key)
        self.current = current
        self._keys = dict(keys)
        self._ciphers = {kid: AESGCM(_derive(key, "seal")) for kid, key in keys.items()}

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self._keys)}; current {self.current})"

    @classmethod
    def parse(cls, text: str) -> "KeyRing":
        """From ``kid:key,kid2:key2`` (the first is current) or one bare key; keys in base64 or 64 hex digits."""
        keys: dict[str, bytes] = {}
        for entry in text.strip().split(","):
            kid, colon, encoded = entry.strip().rpartition(":")
            name = kid if colon else FIRST_KID
            if name in keys:
                raise WeakKey("Two keys have the same name.")
            keys[name] = _decode_key(name, encoded)
        return cls(keys, next(iter(keys)))

    def seal(self, plaintext: bytes, *, aad: str) -> str:
        """The plaintext encrypted for the place named by `aad`."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._ciphers[self.current].encrypt(nonce, plaintext, aad.encode())
        return f"v1.{self.current}.{base64.urlsafe_b64encode(sealed).decode().rstrip('=')}"

    def open(self, sealed: str, *, aad: str) -> bytes:
        """The plaintext again. Raises SealBroken."""
        version, _, rest = sealed.partition(".")
        kid, _, encoded = rest.partition(".")
        cipher = self._ciphers.get(kid)
        if version != "v1" or cipher is None:
            raise SealBroken
        try:
            raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
            if len(raw) < _NONCE_BYTES + _TAG_BYTES:
                raise SealBroken
            return cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], aad.encode())
        except (InvalidTag, ValueError):
            raise SealBroken from None

    def is_current(self, sealed: str) -> bool:
        """Whether the text is sealed with the current key; false means that a rotation has to seal it again."""
        return sealed.startswith(f"v1.{self.current}.")

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose (signing cursors, tokens) from the current key; other purposes reveal nothing."""
        return _derive(self._keys[self.current], f"derived {purpose}")

    def derive_all(self, purpose: str) -> list[bytes]:
        """The same from every key, the current one first: what was signed before a rotation still verifies."""
        ordered = sorted(self._keys, key=lambda kid: kid != self.current)
        return [_derive(self._keys[kid], f"derived {purpose}") for kid in ordered]


def generate_key_text() -> str:
    """A new random key as settings take it."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def new_api_key() -> Secret:
    """``psk_`` and 256 random bits; shown once, stored as its fingerprint."""
    return Secret(API_KEY_PREFIX + secrets.token_urlsafe(32))


def fingerprint(text: str) -> str:
    """SHA-256 in hex, by which a key of 256 random bits is found without being stored."""
    return hashlib.sha256(_encode(text)).hexdigest()


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # whatever a header carried has bytes


def _derive(key: bytes, purpose: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=f"paystate {purpose}".encode()).derive(
        key
    )


def _decode_key(kid: str, encoded: str) -> bytes:
    if _HEX_KEY.match(encoded):
        return bytes.fromhex(encoded)
    standard = encoded.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise WeakKey(f"Key {_named(kid)} is neither base64 nor 64 hex digits. {_ADVICE}") from None


_COMMON_WORDS: Final = (
    " 0 1 123456 admin changeme default demo dev development example foo key key32 local localhost password paystate "
    "production qwerty root secret secretkey secret_key test testing"
)
_HASHED_WORDS: Final = frozenset(hashlib.sha256(word.encode()).digest() for word in _COMMON_WORDS.split(" "))
_ADVICE: Final = "Make one with: openssl rand -base64 32"


def _named(kid: str) -> str:
    return kid if _KID.match(kid) else "(unnamed)"


def _refuse_weak(kid: str, key: bytes) -> None:
    """Refuses what people type or copy instead of a random key."""
    fault = ""
    if len(key) != KEY_BYTES:
        fault = f"has {len(key)} bytes instead of {KEY_BYTES}"
    elif not any(key):
        fault = "is all zeros"
    elif len({(b - a) % 256 for a, b in itertools.pairwise(key)}) == 1:
        fault = "is a simple sequence"
    elif len(set(key)) < _FEWEST_DISTINCT_BYTES or key[: KEY_BYTES // 2] == key[KEY_BYTES // 2 :]:
        fault = "repeats itself"
    elif all(0x20 <= byte < 0x7F for byte in key):
        fault = "is typed text, not random bytes"
    elif key in _HASHED_WORDS:
        fault = "is the hash of a common word"
    if fault:
        raise WeakKey(f"Key {kid} {fault}. {_ADVICE}")
