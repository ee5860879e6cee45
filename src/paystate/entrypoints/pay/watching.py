"""What every page needs that follows one payment: its view, its ends, and how long the page may stay open."""

from collections.abc import Mapping
from typing import Any

from paystate.domain.payments import State
from paystate.entrypoints.pay.finding import Found
from paystate.entrypoints.pay.words import view_of
from paystate.kit.clock import MINUTE, SECOND
from paystate.machinery.settings import Settings

LANDINGS = {State.PAID: "success", State.EXPIRED: "expired", State.CANCELED: "canceled"}


def watched(found: Found, settings: Settings) -> Mapping[str, Any]:
    """The values of `live.html` and of the head of a payment's page."""
    return {
        "payment": found.payment,
        "merchant_name": found.merchant_name,
        "view": view_of(found.payment, found.now),
        "home": found.home,
        "ends": {state.value: f"{found.home}/{name}" for state, name in LANDINGS.items()},
        "page_timeout_seconds": settings.page_timeout_minutes * MINUTE // SECOND,
    }
