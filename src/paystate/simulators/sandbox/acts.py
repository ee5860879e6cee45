"""What can happen to a checkout at Sandbox Pay: each act changes it, records it, and tells by webhook."""

from typing import Any

import msgspec
from msgspec.structs import replace

from paystate.kit.clock import SECOND
from paystate.kit.ids import new_id
from paystate.simulators.calls import refuse
from paystate.simulators.faults import EARLY_KINDS, WEBHOOK, Subject
from paystate.simulators.sandbox.objects import (
    ENDED_UNPAID,
    Checkout,
    Decline,
    Event,
    Refund,
    RefundStatus,
    Status,
    Transaction,
    fee_of,
)
from paystate.simulators.sandbox.signature import sign
from paystate.simulators.sandbox.state import SandboxState
from paystate.simulators.stage import Stage
from paystate.simulators.webhook_sender import Delivery

DECLINE_CODE = "insufficient_funds"


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """How a payment differs from what was asked for; None: it does not."""

    amount: int | None = None
    currency: str | None = None
    reference: str | None = None
    account: str | None = None
    live: bool | None = None
    transaction: str | None = None
    paid_at: int | None = None


AS_ASKED = Payment()


class Acts:
    """The customer's, the merchant's and the bank's deeds. None of them waits."""

    def __init__(self, stage: Stage, state: SandboxState) -> None:
        self._stage = stage
        self._state = state
        self.refund_status = RefundStatus.SUCCEEDED

    def look(self, checkout: Checkout) -> Checkout:
        """The checkout as of now: past its time an open one is expired, a slow one that is due is paid."""
        now = self._stage.now()
        if checkout.status is Status.OPEN and checkout.expires_at <= now:
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
        changed = _paid(checkout, payment, self._stage.now())
        self._state.keep_checkout(changed)
        self._tell("checkout.paid", changed)
        return changed

    def process(self, checkout: Checkout, settles_in: float | None = None) -> Checkout:
        """Processing; after `settles_in` seconds paid, or never unless forced."""
        now = self._stage.now()
        settles_at = None if settles_in is None else now + int(settles_in * SECOND)
        changed = replace(checkout, status=Status.PROCESSING, settles_at=settles_at, updated_at=now)
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
        changed = replace(checkout, decline=Decline(code=code, at=now), updated_at=now)
        self._state.keep_checkout(changed)
        self._tell("checkout.declined", changed)
        return changed

    def end(self, checkout: Checkout, status: Status) -> Checkout:
        """Failed, expired or closed for good."""
        now = self._stage.now()
        changed = replace(checkout, status=status, settles_at=None, updated_at=now)
        self._state.keep_checkout(changed)
        self._tell(f"checkout.{status.value}", changed)
        return changed

    def close(self, checkout: Checkout) -> Checkout:
        """At the merchant's wish. Refuses once money moved or may still move."""
        if checkout.status is Status.OPEN:
            return self.end(checkout, Status.CLOSED)
        if checkout.status in ENDED_UNPAID:
            return checkout
        raise refuse("already_paid", "This checkout is paid or being paid.", 409)

    def refund(self, checkout: Checkout, paid: Transaction, amount: int, reference: str) -> Refund:
        """Money back; how much may go back is the caller's to check."""
        now = self._stage.now()
        refund = Refund(
            id=new_id("ref", now),
            owner=checkout.owner,
            checkout=checkout.id,
            transaction=paid.id,
            reference=reference,
            amount=amount,
            currency=paid.currency,
            status=self.refund_status,
            created_at=now,
        )
        self._state.keep_refund(refund)
        self._book(refund)
        return refund

    def settle_refund(self, refund: Refund, status: RefundStatus) -> Refund:
        """A pending refund succeeds or fails. Raises ValueError for one that did already."""
        if refund.status is not RefundStatus.PENDING:
            raise ValueError("this refund is not pending")
        settled = replace(refund, status=status)
        self._state.keep_refund(settled)
        self._book(settled)
        return settled

    async def tell_early(self, checkout: Checkout) -> None:
        """The `early` fault: the webhook is out before the call that made the checkout is answered."""
        subject = Subject(checkout.reference)
        fault = self._stage.plan.take(WEBHOOK, EARLY_KINDS, subject, self._stage.now())
        if fault is None:
            return
        type_ = "checkout.processing"
        if fault.plan.outcome == "pay":
            type_, checkout = "checkout.paid", _paid(checkout, AS_ASKED, self._stage.now())
            self._state.keep_checkout(checkout)
        delivery = self.delivery(self._event(type_, checkout))
        if delivery is not None:
            await self._stage.sender.send_now(delivery)

    def delivery(self, event: Event) -> Delivery | None:
        """An event on its way to its address, if it has one."""
        if event.url is None:
            return None
        secret = self._state.accounts[event.owner].webhook_secret
        return Delivery(
            event=event.id,
            reference=event.reference,
            url=event.url,
            body=event.body.encode(),
            secret=secret,
            sign=lambda key, body: sign(key, body, self._stage.now()),
        )

    def _settle(self, checkout_id: str) -> None:
        checkout = self._state.checkouts.get(checkout_id)
        if checkout is not None and checkout.status is Status.PROCESSING and checkout.settles_at is not None:
            self.pay(checkout)

    def _book(self, refund: Refund) -> None:
        checkout = self._state.checkouts.get(refund.checkout)
        if refund.status is RefundStatus.SUCCEEDED and checkout is not None:
            changed = _refunded(checkout, refund, self._stage.now())
            self._state.keep_checkout(changed)
            self._tell("refund.succeeded", changed)

    def _tell(self, type_: str, checkout: Checkout) -> None:
        delivery = self.delivery(self._event(type_, checkout))
        if delivery is not None:
            self._stage.sender.submit(delivery)

    def _event(self, type_: str, checkout: Checkout) -> Event:
        now = self._stage.now()
        event_id = new_id("evt", now)
        body: dict[str, Any] = {
            "id": event_id,
            "type": type_,
            "created": now // SECOND,
            "account": checkout.account,
            "live": checkout.live,
            "data": {"checkout": checkout.id, "reference": checkout.reference},
        }
        event = Event(
            id=event_id,
            type=type_,
            owner=checkout.owner,
            checkout=checkout.id,
            reference=checkout.reference,
            url=checkout.webhook_url,
            body=msgspec.json.encode(body).decode(),
            at=now,
        )
        self._state.keep_event(event)
        return event


def payable(checkout: Checkout) -> bool:
    """Whether a customer on the page can still do something."""
    return checkout.status is Status.OPEN


def _paid(checkout: Checkout, payment: Payment, now: int) -> Checkout:
    amount = checkout.amount if payment.amount is None else payment.amount
    paid = Transaction(
        id=payment.transaction or new_id("txn", now),
        amount=amount,
        currency=payment.currency or checkout.currency,
        reference=payment.reference or checkout.reference,
        fee=fee_of(amount),
        paid_at=now if payment.paid_at is None else payment.paid_at,
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


def _refunded(checkout: Checkout, refund: Refund, now: int) -> Checkout:
    def less(paid: Transaction) -> Transaction:
        if paid.id != refund.transaction:
            return paid
        return replace(paid, amount_refunded=paid.amount_refunded + refund.amount)

    first = checkout.transaction and less(checkout.transaction)
    whole = first is not None and first.amount_refunded >= first.amount
    return replace(
        checkout,
        transaction=first,
        further=tuple(less(paid) for paid in checkout.further),
        status=Status.REFUNDED if whole else checkout.status,
        updated_at=now,
    )
