"""Stripe's API under /v1, as far as a Checkout Session and its money go."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from paystate.kit.clock import DAY, MINUTE, SECOND, Instant
from paystate.simulators.calls import Call, Keys, Operation, refuse
from paystate.simulators.faults import Subject
from paystate.simulators.shelf import MAX_OBJECTS, Window
from paystate.simulators.stage import Answer
from paystate.simulators.stripe import shapes
from paystate.simulators.stripe.dialect import ID_LENGTH, random_id
from paystate.simulators.stripe.listing import expand_of, listed, query_of
from paystate.simulators.stripe.orders import SessionOrder, read_order, text_of, texts_of, whole_of
from paystate.simulators.stripe.units import to_minor
from paystate.simulators.till import Checkout, Refund, RefundStatus, Status, Till, Transaction

KEYS = Keys(
    required=False, reused_status=400, reused_code="idempotency_error", replayed="Idempotent-Replayed"
)
SESSIONS = "/v1/checkout/sessions"
SHORTEST, LONGEST = 30 * MINUTE, DAY


class Booking(msgspec.Struct, frozen=True):
    """A row of the balance: money of a charge that came, or of a refund that went."""

    id: str
    owner: str
    at: int
    shown: dict[str, Any]


class Api:
    """One method per call; who asks sees only what belongs to its account."""

    def __init__(self, till: Till) -> None:
        self._till = till
        self._state = till.state
        self._acts = till.acts

    def serve(self) -> None:
        """Every call of the API, at its path."""
        till = self._till
        till.serve("POST", SESSIONS, Operation("start", self.start, _reference_in_body, keys=KEYS))
        till.serve("GET", SESSIONS, Operation("list", self.sessions))
        till.serve("GET", SESSIONS + "/{id}", Operation("ask", self.session, till.about_id))
        till.serve("GET", SESSIONS + "/{id}/line_items", Operation("ask", self.line_items, till.about_id))
        till.serve(
            "POST", SESSIONS + "/{id}/expire", Operation("close", self.expire, till.about_id, keys=KEYS)
        )
        till.serve("GET", "/v1/payment_intents/{id}", Operation("ask", self.intent, self._about_intent))
        till.serve("GET", "/v1/charges/{id}", Operation("ask", self.charge, self._about_intent))
        till.serve("POST", "/v1/refunds", Operation("refund", self.refund, self._about_refunded, keys=KEYS))
        till.serve("GET", "/v1/refunds", Operation("ask_refund", self.refunds, self._about_refunded))
        till.serve("GET", "/v1/refunds/{id}", Operation("ask_refund", self.one_refund, till.about_refund))
        till.serve("GET", "/v1/balance_transactions", Operation("list", self.bookings))
        till.serve("GET", "/v1/events", Operation("list", self.events))
        till.serve("GET", "/v1/events/{id}", Operation("ask", self.event))
        till.serve("GET", "/v1/account", Operation("account", self.account))
        till.serve("GET", "/v1/balance", Operation("account", self.balance))

    # --- sessions

    def start(self, call: Call) -> Answer:
        order = read_order(_body(call))
        checkout = self._acts.opened(self._new_checkout(call, order))
        shown = self._shown(checkout, _body(call))
        return Answer(200, shown, first=lambda: self._acts.tell_early(checkout))

    def session(self, call: Call) -> Answer:
        checkout = self._own_session(call)
        return Answer(200, self._shown(checkout, query_of(call)))

    def sessions(self, call: Call) -> Answer:
        query = query_of(call)
        expand = expand_of(query, of_list=True)
        status, intent = query.get("status"), query.get("payment_intent")

        def show(row: Checkout) -> dict[str, Any]:
            return shapes.session(self._acts.look(row), self._till.dialect.page_url(row), expand)

        def keep(row: Checkout) -> bool:
            return (not status or show(row)["status"] == status) and (
                not intent or shapes.intent_id(row) == intent
            )

        return listed(call, lambda window: self._state.checkouts.newest(call.owner, window), show, keep)

    def line_items(self, call: Call) -> Answer:
        checkout = self._own_session(call)
        data = checkout.extra.get("line_items", [])
        return Answer(200, {"object": "list", "url": call.request.path, "has_more": False, "data": data})

    def expire(self, call: Call) -> Answer:
        checkout = self._own_session(call)
        if checkout.status is not Status.OPEN:
            said = 'Only Checkout Sessions with a status in ["open"] can be expired.'
            raise refuse("checkout_session_not_open", said, 400)
        return Answer(200, self._shown(self._acts.close(checkout), _body(call)))

    # --- payment intents, charges, the balance

    def intent(self, call: Call) -> Answer:
        checkout, paid = self._of_intent(call, call.request.match_info["id"])
        return Answer(200, shapes.intent(checkout, paid, expand_of(query_of(call))))

    def charge(self, call: Call) -> Answer:
        checkout, paid = self._of_intent(call, shapes.intent_of_charge(call.request.match_info["id"]))
        if paid is None and not checkout.declines and checkout.status is not Status.FAILED:
            raise _missing("charge", call.request.match_info["id"])
        return Answer(200, shapes.charge(checkout, paid, expand_of(query_of(call))))

    def bookings(self, call: Call) -> Answer:
        query = query_of(call)
        wanted = {name: query[name] for name in ("type", "source", "currency") if name in query}

        def keep(row: Booking) -> bool:
            return all(row.shown[name] == value for name, value in wanted.items())

        rows = self._bookings(call.owner)
        return listed(call, lambda window: _page(rows, window), lambda row: row.shown, keep)

    def account(self, call: Call) -> Answer:
        owner = self._till.account(call)
        return Answer(200, shapes.account(owner, owner.row(self._till.dialect.brand)["name"]))

    def balance(self, call: Call) -> Answer:
        totals: Counter[str] = Counter()
        for _, paid in self._state.newest_transactions(call.owner, Window(limit=MAX_OBJECTS))[0]:
            totals[paid.currency] += paid.amount - paid.fee - paid.amount_refunded
        return Answer(200, shapes.balance(self._till.account(call), totals))

    # --- refunds

    def refund(self, call: Call) -> Answer:
        body = _body(call)
        checkout, paid = self._of_intent(call, _named_intent(body))
        if paid is None:
            raise refuse("charge_not_captured", "There is no successful charge to refund.", 400)
        left = self._state.refundable(checkout, paid)
        if left <= 0:
            raise refuse("charge_already_refunded", "This charge has already been refunded.", 400)
        amount = left
        if "amount" in body:
            amount = _refund_amount(body, paid)
        if amount > left:
            raise refuse("amount_too_large", "More than the unrefunded amount.", 400, param="amount")
        extra = {shapes.METADATA: texts_of(body, "metadata"), "reason": text_of(body, "reason")}
        return Answer(200, shapes.refund(self._acts.refund(checkout, paid, amount, call.key or "", extra)))

    def one_refund(self, call: Call) -> Answer:
        refund = self._state.refunds.get(call.request.match_info["id"])
        if refund is None or refund.owner != call.owner:
            raise _missing("refund", call.request.match_info["id"])
        return Answer(200, shapes.refund(refund))

    def refunds(self, call: Call) -> Answer:
        query = query_of(call)
        of_it = _named_intent(query) if "charge" in query or "payment_intent" in query else None

        def keep(row: Refund) -> bool:
            return of_it is None or row.transaction == of_it

        return listed(
            call, lambda window: self._state.refunds.newest(call.owner, window), shapes.refund, keep
        )

    # --- events

    def events(self, call: Call) -> Answer:
        wanted = query_of(call).get("type")

        def keep(row: Any) -> bool:
            if not isinstance(wanted, str):
                return True
            return bool(row.type.startswith(wanted[:-1]) if wanted.endswith("*") else row.type == wanted)

        return listed(
            call,
            lambda window: self._state.events.newest(call.owner, window),
            lambda row: msgspec.json.decode(row.body),
            keep,
        )

    def event(self, call: Call) -> Answer:
        event = self._state.events.get(call.request.match_info["id"])
        if event is None or event.owner != call.owner:
            raise _missing("event", call.request.match_info["id"])
        return Answer(200, msgspec.json.decode(event.body))

    # --- finding and making

    def _own_session(self, call: Call) -> Checkout:
        checkout_id = call.request.match_info["id"]
        checkout = self._acts.found(checkout_id)
        if checkout is None or checkout.owner != call.owner:
            raise _missing("checkout.session", checkout_id)
        return checkout

    def _of_intent(self, call: Call, intent: str) -> tuple[Checkout, Transaction | None]:
        """The checkout of a payment intent, and its money if it came."""
        found = self._state.transaction(call.owner, intent)
        if found is not None:
            return found
        tried = (c for c in self._state.checkouts if c.owner == call.owner and shapes.intent_id(c) == intent)
        checkout = next(tried, None)
        if checkout is None:
            raise _missing("payment_intent", intent)
        return checkout, None

    def _bookings(self, owner: str) -> list[Booking]:
        """Newest first."""
        whole = Window(limit=MAX_OBJECTS)
        charges = [shapes.booking(paid) for _, paid in self._state.newest_transactions(owner, whole)[0]]
        refunds, _ = self._state.refunds.newest(owner, whole)
        gone = [shapes.refund_booking(r) for r in refunds if r.status is RefundStatus.SUCCEEDED]
        rows = [Booking(row["id"], owner, row["created"] * SECOND, row) for row in (*charges, *gone)]
        return sorted(rows, key=lambda row: row.at, reverse=True)

    def _new_checkout(self, call: Call, order: SessionOrder) -> Checkout:
        now = self._till.stage.now()
        account = self._till.account(call)
        return Checkout(
            id=self._till.dialect.new_id("checkout", account, now),
            owner=account.id,
            account=account.id,
            live=account.live,
            reference=order.reference,
            amount=order.amount,
            currency=order.currency,
            description=order.description,
            status=Status.OPEN,
            return_url=order.success_url,
            cancel_url=order.cancel_url,
            webhook_url=None,
            created_at=now,
            updated_at=now,
            expires_at=_expiry(order.expires_at, now),
            extra=order.extra | {shapes.INTENT: f"pi_{random_id(ID_LENGTH)}"},
        )

    def _shown(self, checkout: Checkout, given: Mapping[str, Any]) -> dict[str, Any]:
        return shapes.session(checkout, self._till.dialect.page_url(checkout), expand_of(given))

    # What a call is about, for faults of one reference; such a question never refuses.

    def _about_intent(self, call: Call) -> Subject:
        named = call.request.match_info["id"]
        return self._till.about_transaction(
            call, shapes.intent_of_charge(named) if named[:3] == "ch_" else named
        )

    def _about_refunded(self, call: Call) -> Subject:
        given = call.body if call.body is not None else query_of(call)
        charge = given.get("charge")
        named = shapes.intent_of_charge(charge) if isinstance(charge, str) else given.get("payment_intent")
        return self._till.about_transaction(call, named)


def _reference_in_body(call: Call) -> Subject:
    reference = (call.body or {}).get("client_reference_id")
    return Subject(reference if isinstance(reference, str) else None)


def _body(call: Call) -> dict[str, Any]:
    return call.body or {}


def _missing(what: str, named: str) -> Exception:
    return refuse("resource_missing", f"No such {what}: '{named}'", 404, param="id")


def _named_intent(given: Mapping[str, Any]) -> str:
    """By a payment intent or by a charge, by exactly one of them."""
    intent, charge = given.get("payment_intent"), given.get("charge")
    if isinstance(intent, str) and charge is None:
        return intent
    if isinstance(charge, str) and intent is None:
        return shapes.intent_of_charge(charge)
    raise refuse("parameter_missing", "Give one of payment_intent and charge.", 400, param="payment_intent")


def _refund_amount(body: Mapping[str, Any], paid: Transaction) -> int:
    amount = whole_of(body, "amount")
    if amount <= 0:
        raise refuse("parameter_invalid_integer", "A refund is at least 1.", 400, param="amount")
    return to_minor(amount, paid.currency.lower(), smallest=1)


def _expiry(wanted: int | None, now: Instant) -> int:
    if wanted is None:
        return now + LONGEST
    expires_at = wanted * SECOND
    # Whole seconds on the wire: the one that has begun counts.
    if not now + SHORTEST - SECOND <= expires_at <= now + LONGEST + SECOND:
        said = "expires_at must be between 30 minutes and 24 hours after creation."
        raise refuse("parameter_invalid", said, 400, param="expires_at")
    return expires_at


def _page(rows: list[Booking], window: Window) -> tuple[list[Booking], int]:
    """Rows after the cursor within the window. Raises ValueError for a cursor that is none."""
    inside = [row for row in rows if window.start <= row.at < window.end]
    if window.cursor is not None:
        places = [place for place, row in enumerate(inside) if row.id == window.cursor]
        if not places:
            raise ValueError("there is no object of this id")
        inside = inside[places[0] + 1 :]
    return inside[: window.limit], len(inside)
