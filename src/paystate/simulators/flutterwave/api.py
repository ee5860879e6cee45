"""The merchant's API of the simulated Flutterwave v3: payments, links, and transactions by id, reference and day."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from paystate.kit.clock import MINUTE
from paystate.kit.money import EXPONENTS, parse_major
from paystate.simulators.calls import Call, Operation, refuse
from paystate.simulators.faults import Subject
from paystate.simulators.flutterwave.wire import as_listed, transaction_rows
from paystate.simulators.shelf import Window
from paystate.simulators.stage import Answer
from paystate.simulators.till import Checkout, Status, Till, about

PAGE = 10
MAX_LISTED = 10_000
MAX_NUMBER_DIGITS = 9
UNKNOWN = "No transaction was found for this id"
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Url = Annotated[str, msgspec.Meta(max_length=2_048, pattern=r"^https?://[!-~]+$")]


class Customer(msgspec.Struct):
    """Whoever pays."""

    email: Annotated[str, msgspec.Meta(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")]


class StartRequest(msgspec.Struct):
    """The body of ``POST /v3/payments``; the amount is a number or a text."""

    tx_ref: _Text
    amount: Decimal
    redirect_url: _Url
    customer: Customer
    currency: str = "NGN"
    session_duration: Annotated[int, msgspec.Meta(ge=1, le=1_440)] | None = None
    meta: Any = None


class Api:
    """One method per call; who asks sees only what belongs to its account."""

    def __init__(self, till: Till) -> None:
        self._till = till
        self._state = till.state
        self._acts = till.acts

    def serve(self) -> None:
        """Every call of the API, at its path."""
        till = self._till
        till.serve("POST", "/v3/payments", Operation("start", self.start, _reference_in_body))
        till.serve("POST", "/v3/payments/link/disable", Operation("close", self.disable, self._about_link))
        by_reference = Operation("ask", self.verify_by_reference, self._about_reference)
        till.serve("GET", "/v3/transactions/verify_by_reference", by_reference)
        till.serve("GET", "/v3/transactions/fee", Operation("account", self.fee))
        of_reference = Operation("ask", self.list_of_reference, self._about_reference)
        listing = Operation("list", self.list_transactions)
        # Without a window it is what one asks to see whether a key works.
        anything = Operation("account", self.list_transactions)
        till.serve("GET", "/v3/transactions", anything, by_query={"tx_ref": of_reference, "from": listing})
        till.serve("GET", "/v3/transactions/{id}/verify", Operation("ask", self.verify))

    def start(self, call: Call) -> Answer:
        wanted = _read(call, StartRequest)
        amount = minor(wanted.amount, wanted.currency)
        checkout = self._same(call, wanted, amount)
        if checkout is None:
            checkout = self._acts.opened(self._new_checkout(call, wanted, amount))
        made = checkout
        body = good("Hosted Link", {"link": self._till.dialect.page_url(made)}).body
        return Answer(200, body, first=lambda: self._acts.tell_early(made))

    def disable(self, call: Call) -> Answer:
        checkout = self._of_link(call)
        if checkout is None or checkout.owner != call.owner:
            raise refuse("not_found", "Payment link not found", 404)
        self._acts.close(self._acts.look(checkout))
        return Answer(200, {"status": "success", "message": "Payment link has been disabled successfully"})

    def verify_by_reference(self, call: Call) -> Answer:
        """The newest transaction under it (whether the real one means the newest is not known for certain)."""
        rows = self._rows_of(call, call.request.query.get("tx_ref", ""))
        if not rows:
            raise refuse("not_found", UNKNOWN, 404)
        return good("Transaction fetched successfully", rows[-1])

    def verify(self, call: Call) -> Answer:
        wanted = call.request.match_info["id"]
        for row in self._all_rows(call):
            if str(row["id"]) == wanted:
                return good("Transaction fetched successfully", row)
        raise refuse("not_found", UNKNOWN, 400)

    def list_of_reference(self, call: Call) -> Answer:
        return paged(
            call, [as_listed(row) for row in reversed(self._rows_of(call, call.request.query["tx_ref"]))]
        )

    def list_transactions(self, call: Call) -> Answer:
        """By days, newest first."""
        first, last = day(call, "from", "0000-00-00"), day(call, "to", "9999-99-99")
        status = call.request.query.get("status")
        rows = [row for row in self._all_rows(call) if first <= row["created_at"][:10] <= last]
        chosen = [as_listed(row) for row in rows if status in (None, row["status"])]
        return paged(call, sorted(chosen, key=lambda row: row["created_at"], reverse=True))

    def fee(self, call: Call) -> Answer:
        currency = call.request.query.get("currency", "NGN")
        try:
            amount = minor(Decimal(call.request.query.get("amount", "")), currency)
        except ArithmeticError:
            raise refuse("invalid_amount", "amount should be a number", 400) from None
        fee = self._till.dialect.fee(amount, currency)
        return good(
            "Charged fee", {"charge_amount": amount, "fee": fee, "merchant_fee": 0, "currency": currency}
        )

    def _all_rows(self, call: Call) -> list[dict[str, Any]]:
        checkouts, _ = self._state.checkouts.newest(call.owner, Window(limit=MAX_LISTED))
        return [row for checkout in checkouts for row in reversed(self._rows(checkout))]

    def _rows_of(self, call: Call, reference: str) -> list[dict[str, Any]]:
        found = self._state.of_reference(call.owner, reference)
        rows = [row for checkout in found for row in self._rows(checkout)]
        return sorted(rows, key=lambda row: str(row["created_at"]))

    def _rows(self, checkout: Checkout) -> list[dict[str, Any]]:
        return transaction_rows(self._acts.look(checkout))

    def _same(self, call: Call, wanted: StartRequest, amount: int) -> Checkout | None:
        """Asked for once more, an open link is told again; for other money a second link is made under the reference."""
        for checkout in self._state.of_reference(call.owner, wanted.tx_ref):
            if (checkout.amount, checkout.currency) == (amount, wanted.currency):
                return checkout if self._acts.look(checkout).status is Status.OPEN else None
        return None

    def _new_checkout(self, call: Call, wanted: StartRequest, amount: int) -> Checkout:
        now = self._till.stage.now()
        account = self._till.account(call)
        minutes = wanted.session_duration
        return Checkout(
            id=self._till.dialect.new_id("checkout", account, now),
            owner=account.id,
            account=account.id,
            live=account.live,
            reference=wanted.tx_ref,
            amount=amount,
            currency=wanted.currency,
            description="",
            status=Status.OPEN,
            return_url=wanted.redirect_url,
            cancel_url=wanted.redirect_url,
            webhook_url=None,
            created_at=now,
            updated_at=now,
            expires_at=None if minutes is None else now + minutes * MINUTE,
            extra={"email": wanted.customer.email, "meta": wanted.meta},
        )

    def _of_link(self, call: Call) -> Checkout | None:
        link = (call.body or {}).get("link")
        return self._state.checkouts.get(link.rpartition("/")[2]) if isinstance(link, str) else None

    def _about_link(self, call: Call) -> Subject:
        return about(self._of_link(call))

    def _about_reference(self, call: Call) -> Subject:
        return self._till.about_reference(call, call.request.query.get("tx_ref"))


def good(message: str, data: Any) -> Answer:
    return Answer(200, {"status": "success", "message": message, "data": data})


def paged(call: Call, rows: list[dict[str, Any]]) -> Answer:
    """The page that was asked for, ten rows long."""
    text = call.request.query.get("page", "1")
    if not (text.isascii() and text.isdigit() and 0 < len(text) <= MAX_NUMBER_DIGITS and int(text) > 0):
        raise refuse("invalid_page", "page should be a number", 400)
    page = int(text)
    info = {"total": len(rows), "current_page": page, "total_pages": -(-len(rows) // PAGE)}
    body = good("Fetched", rows[(page - 1) * PAGE : page * PAGE]).body
    return Answer(200, {**body, "meta": {"page_info": info}})


def day(call: Call, name: str, otherwise: str) -> str:
    text = call.request.query.get(name)
    if text is None:
        return otherwise
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise refuse("invalid_date", f"{name} should be a date", 400) from None


def minor(amount: Decimal, currency: str) -> int:
    """Minor units from a number of major units."""
    if currency not in EXPONENTS:
        raise refuse("invalid_currency", "currency is not supported", 400)
    try:
        whole = parse_major(str(amount), currency).amount
    except ValueError:
        whole = 0
    if whole <= 0:
        raise refuse("invalid_amount", "amount should be a number greater than 0", 400)
    return whole


def _read(call: Call, kind: type[StartRequest]) -> StartRequest:
    """From the bytes: a number that went through a float would not be the one that was sent."""
    try:
        return msgspec.json.decode(call.raw, type=kind)
    except msgspec.ValidationError as error:
        raise refuse("invalid_request", str(error), 400) from None


def _reference_in_body(call: Call) -> Subject:
    reference = (call.body or {}).get("tx_ref")
    return Subject(reference if isinstance(reference, str) else None)
