"""What can happen to a checkout: each act changes it, records it, and tells by webhook."""

from typing import Any

import msgspec
from msgspec.structs import replace

from paystate.kit.clock import SECOND, Instant
from paystate.simulators.calls import refuse
from paystate.simulators.faults import EARLY_KINDS, WEBHOOK, Subject
from paystate.simulators.stage import Stage
from paystate.simulators.till.dialect import Dialect, Happening, Message, Name
from paystate.simulators.till.objects import (
    CARD,
    ENDED_UNPAID,
    Checkout,
    Decline,
    Event,
    Refund,
    RefundStatus,
    Status,
    Transaction,
)
from paystate.simulators.till.state import TillState
from paystate.simulators.webhook_sender import Delivery

DECLINE_CODE = "insufficient_funds"
MAX_DECLINES = 100
_ENDINGS: dict[Status, Name] = {
    Status.FAILED: "checkout.failed",
    Status.EXPIRED: "checkout.expired",
    Status.CLOSED: "checkout.closed",
}


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """How a payment differs from what was asked for; None: it does not."""

    amount: int | None = None
    currency: str | None = None
    reference: str | None = None
    account: str | None = None
    live: bool | None = None
    transaction: str | None = None
    paid_at: int | None = None
    method: str = CARD


AS_ASKED = Payment()


class Acts:
    """The customer's, the merchant's and the bank's deeds. None of them waits."""

    def __init__(self, stage: Stage, state: TillState, dialect: Dialect) -> None:
        self._stage = stage
        self._state = state
        self._dialect = dialect
        self.refund_status = RefundStatus.SUCCEEDED

    def look(self, checkout: Checkout) -> Checkout:
        """The checkout as of now: past its time an open one is expired, a slow one that is due is paid."""
        if self._state.past:
            return checkout
        now = self._stage.now()
        if checkout.status is Status.OPEN and checkout.expires_at is not None and checkout.expires_at <= now:
            return self.end(checkout, Status.EXPIRED)
        if checkout.settles_at is not None and checkout.settles_at <= now:
            return self.pay(checkout)
        return checkout

    def found(self, checkout_id: str) -> Checkout | None:
        """The checkout of this id, looked at."""
        checkout = self._state.checkouts.get(checkout_id)
        return None if checkout is None else self.look(checkout)

    def opened(self, checkout: Checkout) -> Checkout:
        self._state.keep_checkout(checkout)
        return checkout

    def pay(self, checkout: Checkout, payment: Payment = AS_ASKED) -> Checkout:
        """Paid, whatever it was: a closed one late, a paid one once more."""
        changed = self._paid(checkout, payment)
        self._state.keep_checkout(changed)
        self._tell("checkout.paid", changed)
        return changed

    def process(self, checkout: Checkout, settles_in: float | None = None) -> Checkout:
        """Processing; after `settles_in` seconds paid, or never unless forced."""
        now = self._stage.now()
        settles_at = None if settles_in is None else now + int(settles_in * SECOND)
        changed = replace(
            checkout,
            status=Status.PROCESSING,
            settles_at=settles_at,
            was_processing=True,
            updated_at=now,
        )
        self._state.keep_checkout(changed)
        self._tell("checkout.processing", changed)
        self.await_settling(changed)
        return changed

    def await_settling(self, checkout: Checkout) -> None:
        """Have a processing checkout paid when it is due, even if nobody looks."""
        if checkout.settles_at is not None:
            wait = max(0, checkout.settles_at - self._stage.now()) / SECOND
            self._stage.later(wait, lambda: self._settle(checkout.id))

    def decline(self, checkout: Checkout, code: str = DECLINE_CODE) -> Checkout:
        """The bank said no; the customer may try again."""
        now = self._stage.now()
        decline = Decline(id=self._new_id("decline", checkout), code=code, at=now)
        changed = replace(checkout, declines=(*checkout.declines, decline)[-MAX_DECLINES:], updated_at=now)
        self._state.keep_checkout(changed)
        self._tell("checkout.declined", changed)
        return changed

    def end(self, checkout: Checkout, status: Status) -> Checkout:
        """Failed, expired or closed for good."""
        now = self._stage.now()
        changed = replace(checkout, status=status, settles_at=None, updated_at=now)
        self._state.keep_checkout(changed)
        self._tell(_ENDINGS[status], changed)
        return changed

    def close(self, checkout: Checkout) -> Checkout:
        """At the merchant's wish. Refuses once money moved or may still move."""
        if checkout.status is Status.OPEN:
            return self.end(checkout, Status.CLOSED)
        if checkout.status in ENDED_UNPAID:
            return checkout
        raise refuse("already_paid", "This checkout is paid or being paid.", 409)

    def dispute(self, checkout: Checkout) -> Checkout:
        """The cardholder wants the money back. Raises ValueError for one that is not paid."""
        if checkout.transaction is None:
            raise ValueError("only what was paid can be disputed")
        disputed = replace(checkout.transaction, disputed=True)
        changed = replace(checkout, transaction=disputed, updated_at=self._stage.now())
        self._state.keep_checkout(changed)
        self._tell("dispute.created", changed)
        return changed

    def refund(
        self,
        checkout: Checkout,
        paid: Transaction,
        amount: int,
        reference: str,
        extra: dict[str, Any] | None = None,
    ) -> Refund:
        """Money back; how much may go back is the caller's to check."""
        refund = Refund(
            id=self._new_id("refund", checkout),
            owner=checkout.owner,
            checkout=checkout.id,
            transaction=paid.id,
            reference=reference,
            amount=amount,
            currency=paid.currency,
            status=self.refund_status,
            created_at=self._stage.now(),
            extra=extra or {},
        )
        self._state.keep_refund(refund)
        self._book(refund)
        return refund

    def settle_refund(self, refund: Refund, status: RefundStatus) -> Refund:
        """A pending refund succeeds or fails; one that succeeded may still come back from the bank. Raises ValueError."""
        came_back = refund.status is RefundStatus.SUCCEEDED and status is RefundStatus.FAILED
        if refund.status is not RefundStatus.PENDING and not came_back:
            raise ValueError("this refund is not pending")
        settled = replace(refund, status=status)
        self._state.keep_refund(settled)
        self._book(settled, came_back=came_back)
        return settled

    async def tell_early(self, checkout: Checkout) -> None:
        """The `early` fault: the webhook is out before the call that made the checkout is answered."""
        subject = Subject(checkout.reference)
        fault = self._stage.plan.take(WEBHOOK, EARLY_KINDS, subject, self._stage.now())
        if fault is None:
            return
        paid = self._paid(checkout, AS_ASKED)
        if fault.plan.outcome == "pay":
            self._state.keep_checkout(paid)
            events = self._events("checkout.paid", paid)
        else:
            # A provider that tells of payments only has nothing else to say too early.
            events = self._events("checkout.processing", checkout) or self._events("checkout.paid", paid)
        for event in events:
            delivery = self.delivery(event)
            if delivery is not None:
                await self._stage.sender.send_now(delivery)

    def delivery(self, event: Event) -> Delivery | None:
        """An event on its way to its address, if it has one."""
        if event.url is None:
            return None
        return Delivery(
            event=event.id,
            reference=event.reference,
            url=event.url,
            body=event.body.encode(),
            secret=self._dialect.signing_secret(self._state.accounts[event.owner]),
            sign=lambda secret, body: self._dialect.sign(secret, body, event.id),
        )

    def _settle(self, checkout_id: str) -> None:
        checkout = self._state.checkouts.get(checkout_id)
        if checkout is not None and checkout.status is Status.PROCESSING and checkout.settles_at is not None:
            self.pay(checkout)

    def _book(self, refund: Refund, *, came_back: bool = False) -> None:
        checkout = self._state.checkouts.get(refund.checkout)
        if checkout is None:
            return
        if refund.status is RefundStatus.SUCCEEDED or came_back:
            amount = -refund.amount if came_back else refund.amount
            checkout = _refunded(checkout, refund.transaction, amount, self._stage.now())
            self._state.keep_checkout(checkout)
        names: dict[RefundStatus, Name] = {
            RefundStatus.PENDING: "refund.pending",
            RefundStatus.SUCCEEDED: "refund.succeeded",
            RefundStatus.FAILED: "refund.failed",
        }
        self._tell(names[refund.status], checkout, refund)

    def _tell(self, name: Name, checkout: Checkout, refund: Refund | None = None) -> None:
        for event in self._events(name, checkout, refund):
            delivery = self.delivery(event)
            if delivery is not None:
                self._stage.sender.submit(delivery)

    def _events(self, name: Name, checkout: Checkout, refund: Refund | None = None) -> list[Event]:
        now = self._stage.now()
        account = self._state.accounts[checkout.owner]
        url = self._dialect.webhook_url(account, checkout)
        messages = self._dialect.messages(Happening(name, checkout, now, refund))
        events = [_event(message, name, checkout, url, now=now) for message in messages]
        for event in events:
            self._state.keep_event(event)
        return events

    def _paid(self, checkout: Checkout, payment: Payment) -> Checkout:
        now = self._stage.now()
        amount = checkout.amount if payment.amount is None else payment.amount
        currency = payment.currency or checkout.currency
        paid = Transaction(
            id=payment.transaction or self._dialect.transaction_id(checkout, now),
            amount=amount,
            currency=currency,
            reference=payment.reference or checkout.reference,
            fee=self._dialect.fee(amount, currency),
            paid_at=now if payment.paid_at is None else payment.paid_at,
            method=payment.method,
        )
        if checkout.transaction is not None:
            return replace(checkout, further=(*checkout.further, paid), updated_at=now)
        return replace(
            checkout,
            status=Status.PAID,
            transaction=paid,
            account=payment.account or checkout.account,
            live=checkout.live if payment.live is None else payment.live,
            settles_at=None,
            updated_at=now,
        )

    def _new_id(self, kind: Any, checkout: Checkout) -> str:
        return self._dialect.new_id(kind, self._state.accounts[checkout.owner], self._stage.now())


def payable(checkout: Checkout) -> bool:
    """Whether a customer on the page can still do something."""
    return checkout.status is Status.OPEN


def _event(message: Message, name: Name, checkout: Checkout, url: str | None, *, now: Instant) -> Event:
    return Event(
        id=message.id,
        type=message.type,
        happening=name,
        owner=checkout.owner,
        checkout=checkout.id,
        reference=checkout.reference,
        url=url,
        body=message.body.decode(),
        at=now,
    )


def _refunded(checkout: Checkout, transaction: str, amount: int, now: int) -> Checkout:
    def less(paid: Transaction) -> Transaction:
        if paid.id != transaction:
            return paid
        return replace(paid, amount_refunded=paid.amount_refunded + amount)

    first = checkout.transaction and less(checkout.transaction)
    whole = first is not None and first.amount_refunded >= first.amount
    status = Status.PAID if checkout.status is Status.REFUNDED else checkout.status
    return replace(
        checkout,
        transaction=first,
        further=tuple(less(paid) for paid in checkout.further),
        status=Status.REFUNDED if whole else status,
        updated_at=now,
    )
