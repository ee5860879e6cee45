"""The signature of Sandbox Pay's webhooks."""

import hashlib
import hmac
from collections.abc import Mapping

from paystate.kit.clock import SECOND, Instant

HEADER = "Sandbox-Signature"


def sign(secret: str, body: bytes, now: Instant) -> Mapping[str, str]:
    """``Sandbox-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256 of "t." and the raw body>``."""
    seconds = now // SECOND
    digest = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return {HEADER: f"t={seconds},v1={digest}"}
