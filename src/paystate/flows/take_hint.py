"""Takes a hint: a webhook, a returning browser or an operator makes an attempt due now, and changes nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256

from paystate.domain import connections
from paystate.domain.connections import (
    Connection,
    ConnectionState,
    NewProviderEvent,
    Receipt,
    body_aad,
    inbox_store,
)
from paystate.domain.payments import (
    Attempt,
    AttemptState,
    Patience,
    Payment,
    State,
    Step,
    Trigger,
    attempt_store,
    schedule,
    store,
)
from paystate.domain.payments.port import LandsOnFixedPath, Message, Named, SendsWebhooks, SignatureInvalid
from paystate.domain.payments.states import ENDED, OFFERED
from paystate.flows.claim_attempts import VERIFY
from paystate.flows.context import Context
from paystate.flows.move_payment import move_payments
from paystate.kit.clock import MINUTE, SECOND, Instant
from paystate.kit.errors import NotFound, Refused, Unauthenticated
from paystate.kit.ids import MerchantId, System, Who, new_id
from paystate.machinery.db import Tx
from paystate.machinery.failpoints import afailpoint, declare
from paystate.machinery.logs import get_logger

BEFORE_INSERT = declare("inbox.before_insert", "a webhook is checked, its row is not written yet")
AFTER_INSERT = declare("inbox.after_insert", "a webhook's row is committed, the provider has no answer yet")
AFTER_ACK = declare("inbox.after_ack", "the webhook is acknowledged, nothing was looked at yet")

RETRY_UNMATCHED = 5 * SECOND
UNMATCHED_FOR = 10 * MINUTE
"""A webhook may come before our own commit (lago #1373); so long it is looked at again."""

UNMATCHED_BATCH = 200
EVENT_ID_LIMIT = 255
LANDINGS_PER_ATTEMPT = 20
"""So many unsigned messages of one attempt are kept before a landing is only a hint: its payer could write more."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a webhook: its row, and how many attempts were made due."""

    event_id: str
    is_new: bool
    made_due: int


async def take_webhook(
    ctx: Context, provider: str, connection_id: str, headers: Mapping[str, str], body: bytes
) -> Taken:
    """Store a provider's message and make what it names due. It is only ever a hint.

    Raises NotFound for a connection that does not receive here, Unauthenticated `signature_invalid`,
    Refused for a message that names nothing readable.
    """
    who = System("webhook of a provider")
    connection = await ctx.db.read(lambda tx: connections.get_connection(tx, who, connection_id))
    adapter = _reader(ctx.providers.get(provider))
    disabled = connection.state is ConnectionState.DISABLED
    if adapter is None or connection.provider != provider or disabled:
        raise NotFound("There is no such webhook address.")
    try:
        # A provider signs with the time of the world, not with the one a test moved this database to.
        message = adapter.read_webhook(ctx.account(connection), headers, body, now=ctx.clock.now())
    except SignatureInvalid:
        raise Unauthenticated("The signature is not valid.", code="signature_invalid") from None
    except ValueError:
        raise Refused("The message cannot be read.", code="malformed_json") from None
    await afailpoint(BEFORE_INSERT)
    taken = await ctx.db.write(partial(_store_and_hint, ctx, connection, message, body))
    await afailpoint(AFTER_INSERT)
    return taken


async def take_landing(
    ctx: Context, connection_id: str, fields: Mapping[str, str], body: bytes
) -> Mapping[str, bool] | None:
    """A browser brought a provider's fields to the fixed address of a connection: they are kept, and make a check due.

    Nobody signed them, so nothing in them is believed; and what names no checkout of ours is not kept, for anybody
    could send it. Answers the short codes of the payments named, and whether by our own reference, which nobody can
    guess. None: no adapter reads such fields here.
    """
    who = System("landing of a customer's browser")
    try:
        connection = await ctx.db.read(lambda tx: connections.get_connection(tx, who, connection_id))
    except NotFound:
        return None
    adapter = _lander(ctx.providers.get(connection.provider))
    if adapter is None or connection.state is ConnectionState.DISABLED:
        return None
    try:
        message = adapter.read_return(ctx.account(connection), fields)
    except ValueError:
        return None
    # Whatever the fields say, they are known by their own digest: an id in them could be another message's.
    unsigned = replace(message, event_id="", authentic=False)
    return await ctx.db.write(partial(_land, ctx, connection, unsigned, body))


def _reader(provider: object) -> SendsWebhooks | None:
    return provider if isinstance(provider, SendsWebhooks) else None


def _lander(provider: object) -> LandsOnFixedPath | None:
    return provider if isinstance(provider, LandsOnFixedPath) else None


def _store_and_hint(ctx: Context, connection: Connection, message: Message, body: bytes, tx: Tx) -> Taken:
    who = System("webhook of a provider")
    row = _store(ctx, who, connection, message, body, tx=tx)
    found = _hint(tx, who, connection.id, message.named, ctx.patience, authentic=message.authentic)
    if row.is_new:
        _file(tx, who, row.id, message, found)
    return Taken(row.id, row.is_new, len(found))


def _land(ctx: Context, connection: Connection, message: Message, body: bytes, tx: Tx) -> Mapping[str, bool]:
    who = System("landing of a customer's browser")
    found = _attempts_of(tx, who, connection.id, message.named)
    if not found:
        return {}
    kept = inbox_store.unsigned_of(tx, who, found[0].id, LANDINGS_PER_ATTEMPT)
    if kept < LANDINGS_PER_ATTEMPT:
        row = _store(ctx, who, connection, message, body, tx=tx)
        if row.is_new:
            _file(tx, who, row.id, message, found)
    references = {n.reference for n in message.named}
    sure = {a.payment_id for a in found if a.provider_reference in references}
    hint_attempts(tx, who, found, Trigger.RETURN, ctx.patience, moves=bool(sure) and not message.gave_up)
    payments = store.get_many(tx, who, [a.payment_id for a in found])
    return {payment.short_code: payment.id in sure for payment in payments.values()}


def _store(
    ctx: Context, who: System, connection: Connection, message: Message, body: bytes, *, tx: Tx
) -> Receipt:
    digest = sha256(body).hexdigest()
    event_id = new_id("pev", tx.now)
    new = NewProviderEvent(
        id=event_id,
        merchant_id=MerchantId(connection.merchant_id),
        connection_id=connection.id,
        provider_event_id=(message.event_id or digest)[:EVENT_ID_LIMIT],
        type=message.kind[:EVENT_ID_LIMIT],
        body=ctx.keys.seal(body, aad=body_aad(event_id, connection.merchant_id)),
        body_hash=digest,
        authentic=message.authentic,
        named=[_told(named) for named in message.named],
    )
    row = inbox_store.receive(tx, who, new)
    if row.body_changed:
        log.warning(
            "webhook_body_changed", connection_id=connection.id, provider_event_id=new.provider_event_id
        )
    return row


def _told(named: Named) -> dict[str, str | None]:
    """What a message names, as it is kept; a trace only where there is one."""
    told = {"reference": named.reference, "checkoutId": named.checkout_id}
    return told if named.trace is None else {**told, "trace": named.trace}


def _file(tx: Tx, who: System, event_id: str, message: Message, found: Sequence[Attempt]) -> None:
    if found:
        inbox_store.mark_handled(tx, who, {event_id: found[0].id})
    elif message.named:
        inbox_store.mark_unmatched(tx, who, [event_id], retry_at=Instant(tx.now + RETRY_UNMATCHED))
    else:
        inbox_store.mark_ignored(tx, who, [event_id])


def _attempts_of(tx: Tx, who: Who, connection_id: str, names: Sequence[Named]) -> list[Attempt]:
    return attempt_store.named(
        tx,
        who,
        connection_id,
        references=[n.reference for n in names if n.reference],
        checkout_ids=[n.checkout_id for n in names if n.checkout_id],
    )


def _hint(
    tx: Tx, who: Who, connection_id: str, names: Sequence[Named], patience: Patience, *, authentic: bool
) -> list[Attempt]:
    found = _attempts_of(tx, who, connection_id, names)
    if found:
        hint_attempts(tx, who, found, Trigger.WEBHOOK, patience, moves=authentic)
    return found


def hint_attempts(
    tx: Tx, who: Who, found: Sequence[Attempt], trigger: Trigger, patience: Patience, *, moves: bool
) -> list[Payment]:
    """Make these attempts due; where the hint is worth it, their OPEN payments wait for verification.

    Only a LIVE attempt moves its payment: what never started, or has ended, cannot have been paid just now.
    Hints that change nothing take no lock: a flood of them must not keep the attempt from being claimed.
    """
    if all(schedule.is_hinted(a, tx.now) for a in found) and not (moves and _may_move(tx, who, found)):
        return []
    ids = {a.id for a in found}
    locked = attempt_store.lock_of_payments(tx, who, [a.payment_id for a in found])
    named = [a for a in locked if a.id in ids]
    attempt_store.make_due(tx, who, named, trigger)
    tx.wake(VERIFY)
    payments = store.lock(tx, who, [a.payment_id for a in named if a.state is AttemptState.LIVE])
    waiting = [p for p in payments.values() if p.state is State.OPEN] if moves else []
    steps = [
        Step(
            p,
            State.PENDING_VERIFICATION,
            "customer" if trigger is Trigger.RETURN else "provider",
            trigger.value,
        )
        for p in waiting
    ]
    return move_payments(tx, who, steps, patience) if steps else []


def _may_move(tx: Tx, who: Who, found: Sequence[Attempt]) -> bool:
    live = [a.payment_id for a in found if a.state is AttemptState.LIVE]
    return any(p.state is State.OPEN for p in store.get_many(tx, who, live).values())


async def take_return(ctx: Context, short_code: str, *, from_cancel: bool) -> Payment:
    """The browser came back. Nothing in its address is believed: it only makes a check due.

    Raises NotFound for an unknown short code.
    """
    who = System("return of a customer's browser")

    def note(tx: Tx) -> Payment:
        payment = store.find_link(tx, who, short_code)
        attempts = [a for a in attempt_store.of_payments(tx, who, [payment.id]) if a.state in OFFERED]
        if attempts:
            hint_attempts(tx, who, attempts, Trigger.RETURN, ctx.patience, moves=not from_cancel)
        return store.find_link(tx, who, short_code)

    return await ctx.db.write(note)


async def ask_now(ctx: Context, who: Who, payment_id: str) -> Payment:
    """An operator or the merchant wants to know now: every attempt that could still bring money is made due."""

    def note(tx: Tx) -> Payment:
        payment = store.get(tx, who, payment_id)
        attempts = [
            a
            for a in attempt_store.of_payments(tx, who, [payment.id])
            if a.state not in ENDED or a.checkout_id
        ]
        if attempts:
            hint_attempts(tx, who, attempts, Trigger.MANUAL, ctx.patience, moves=False)
        return payment

    return await ctx.db.write(note)


async def match_late_webhooks(ctx: Context) -> int:
    """Look again at messages that named nothing we knew; answers how many were matched now."""
    who = System("unmatched webhooks")

    def match(tx: Tx) -> int:
        matched = 0
        for event in inbox_store.due_unmatched(tx, who, UNMATCHED_BATCH):
            names = [Named(n.get("reference"), n.get("checkoutId")) for n in event.named]
            found = _hint(tx, who, event.connection_id, names, ctx.patience, authentic=event.authentic)
            if found:
                inbox_store.mark_handled(tx, who, {event.id: found[0].id})
                matched += 1
            else:
                again = tx.now + RETRY_UNMATCHED if tx.now - event.received_at < UNMATCHED_FOR else None
                inbox_store.mark_unmatched(
                    tx, who, [event.id], retry_at=None if again is None else Instant(again)
                )
        return matched

    return await ctx.db.write(match)
