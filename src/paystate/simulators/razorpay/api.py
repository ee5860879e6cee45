"""Razorpay's API under /v1, as far as payment links and their money go."""

import re
from typing import Annotated, Any, TypeVar

import msgspec

from paystate.kit.clock import DAY, MINUTE, SECOND, Instant
from paystate.kit.money import EXPONENTS, MAX_AMOUNT
from paystate.simulators.calls import Call, Keys, Operation, RefusedCallError, refuse
from paystate.simulators.faults import Subject
from paystate.simulators.razorpay import wire
from paystate.simulators.razorpay.dialect import LINKS, last_failed, random_id
from paystate.simulators.shelf import MAX_PAGE, Window
from paystate.simulators.stage import Answer
from paystate.simulators.till import Checkout, Refund, Status, Till, Transaction

KEYS = Keys(header="X-Refund-Idempotency", required=False, reused_status=400, reused_code="BAD_REQUEST_ERROR")
KEY_SHAPE = re.compile(r"[A-Za-z0-9_-]{10,}")
DEFAULT_COUNT = 10
SHORTEST, LONGEST = 15 * MINUTE, 184 * DAY
SMALLEST = {"INR": 100}

_Amount = Annotated[int, msgspec.Meta(ge=1, le=MAX_AMOUNT)]
_Reference = Annotated[str, msgspec.Meta(max_length=40)]
_Text = Annotated[str, msgspec.Meta(max_length=2_048)]
_Notes = Annotated[dict[str, Annotated[str, msgspec.Meta(max_length=256)]], msgspec.Meta(max_length=15)]
T = TypeVar("T")


class LinkRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /payment_links``; a field that Razorpay does not know is refused."""

    amount: _Amount
    currency: str = "INR"
    accept_partial: bool = False
    first_min_partial_amount: int = 0
    reference_id: _Reference = ""
    description: _Text = ""
    customer: dict[str, str] = {}
    expire_by: int | None = None
    notify: dict[str, bool] = {}
    reminder_enable: bool = False
    notes: _Notes = {}
    callback_url: str = ""
    callback_method: str = ""
    upi_link: bool = False
    options: dict[str, Any] = {}


class RefundRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /payments/{id}/refund``; without an amount all that is left goes back."""

    amount: _Amount | None = None
    speed: str = "normal"
    notes: _Notes = {}
    receipt: str | None = None


class Api:
    """One method per call; who asks sees only what belongs to its account."""

    def __init__(self, till: Till) -> None:
        self._till = till
        self._state = till.state
        self._acts = till.acts

    def serve(self) -> None:
        """Every call of the API, at its path."""
        till = self._till
        by_reference = Operation("ask", self.of_reference, self._about_reference)
        payment, refunds = "/v1/payments/{id}", "/v1/payments/{id}/refunds"
        till.serve("POST", LINKS, Operation("start", self.start, _reference_in_body))
        listing = Operation("list", self.links)
        till.serve("GET", LINKS, listing, by_query={"reference_id": by_reference})
        till.serve("GET", LINKS + "/{id}", Operation("ask", self.link, till.about_id))
        till.serve("POST", LINKS + "/{id}/cancel", Operation("close", self.cancel, till.about_id))
        till.serve("GET", payment, Operation("ask", self.payment, self._about_payment))
        # No call says whose the keys are: they are proved by the payments they may read.
        till.serve("GET", "/v1/payments", Operation("account", self.payments))
        refund = Operation("refund", self.refund, self._about_payment, keys=KEYS)
        till.serve("POST", payment + "/refund", refund)
        till.serve("GET", refunds, Operation("ask_refund", self.refunds, self._about_payment))
        till.serve("GET", "/v1/refunds/{id}", Operation("ask_refund", self.one_refund, till.about_refund))

    # --- payment links

    def start(self, call: Call) -> Answer:
        wanted = _body_as(call, LinkRequest)
        now = self._till.stage.now()
        _check(wanted, now)
        if wanted.reference_id and self._state.of_reference(call.owner, wanted.reference_id):
            raise _no("payment link creation with reference ID already attempted")
        checkout = self._acts.opened(self._new_link(call, wanted, now))
        return Answer(200, self._shown(checkout), first=lambda: self._acts.tell_early(checkout))

    def link(self, call: Call) -> Answer:
        return Answer(200, self._shown(self._till.own_checkout(call, call.request.match_info["id"])))

    def of_reference(self, call: Call) -> Answer:
        found = self._state.of_reference(call.owner, call.request.query["reference_id"])
        return Answer(200, {"payment_links": [self._shown(self._acts.look(one)) for one in found]})

    def links(self, call: Call) -> Answer:
        rows, _ = self._state.checkouts.newest(call.owner, *_page(call))
        return Answer(200, {"payment_links": [self._shown(self._acts.look(row)) for row in rows]})

    def cancel(self, call: Call) -> Answer:
        checkout = self._till.own_checkout(call, call.request.match_info["id"])
        if checkout.status is not Status.OPEN:
            raise _no("cannot cancel or expire an already paid/partially paid link")
        return Answer(200, self._shown(self._acts.close(checkout)))

    # --- payments and refunds

    def payment(self, call: Call) -> Answer:
        payment_id = call.request.match_info["id"]
        found = self._state.transaction(call.owner, payment_id)
        if found is not None:
            return Answer(200, wire.captured(self._acts.look(found[0]), found[1]))
        tried = self._tried(call.owner, payment_id)
        if tried is None:
            raise _no("The id provided does not exist")
        waits = tried.status is Status.PROCESSING and tried.extra[wire.PAYMENT] == payment_id
        return Answer(200, wire.authorized(tried) if waits else last_failed(tried) | {"id": payment_id})

    def payments(self, call: Call) -> Answer:
        found, _ = self._state.newest_transactions(call.owner, *_page(call))
        return Answer(200, wire.collection([wire.captured(checkout, paid) for checkout, paid in found]))

    def refund(self, call: Call) -> Answer:
        wanted = _body_as(call, RefundRequest)
        if call.key is not None and not KEY_SHAPE.fullmatch(call.key):
            raise _no("The idempotency key must be at least 10 letters, digits, hyphens or underscores")
        checkout, paid = self._paid(call)
        left = self._state.refundable(checkout, paid)
        amount = left if wanted.amount is None else wanted.amount
        if left <= 0:
            raise _no("The payment has been fully refunded already")
        if amount > left:
            raise _no("The refund amount provided is greater than amount captured", field="amount")
        _check_amount(amount, paid.currency)
        extra = {wire.NOTES: wanted.notes, wire.RECEIPT: wanted.receipt, wire.SPEED: wanted.speed}
        made = self._acts.refund(checkout, paid, amount, call.key or wanted.receipt or "", extra)
        return Answer(200, wire.refund(made))

    def refunds(self, call: Call) -> Answer:
        checkout, paid = self._paid(call)
        window, skip = _page(call)
        newest = self._state.refunds_of(checkout.id, paid.id)[::-1]
        return Answer(200, wire.collection([wire.refund(one) for one in newest[skip : skip + window.limit]]))

    def one_refund(self, call: Call) -> Answer:
        refund: Refund | None = self._state.refunds.get(call.request.match_info["id"])
        if refund is None or refund.owner != call.owner:
            raise _no("The id provided does not exist")
        return Answer(200, wire.refund(refund))

    # --- finding and making

    def _new_link(self, call: Call, wanted: LinkRequest, now: Instant) -> Checkout:
        account = self._till.account(call)
        return Checkout(
            id=self._till.dialect.new_id("checkout", account, now),
            owner=account.id,
            account=account.id,
            live=account.live,
            reference=wanted.reference_id,
            amount=wanted.amount,
            currency=wanted.currency,
            description=wanted.description,
            status=Status.OPEN,
            return_url=wanted.callback_url,
            cancel_url="",
            webhook_url=None,
            created_at=now,
            updated_at=now,
            expires_at=now + LONGEST if wanted.expire_by is None else wanted.expire_by * SECOND,
            extra={
                wire.CALLBACK: wanted.callback_url,
                wire.EXPIRE_BY: wanted.expire_by or 0,
                wire.NOTES: wanted.notes,
                wire.PAYMENT: f"pay_{random_id()}",
                wire.ORDER: f"order_{random_id()}",
                wire.SIGNER: self._till.dialect.key_of(call.request) or "",
            },
        )

    def _shown(self, checkout: Checkout) -> dict[str, Any]:
        return wire.link(checkout, self._till.dialect.page_url(checkout))

    def _paid(self, call: Call) -> tuple[Checkout, Transaction]:
        found = self._state.transaction(call.owner, call.request.match_info["id"])
        if found is None:
            raise _no("The id provided does not exist")
        return found

    def _tried(self, owner: str, payment_id: str) -> Checkout | None:
        """The link on which this payment was tried without money arriving."""
        own = (one for one in self._state.checkouts if one.owner == owner)
        return next((one for one in own if payment_id in _tries(one)), None)

    # What a call is about, for faults of one reference; such a question never refuses.

    def _about_reference(self, call: Call) -> Subject:
        return self._till.about_reference(call, call.request.query["reference_id"])

    def _about_payment(self, call: Call) -> Subject:
        return self._till.about_transaction(call, call.request.match_info["id"])


def _tries(checkout: Checkout) -> list[str]:
    begun = checkout.status in (Status.PROCESSING, Status.FAILED)
    return [d.id for d in checkout.declines] + ([checkout.extra[wire.PAYMENT]] if begun else [])


def _reference_in_body(call: Call) -> Subject:
    reference = (call.body or {}).get("reference_id")
    return Subject(reference if isinstance(reference, str) else None)


def _no(description: str, **details: Any) -> RefusedCallError:
    return refuse("BAD_REQUEST_ERROR", description, 400, **details)


def _body_as(call: Call, kind: type[T]) -> T:
    try:
        return msgspec.convert(call.body, kind)
    except msgspec.ValidationError as error:
        raise _no(str(error)) from None


def _check(wanted: LinkRequest, now: Instant) -> None:
    if wanted.currency not in EXPONENTS or EXPONENTS[wanted.currency] > 3:
        raise _no("The selected currency is not supported", field="currency")
    _check_amount(wanted.amount, wanted.currency)
    if bool(wanted.callback_url) != (wanted.callback_method == "get"):
        raise _no("callback_url and callback_method come together", field="callback_method")
    if wanted.expire_by is None:
        return
    # Whole seconds on the wire: the one that has begun counts.
    if wanted.expire_by * SECOND < now + SHORTEST - SECOND:
        raise _no("timestamp must be atleast 15 minutes in future", field="expire_by")
    if wanted.expire_by * SECOND > now + LONGEST:
        raise _no("timestamp must be within six months", field="expire_by")


def _check_amount(amount: int, currency: str) -> None:
    if amount < SMALLEST.get(currency, 1):
        raise _no("The amount must be at least INR 1.00", field="amount")
    if EXPONENTS[currency] == 3 and amount % 10:
        raise _no("The last digit of an amount with three decimals must be 0", field="amount")


def _page(call: Call) -> tuple[Window, int]:
    """`from` and `to` in whole seconds, `count` rows after `skip`."""
    query = call.request.query
    given = {name: query.get(name, "") for name in ("from", "to", "count", "skip")}
    if any(text and not (text.isascii() and text.isdigit() and len(text) <= 12) for text in given.values()):
        raise _no("from, to, count and skip are whole numbers")
    count = int(given["count"] or DEFAULT_COUNT)
    if not 1 <= count <= MAX_PAGE:
        raise _no("The count must be between 1 and 100", field="count")
    whole = Window()
    end = (int(given["to"]) + 1) * SECOND if given["to"] else whole.end
    return Window(int(given["from"] or 0) * SECOND, end, count), int(given["skip"] or 0)
