"""The words of alerts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from paystate.kit.ids import MerchantId


class AlertState(StrEnum):
    """OPEN until somebody acknowledges it, or the cause is gone."""

    OPEN = "OPEN"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    RESOLVED = "RESOLVED"


class Severity(StrEnum):
    """How soon somebody should look."""

    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


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
