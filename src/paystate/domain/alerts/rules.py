"""The words of alerts, and when a delivery that failed is tried again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from paystate.kit.clock import HOUR, MINUTE
from paystate.kit.ids import MerchantId


class AlertState(StrEnum):
    """OPEN until somebody acknowledges it, or the cause is gone."""

    OPEN = "OPEN"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    RESOLVED = "RESOLVED"


class DeliveryState(StrEnum):
    """PENDING until it went out; FAILED once every try was in vain."""

    PENDING = "PENDING"
    SENT = "SENT"
    FAILED = "FAILED"


class Severity(StrEnum):
    """How soon somebody should look."""

    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


class Address(NamedTuple):
    """Where an alert is told: a channel, and an address of it as it may be stored and shown, so without secrets."""

    channel: str
    address: str


RETRIES = (MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 3 * HOUR, 8 * HOUR, 12 * HOUR)
"""The wait after each try in vain; after the last of them nobody tries again until the next reminder."""


def wait_after(tries: int) -> int | None:
    """How long to wait when so many tries were in vain; None: give up."""
    return RETRIES[tries - 1] if tries <= len(RETRIES) else None


@dataclass(frozen=True, slots=True)
class NewAlert:
    """A cause to tell of. `subject` is what it is about; (rule, subject) is its fingerprint. No merchant: the installation's."""

    rule: str
    subject: str
    severity: Severity
    title: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    merchant_id: MerchantId | None = None

    @property
    def fingerprint(self) -> str:
        return f"{self.rule}:{self.subject}"
