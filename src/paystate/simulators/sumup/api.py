"""SumUp's calls about checkouts, refunds and the merchant."""

from decimal import Decimal
from typing import Any

from paystate.kit.clock import parse_rfc3339
from paystate.kit.ids import new_id
from paystate.kit.money import MAX_AMOUNT, parse_major
from paystate.simulators.calls import Call, Operation, refuse
from paystate.simulators.faults import Subject
from paystate.simulators.stage import Answer
from paystate.simulators.sumup.dialect import STYLES
from paystate.simulators.sumup.wire import checkout_wire, merchant_wire
from paystate.simulators.till import Checkout, Status, Till

CURRENCIES = frozenset(
    {"BGN", "BRL", "CHF", "CLP", "COP", "CZK", "DKK", "EUR", "GBP", "HUF", "NOK", "PLN", "RON", "SEK", "USD"}
)
REQUIRED = ("checkout_reference", "amount", "currency", "merchant_code")
MAX_REFERENCE = 90
MAX_TEXT = 2_048
AMOUNT_DIGITS = 18


class Api:
    """One method per call; who asks sees only what belongs to its merchant."""

    def __init__(self, till: Till) -> None:
        self._till = till

    def serve(self) -> None:
        """Every call of the API, at its path."""
        till, one = self._till, "/v0.1/checkouts/{id}"
        refund = Operation("refund", self.refund, self._about_transaction)
        till.serve("POST", "/v0.1/checkouts", Operation("start", self.start, _reference_in_body))
        till.serve("GET", "/v0.1/checkouts", Operation("ask", self.ask_by_reference, self._about_reference))
        till.serve("GET", one, Operation("ask", self.ask, till.about_id))
        till.serve("DELETE", one, Operation("close", self.close, till.about_id))
        till.serve("POST", "/v1.0/merchants/{code}/payments/{transaction}/refunds", refund)
        till.serve("GET", "/v1/merchants/{code}", Operation("account", self.account))

    def start(self, call: Call) -> Answer:
        body = call.body or {}
        for name in REQUIRED:
            if body.get(name) is None:
                raise refuse("MISSING", "Validation error", param=name)
        checkout = self._new_checkout(call, body)
        if self._till.state.of_reference(call.owner, checkout.reference):
            raise refuse(
                "DUPLICATED_CHECKOUT",
                "Checkout with this checkout reference and pay to email already exists",
            )
        self._till.acts.opened(checkout)
        return Answer(201, self._wire(checkout), first=lambda: self._till.acts.tell_early(checkout))

    def ask(self, call: Call) -> Answer:
        return Answer(200, self._wire(self._till.own_checkout(call, call.request.match_info["id"])))

    def ask_by_reference(self, call: Call) -> Answer:
        """Without a reference it would be all of them; SumUp names no limit for that, so here it is refused."""
        reference = call.request.query.get("checkout_reference")
        if reference is None:
            raise invalid("checkout_reference")
        found = self._till.state.of_reference(call.owner, reference)
        return Answer(200, [self._wire(self._till.acts.look(checkout)) for checkout in found])

    def close(self, call: Call) -> Answer:
        checkout = self._till.own_checkout(call, call.request.match_info["id"])
        return Answer(200, self._wire(self._till.acts.close(checkout)))

    def refund(self, call: Call) -> Answer:
        """201 with nothing in it: what was refunded stands in the transaction's events."""
        own_merchant(call)
        found = self._till.state.transaction(call.owner, call.request.match_info["transaction"])
        if found is None:
            raise refuse("unknown_transaction", "Transaction not found", 404)
        checkout, paid = found
        left = self._till.state.refundable(checkout, paid)
        given = (call.body or {}).get("amount")
        amount = left if given is None else _minor(given, paid.currency)
        if left <= 0:
            raise refuse("conflict", "The transaction is not refundable in its current state", 409)
        if not 0 < amount <= left:
            raise refuse("refund_failed", "Refund failed.", 422, errors=[_too_high(left)])
        self._till.acts.refund(checkout, paid, amount, new_id("rfx", self._till.stage.now()))
        return Answer(201, {})

    def account(self, call: Call) -> Answer:
        """`me` is the merchant of the key."""
        if call.request.match_info["code"] != "me":
            own_merchant(call)
        return Answer(200, merchant_wire(self._till.account(call), self._till.stage.now()))

    def _new_checkout(self, call: Call, body: dict[str, Any]) -> Checkout:
        if body["merchant_code"] != call.owner:
            raise refuse("FORBIDDEN", "checkout_payments_not_allowed", 403)
        now, account, currency = self._till.stage.now(), self._till.account(call), body["currency"]
        if currency not in CURRENCIES:
            raise invalid("currency")
        style = account.extra.get("webhooks", "plain")
        hosted = body.get("hosted_checkout")
        return Checkout(
            id=self._till.dialect.new_id("checkout", account, now),
            owner=account.id,
            account=account.id,
            live=account.live,
            reference=_text(body, "checkout_reference", MAX_REFERENCE),
            amount=_price(body["amount"], currency),
            currency=currency,
            description=_text(body, "description"),
            status=Status.OPEN,
            return_url=_text(body, "redirect_url"),
            cancel_url=_text(body, "redirect_url"),
            webhook_url=_text(body, "return_url") or None,
            created_at=now,
            updated_at=now,
            expires_at=_valid_until(body),
            extra={
                "hosted": isinstance(hosted, dict) and hosted.get("enabled") is True,
                "webhooks": style if style in STYLES else "plain",
            },
        )

    def _wire(self, checkout: Checkout) -> dict[str, Any]:
        return checkout_wire(checkout, self._till.dialect.page_url(checkout))

    def _about_reference(self, call: Call) -> Subject:
        return self._till.about_reference(call, call.request.query.get("checkout_reference"))

    def _about_transaction(self, call: Call) -> Subject:
        return self._till.about_transaction(call, call.request.match_info["transaction"])


def own_merchant(call: Call) -> None:
    """Refuse a merchant code in the path that is another's."""
    if call.request.match_info["code"] != call.owner:
        raise refuse("unknown_merchant", "Merchant not found", 404)


def invalid(param: str) -> Exception:
    return refuse("INVALID", "Validation error", param=param)


def _reference_in_body(call: Call) -> Subject:
    reference = (call.body or {}).get("checkout_reference")
    return Subject(reference if isinstance(reference, str) else None)


def _text(body: dict[str, Any], name: str, limit: int = MAX_TEXT) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or not value or len(value) > limit:
        raise invalid(name)
    return value


def _price(value: Any, currency: str) -> int:
    amount = _minor(value, currency)
    if not 0 < amount <= MAX_AMOUNT:
        raise invalid("amount")
    return amount


def _minor(value: Any, currency: str) -> int:
    """Of a JSON number as it was written; more decimals than the currency has are refused."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise invalid("amount")
    if isinstance(value, Decimal) and abs(value.adjusted()) > AMOUNT_DIGITS:
        raise invalid("amount")
    try:
        return parse_major(f"{value:f}" if isinstance(value, Decimal) else str(value), currency).amount
    except ValueError:
        raise invalid("amount") from None


def _valid_until(body: dict[str, Any]) -> int | None:
    text = body.get("valid_until")
    if text is None:
        return None
    try:
        return parse_rfc3339(str(text))
    except ValueError:
        raise invalid("valid_until") from None


def _too_high(left: int) -> dict[str, Any]:
    return {
        "code": "INVALID_AMOUNT",
        "detail": "Amount exceeds the refundable amount",
        "reason": "amount_too_high",
        "max_refundable_amount": left,
    }
