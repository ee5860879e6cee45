"""Reads what a merchant posts to Stripe: the form of a new Checkout Session, and single fields of forms."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paystate.kit.money import MAX_AMOUNT
from paystate.simulators.calls import refuse
from paystate.simulators.stripe.shapes import INTENT_METADATA, METADATA
from paystate.simulators.stripe.units import to_minor

MAX_URL = 5_000
MAX_REFERENCE = 200
MAX_METADATA = 50
MAX_KEY = 40
MAX_VALUE = 500
MAX_ITEMS = 100


@dataclass(frozen=True, slots=True)
class SessionOrder:
    """A session to be made; the amount is in minor units, the currency in capitals."""

    reference: str
    amount: int
    currency: str
    description: str
    success_url: str
    cancel_url: str
    expires_at: int | None
    extra: dict[str, Any]


def read_order(body: Mapping[str, Any]) -> SessionOrder:
    """Refuses what Stripe refuses."""
    if required(body, "mode") != "payment":
        raise refuse("parameter_invalid", "Only mode=payment is simulated.", 400, param="mode")
    items = [_item(item) for item in _items(body)]
    currencies = {item["currency"] for item in items}
    if len(currencies) != 1:
        raise refuse("parameter_invalid", "All items must have one currency.", 400, param="line_items")
    (code,) = currencies
    intent = body.get("payment_intent_data")
    return SessionOrder(
        reference=_limited(text_of(body, "client_reference_id"), MAX_REFERENCE, "client_reference_id"),
        amount=to_minor(sum(item["amount_total"] for item in items), code),
        currency=code.upper(),
        description=", ".join(item["description"] for item in items),
        success_url=_url(required(body, "success_url"), "success_url"),
        cancel_url=_url(text_of(body, "cancel_url") or "", "cancel_url"),
        expires_at=whole_of(body, "expires_at") if "expires_at" in body else None,
        extra={
            METADATA: texts_of(body, "metadata"),
            INTENT_METADATA: texts_of(intent, "metadata") if isinstance(intent, Mapping) else {},
            "customer_email": text_of(body, "customer_email"),
            "line_items": items,
        },
    )


def text_of(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise refuse("parameter_invalid_string", f"Invalid string: {name}", 400, param=name)
    return value or None


def required(body: Mapping[str, Any], name: str) -> str:
    value = text_of(body, name)
    if value is None:
        raise refuse("parameter_missing", f"Missing required param: {name}.", 400, param=name)
    return value


def whole_of(body: Mapping[str, Any], name: str) -> int:
    """A whole number that is not negative."""
    text = required(body, name)
    if not text.isascii() or not text.isdigit() or len(text) > len(str(MAX_AMOUNT)):
        raise refuse("parameter_invalid_integer", f"Invalid integer: {text}", 400, param=name)
    return int(text)


def texts_of(body: Mapping[str, Any], name: str) -> dict[str, str]:
    """Metadata: names and texts, within Stripe's limits."""
    given = body.get(name, {})
    if not isinstance(given, Mapping) or len(given) > MAX_METADATA:
        raise refuse("parameter_invalid", f"Invalid object: {name}", 400, param=name)
    for key, value in given.items():
        if not isinstance(value, str) or len(key) > MAX_KEY or len(value) > MAX_VALUE:
            raise refuse("parameter_invalid_string", f"Invalid string: {key}", 400, param=f"{name}[{key}]")
    return dict(given)


def _items(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    given = body.get("line_items")
    rows = list(given.values()) if isinstance(given, Mapping) else []
    if not 1 <= len(rows) <= MAX_ITEMS or not all(isinstance(row, Mapping) for row in rows):
        raise refuse("parameter_missing", "Missing required param: line_items.", 400, param="line_items")
    return rows


def _item(item: Mapping[str, Any]) -> dict[str, Any]:
    price = item.get("price_data")
    if not isinstance(price, Mapping):
        raise refuse("parameter_missing", "Only price_data is simulated.", 400, param="line_items[0][price]")
    product = price.get("product_data")
    if not isinstance(product, Mapping):
        raise refuse("parameter_missing", "Missing product_data.", 400, param="product_data")
    quantity = whole_of(item, "quantity") if "quantity" in item else 1
    total = quantity * whole_of(price, "unit_amount")
    return {
        "object": "item",
        "amount_subtotal": total,
        "amount_total": total,
        "currency": required(price, "currency").lower(),
        "description": required(product, "name"),
        "quantity": quantity,
    }


def _limited(text: str | None, limit: int, name: str) -> str:
    if text is not None and len(text) > limit:
        raise refuse("parameter_invalid_string", f"At most {limit} characters.", 400, param=name)
    return text or ""


def _url(text: str, name: str) -> str:
    good = len(text) <= MAX_URL and text.isprintable() and " " not in text
    if text and not (good and text.startswith(("http://", "https://"))):
        raise refuse("url_invalid", "Not a valid URL.", 400, param=name)
    return text
