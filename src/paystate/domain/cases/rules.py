"""What makes two cases the same one, decided on plain values."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from paystate.kit.ids import MerchantId


class CaseState(StrEnum):
    """A case waits for a person, or a person has decided."""

    OPEN = "OPEN"
    RESOLVED = "RESOLVED"


@dataclass(frozen=True, slots=True)
class NewCase:
    """Something a person must decide.

    `fact` names what happened once and for all, such as the provider's transaction: it is a case at most once, even
    after it was resolved. A case without one is a condition that may come back after it was resolved.
    """

    merchant_id: MerchantId
    payment_id: str | None
    attempt_id: str | None
    reason: str
    evidence: Mapping[str, Any]
    suggested_action: str
    fact: str | None = None


def fingerprint(case: NewCase) -> str:
    """The cause of a case as a digest: evidence is left out, because it changes with every look.

    A fact of a payment is the same whichever attempt brought it to light.
    """
    attempt = None if case.fact is not None else case.attempt_id
    cause = [case.merchant_id, case.payment_id, attempt, case.reason, case.fact]
    return hashlib.sha256(msgspec.json.encode(cause)).hexdigest()
