"""Starts a checkout at a provider: the attempt is committed first, then the provider is called, then its answer kept."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from paystate.domain import access
from paystate.domain.connections import Connection
from paystate.domain.payments import (
    Attempt,
    AttemptState,
    Patience,
    Payment,
    State,
    Step,
    Trigger,
    attempt_store,
    rules,
    schedule,
    store,
)
from paystate.domain.payments.port import Account, CheckoutOrder, NoAnswer, Offer, Started, StartRefused
from paystate.domain.payments.states import OFFERED
from paystate.flows.choose_connection import those_that_take, usable_connections
from paystate.flows.claim_attempts import VERIFY
from paystate.flows.context import Context
from paystate.flows.keep_budgets import take_turn
from paystate.flows.keep_tokens import with_account
from paystate.flows.move_payment import WATCHERS, move_payments
from paystate.flows.verify_payments import verify_now
from paystate.kit.clock import SECOND, Instant, monotonic
from paystate.kit.errors import Conflict, Refused, Unavailable
from paystate.kit.ids import System, Who, new_id, new_provider_reference
from paystate.machinery.db import ConstraintRefused, Tx
from paystate.machinery.failpoints import afailpoint, declare

BEFORE_CALL = declare("attempt.before_call", "the attempt is committed, the provider is not called yet")
AFTER_CALL = declare("attempt.after_call", "the provider has made the checkout, its id is not stored yet")

LOSER_WAITS_SECONDS = 10.0
LOSER_LOOKS_EVERY_SECONDS = 0.1
CLOSE_WAIT_SECONDS = 5.0
TURN_SECONDS = 5.0
"""A customer waits no longer for the provider's budget."""

ANSWER_LATER_SECONDS = 2
WHO = System("checkout of a public payment link")


@dataclass(frozen=True, slots=True)
class Checkout:
    """Where the customer goes. Without an offer the provider has not answered yet: look again at `next_check_at`."""

    attempt: Attempt
    offer: Offer | None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An attempt to record: whose, for what, where, and the exact bytes it will send."""

    patience: Patience
    who: Who
    prepared: Payment
    connection: Connection
    reference: str
    request: bytes


@dataclass(frozen=True, slots=True)
class _Plan:
    """A recorded attempt, and whether this caller is the one to send it."""

    attempt: Attempt
    request: bytes
    mine: bool


async def start_checkout(
    ctx: Context, who: Who, id_or_code: str, provider: str | None, *, instead_of: str | None = None
) -> Checkout:
    """Lead the customer to a checkout of this provider; of concurrent calls all get the winner's.

    Checkouts of this payment elsewhere are ended first, where they can be, and so is the attempt `instead_of`, for a
    provider that takes a form only once. Raises NotFound,
    Conflict `invalid_state`, Refused `provider_not_configured`, `currency_not_supported_by_provider` or
    `amount_below_minimum`, and Unavailable `provider_unavailable` when certainly nothing was sent.
    """
    payment, connection = await ctx.db.read(partial(_choose, ctx, who, id_or_code, provider))
    wanted = _prepared(ctx, who, payment, connection)
    await _end_others(ctx, wanted, instead_of)
    plan = await _record(ctx, wanted)
    if not plan.mine:
        return await _follow(ctx, plan.attempt)
    await afailpoint(BEFORE_CALL)
    return await _send(ctx, plan, connection)


def _choose(
    ctx: Context, who: Who, id_or_code: str, provider: str | None, tx: Tx
) -> tuple[Payment, Connection]:
    payment = store.find_link(tx, who, id_or_code)
    refuse_unless_payable(payment, tx.now)
    usable = usable_connections(ctx, tx, payment)
    chosen = [c for c in usable if provider is None or c.provider == provider]
    broken = access.breakers(tx, WHO)
    if not chosen:
        raise Refused(
            "This payment cannot be paid through that provider.",
            code="provider_not_configured",
            available=sorted({c.provider for c in usable}),
        )
    taking = those_that_take(ctx, payment.money, chosen)
    working = [c for c in taking if c.id not in broken or broken[c.id].may_try(tx.now)]
    if not working:
        raise Unavailable(
            "The provider does not answer at the moment; please try again soon, or pay another way.",
            code="provider_unavailable",
        )
    return payment, working[0]


def refuse_unless_payable(payment: Payment, now: int) -> None:
    """Raise Conflict `invalid_state` unless a customer may start paying now."""
    if payment.state not in (State.OPEN, State.PENDING_VERIFICATION, State.FAILED):
        raise Conflict(f"This payment is {payment.state} and cannot be paid now.", state=payment.state.value)
    if payment.cancel_requested_at is not None or not schedule.within_own_time(payment, Instant(now)):
        raise Conflict("The time of this payment is over.", state=payment.state.value)


async def _end_others(ctx: Context, wanted: _Wanted, instead_of: str | None) -> None:
    """Before a checkout starts elsewhere, those that are offered are ended, or watched when they cannot be."""
    payment, here = wanted.prepared, wanted.connection.id

    def mark(tx: Tx) -> list[Attempt]:
        locked = attempt_store.lock_of_payments(tx, WHO, [payment.id])
        offered = [a for a in locked if a.state in OFFERED]
        others = [a for a in offered if a.connection_id != here or a.id == instead_of]
        _refuse_while_processing(others)
        attempt_store.make_due(tx, WHO, others, Trigger.START, close=True)
        tx.wake(VERIFY)
        return others

    others = await ctx.db.write(mark)
    if others:
        await verify_now(ctx, WHO, others, Trigger.START, CLOSE_WAIT_SECONDS)
        for left in (a for a in others if a.id == instead_of):
            # A worker may have been faster to ask; until it is done, this one stands in the way of the new one.
            await _once(ctx, left, lambda a: a.state not in OFFERED)
        newest = await ctx.db.read(lambda tx: store.get(tx, wanted.who, payment.id))
        if newest.state is State.PAID:
            raise Conflict("This payment has just been paid.", state=State.PAID.value)


def _refuse_while_processing(attempts: Sequence[Attempt]) -> None:
    """Money is on its way through another checkout: a second one would be paid twice."""
    if any(a.state is AttemptState.PROCESSING for a in attempts):
        raise Conflict("A payment is being processed; please wait and do not pay again.")


def _prepared(ctx: Context, who: Who, payment: Payment, connection: Connection) -> _Wanted:
    """What will be sent. Raises Refused for what this very connection cannot express, while nothing has happened yet."""
    reference = new_provider_reference()
    request = ctx.provider(connection.provider).prepare(
        ctx.account(connection), order_of(ctx, payment, connection, reference)
    )
    return _Wanted(ctx.patience, who, payment, connection, reference, request)


async def _record(ctx: Context, wanted: _Wanted) -> _Plan:
    payment, connection = wanted.prepared, wanted.connection
    try:
        attempt = await ctx.db.write(partial(_record_attempt, wanted))
    except ConstraintRefused:
        found = await ctx.db.read(lambda tx: attempt_store.offered(tx, WHO, payment.id, connection.id))
        if found is None:
            raise Conflict("Another checkout of this payment is just ending; try again.") from None
        return _Plan(found, b"", mine=False)
    return _Plan(attempt, wanted.request, mine=attempt.provider_reference == wanted.reference)


def order_of(ctx: Context, payment: Payment, connection: Connection, reference: str) -> CheckoutOrder:
    """What the provider is asked to collect; addresses come from settings, never from a request."""
    base = ctx.settings.public_url.rstrip("/")
    page = f"{base}/pay/{payment.short_code}"
    return CheckoutOrder(
        reference=reference,
        money=payment.money,
        description=payment.description,
        return_url=f"{page}/return",
        cancel_url=f"{page}/return?from=cancel",
        webhook_url=f"{base}/api/webhooks/{connection.provider}/{connection.id}",
        expires_at=payment.own_deadline,
    )


def _record_attempt(wanted: _Wanted, tx: Tx) -> Attempt:
    """Commit the attempt with the bytes it will send, its first look, and the payment's new word."""
    locked = attempt_store.lock_of_payments(tx, WHO, [wanted.prepared.id])
    payment = store.lock(tx, wanted.who, [wanted.prepared.id])[wanted.prepared.id]
    refuse_unless_payable(payment, tx.now)
    asked, stands = wanted.prepared, payment
    if (asked.money, asked.own_deadline) != (stands.money, stands.own_deadline):
        raise Conflict("The payment was changed just now; try again.", code="version_conflict")
    offered = [a for a in locked if a.state in OFFERED and a.connection_id == wanted.connection.id]
    _refuse_while_processing([a for a in locked if a.connection_id != wanted.connection.id])
    if offered:
        return offered[0]
    if len(locked) >= attempt_store.ATTEMPTS_PER_PAYMENT:
        raise Conflict("Too many checkouts were started for this payment.", code="limit_reached")
    if payment.state is State.FAILED:
        payment = _reopen(tx, wanted.who, payment, wanted.patience)
    attempt = _new_attempt(wanted.patience, payment, wanted.connection, wanted.reference, tx.now)
    attempt_store.insert(tx, wanted.who, attempt, wanted.request, hashlib.sha256(wanted.request).hexdigest())
    store.touch(
        tx,
        wanted.who,
        [payment],
        last_event_type="CHECKOUT_STARTED",
        last_event_at=tx.now,
        payment_method=wanted.connection.provider.upper(),
    )
    tx.wake(WATCHERS)
    return attempt


def _reopen(tx: Tx, who: Who, payment: Payment, patience: Patience) -> Payment:
    """A new checkout brings a failed payment back, if nobody took its slot meanwhile (409 otherwise)."""
    if (
        payment.slot is not None
        and store.holder_of_slot(tx, who, payment.merchant_id, payment.slot) is not None
    ):
        raise Conflict("Another payment for the same thing is pending.", code="PENDING_SAME_BUNDLE")
    return move_payments(tx, who, [Step(payment, State.OPEN, "customer", "retried")], patience)[0]


def _new_attempt(
    patience: Patience, payment: Payment, connection: Connection, reference: str, now: Instant
) -> Attempt:
    look = schedule.first_look(now, patience)
    return Attempt(
        id=new_id("att", now),
        payment_id=payment.id,
        merchant_id=payment.merchant_id,
        connection_id=connection.id,
        provider=connection.provider,
        state=AttemptState.CREATED,
        provider_reference=reference,
        idempotency_key=f"paystate-{reference}",
        start_failures=0,
        start_until=Instant(now + patience.start_key_life),
        checkout_id=None,
        checkout=None,
        close_wanted=False,
        next_check_at=look.at,
        check_band=look.band,
        check_trigger=Trigger.START.value,
        lease_until=None,
        claim_no=0,
        hint_no=0,
        hinted_at=None,
        last_asked_at=None,
        last_answer_at=None,
        last_outcome=None,
        unpaid_answers=0,
        unpaid_answer_at=None,
        silent_since=None,
        silent_count=0,
        watched_until=None,
        verification_id=None,
        verification_key=None,
        created_at=now,
        ended_at=None,
    )


async def _send(ctx: Context, plan: _Plan, connection: Connection) -> Checkout:
    """Call the provider outside of any transaction and keep what it said."""
    attempt = plan.attempt
    provider = ctx.provider(attempt.provider)
    deadline = ctx.patience.start_deadline / SECOND
    try:
        async with asyncio.timeout(deadline):
            await take_turn(ctx, connection, TURN_SECONDS)

            async def start(account: Account) -> Started:
                return await provider.start(account, plan.request, idempotency_key=attempt.idempotency_key)

            started = await with_account(ctx, connection, start)
    except StartRefused as error:
        await ctx.db.write(partial(_end_unstarted, attempt, AttemptState.FAILED, ctx.patience))
        raise Refused(
            f"The provider refused this checkout: {error.reason}", code="provider_refused"
        ) from error
    except (NoAnswer, TimeoutError) as error:
        return await _unanswered(ctx, attempt, sent=not isinstance(error, NoAnswer) or error.sent)
    await afailpoint(AFTER_CALL)
    return Checkout(await ctx.db.write(partial(_record_answer, attempt, started)), started.offer)


async def _unanswered(ctx: Context, attempt: Attempt, *, sent: bool) -> Checkout:
    """Nothing sent: the attempt is over and the customer may try again. Else the worker finds out."""
    if not sent:
        await ctx.db.write(partial(_end_unstarted, attempt, AttemptState.CANCELED, ctx.patience))
        raise Unavailable(
            "The provider cannot be reached at the moment; please try again.", code="provider_unavailable"
        )

    def look_soon(tx: Tx) -> Attempt:
        tx.wake(VERIFY)
        at = Instant(tx.now + ANSWER_LATER_SECONDS * SECOND)
        current = attempt_store.get(tx, WHO, attempt.id)
        if current.state is AttemptState.CREATED:
            attempt_store.update(tx, WHO, attempt.id, {"next_check_at": at})
        return attempt_store.get(tx, WHO, attempt.id)

    return _checkout(await ctx.db.write(look_soon))


def _end_unstarted(attempt: Attempt, state: AttemptState, patience: Patience, tx: Tx) -> None:
    """Nothing exists at the provider under this attempt: it is over, and with it what only waited for it."""
    locked = {a.id: a for a in attempt_store.lock_of_payments(tx, WHO, [attempt.payment_id])}
    if locked[attempt.id].state is not AttemptState.CREATED:
        return
    ended = {"state": state.value, "ended_at": tx.now, "next_check_at": None, "lease_until": None}
    attempt_store.update(tx, WHO, attempt.id, ended)
    payment = store.lock(tx, WHO, [attempt.payment_id])[attempt.payment_id]
    states = [a.state for a in attempt_store.of_payments(tx, WHO, [payment.id])]
    move, reason = rules.conclude(payment, states, tx.now)
    if move is not None:
        move_payments(tx, WHO, [Step(payment, move, "checkout", reason, attempt.id)], patience)


def _record_answer(attempt: Attempt, started: Started, tx: Tx) -> Attempt:
    """The provider's id and offer; a worker that was faster, or a webhook, is not undone."""
    locked = {a.id: a for a in attempt_store.lock_of_payments(tx, WHO, [attempt.payment_id])}
    current = locked[attempt.id]
    values: dict[str, object] = {"checkout": msgspec.json.encode(started.offer).decode()}
    if started.checkout_id is not None:
        values["checkout_id"] = started.checkout_id
    if current.state is AttemptState.CREATED:
        values["state"] = AttemptState.LIVE.value
        if current.hint_no == attempt.hint_no:
            values["next_check_at"] = tx.now + ANSWER_LATER_SECONDS * SECOND
    attempt_store.update(tx, WHO, attempt.id, values)
    tx.wake(VERIFY)
    return attempt_store.get(tx, WHO, attempt.id)


async def _follow(ctx: Context, attempt: Attempt) -> Checkout:
    """Wait for the winner's answer, at most ten seconds."""
    return _checkout(await _once(ctx, attempt, lambda a: a.state is not AttemptState.CREATED))


async def _once(ctx: Context, attempt: Attempt, ready: Callable[[Attempt], bool]) -> Attempt:
    """The attempt as somebody else leaves it, or as it is after ten seconds."""
    until = monotonic() + LOSER_WAITS_SECONDS
    while True:
        current = await ctx.db.read(lambda tx: attempt_store.get(tx, WHO, attempt.id))
        if ready(current) or monotonic() >= until:
            return current
        await asyncio.sleep(LOSER_LOOKS_EVERY_SECONDS)


def _checkout(attempt: Attempt) -> Checkout:
    if attempt.state not in OFFERED:
        raise Conflict("This checkout has ended; start a new one.", attempt=attempt.id)
    return Checkout(
        attempt, None if attempt.checkout is None else msgspec.json.decode(attempt.checkout, type=Offer)
    )
