"""Applies what providers answered, batch by batch, and notes what it says about the providers themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import itemgetter

from paystate.domain import access, alerts, cases, connections
from paystate.domain.access import BREAKER_FAILURES, Breaker
from paystate.domain.alerts import Address, NewAlert, Severity
from paystate.domain.cases import NewCase
from paystate.domain.connections import Connection
from paystate.domain.payments import Attempt, Outcome, attempt_store
from paystate.flows.claim_attempts import WHO
from paystate.flows.context import Context
from paystate.flows.settle_payment import VERIFICATION_FAILED, Settled, settle_answers
from paystate.flows.settlement_rows import Asked, outcome_word
from paystate.kit.clock import HOUR, SECOND, Instant, rfc3339
from paystate.kit.errors import Unavailable
from paystate.kit.ids import MerchantId
from paystate.machinery.db import ConstraintRefused, Tx
from paystate.machinery.logs import get_logger

POISON_PAUSE = 60 * SECOND
POISON_TRIES = 10
RACES = 3
PROVIDER_DOWN = "provider_down"
CREDENTIALS_REFUSED = "credentials_refused"
UNKNOWN_STATUS = "unknown_status"
log = get_logger(__name__)


async def apply_answers(ctx: Context, batch: Sequence[Asked]) -> list[Settled]:
    """Apply a batch in one commit; one that fails is halved until the bad item stands alone."""
    if not batch:
        return []
    judged = [_excused(a, ctx.health.breakers) for a in batch]
    settled = await _apply(ctx, judged)
    await _note_connections(ctx, batch)
    await _note_health(ctx, batch)
    return settled


def _excused(asked: Asked, breakers: Mapping[str, Breaker]) -> Asked:
    """Silence of a provider that is known to be down is not the payment's."""
    breaker = breakers.get(asked.attempt.connection_id)
    return asked if breaker is None or not asked.is_outage else replace(asked, down_since=breaker.opened_at)


async def _apply(ctx: Context, batch: Sequence[Asked]) -> list[Settled]:
    try:
        settled = await _settle(ctx, batch)
    except Unavailable:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
        if len(batch) == 1:
            return await _set_aside(ctx, batch[0], error)
        middle = len(batch) // 2
        return await _apply(ctx, batch[:middle]) + await _apply(ctx, batch[middle:])
    return settled


async def _settle(ctx: Context, batch: Sequence[Asked]) -> list[Settled]:
    """One commit. A single answer that meets a taken key was overtaken: it is decided again on what stands now."""
    for tries_left in range(RACES if len(batch) == 1 else 0, -1, -1):
        try:
            return await ctx.db.write(partial(settle_answers, batch, ctx.patience, pushing=ctx.pushing))
        except ConstraintRefused:
            if tries_left == 0:
                raise
    raise AssertionError("unreachable")


async def _set_aside(ctx: Context, asked: Asked, error: Exception) -> list[Settled]:
    """An answer that cannot be applied is loud, and looked at again in a minute; the others went on (T44).

    After ten times a person hears of it, and it is tried once an hour.
    """
    log.error("verification_failed", attempt_id=asked.attempt.id, error=repr(error), exc_info=error)
    await ctx.db.write(partial(_postpone, asked, type(error).__name__))
    return []


def _postpone(asked: Asked, error: str, tx: Tx) -> None:
    attempt, tries = asked.attempt, asked.attempt.unwritten + 1
    hopeless = tries >= POISON_TRIES
    later = {
        "next_check_at": tx.now + (HOUR if hopeless else POISON_PAUSE),
        "lease_until": None,
        "last_asked_at": tx.now,
        "unwritten": min(tries, POISON_TRIES),
    }
    row = {"id": attempt.id, "claim_no": attempt.claim_no, **later}
    if attempt_store.write_answers(tx, WHO, [row]) and hopeless:
        evidence = {
            "tries": tries,
            "error": error,
            "provider": attempt.provider,
            "outcome": outcome_word(asked),
        }
        case = NewCase(
            MerchantId(attempt.merchant_id),
            attempt.payment_id,
            attempt.id,
            VERIFICATION_FAILED,
            evidence,
            "look_at_the_log",
        )
        cases.open_cases(tx, WHO, [case])


async def _note_connections(ctx: Context, batch: Sequence[Asked]) -> None:
    """What the answers say about their connections: credentials refused, "not so fast", words we do not know."""
    refused = {a.attempt.connection_id: a.silence or "" for a in batch if a.credentials_refused}
    waits = {a.attempt.connection_id: a.retry_after_us for a in batch if a.retry_after_us is not None}
    unknown = {
        (a.attempt.connection_id, a.verdict.detail): a.attempt
        for a in batch
        if a.verdict is not None and a.verdict.outcome is Outcome.UNKNOWN
    }
    if not refused and not waits and not unknown:
        return

    def write(tx: Tx) -> None:
        for connection_id, reason in sorted(refused.items()):
            if connections.park(tx, WHO, connection_id, reason):
                parked = connections.get_connection(tx, WHO, connection_id)
                alerts.raise_alert(tx, WHO, credentials_alert(parked, reason), ctx.operators)
        for connection_id, wait in sorted(waits.items()):
            attempt_store.postpone_connection(tx, WHO, connection_id, Instant(tx.now + (wait or 0)))
        for (_, word), attempt in sorted(unknown.items(), key=itemgetter(0)):
            alerts.raise_alert(tx, WHO, _unknown_alert(attempt, word), ctx.operators)

    await ctx.db.write(write)
    for connection_id, reason in refused.items():
        log.error("connection_parked", connection_id=connection_id, reason=reason)


async def _note_health(ctx: Context, batch: Sequence[Asked]) -> None:
    """Count questions without an answer in a row; so many open the connection's breaker, any answer closes it."""
    health = ctx.health
    silent: dict[str, str] = {}
    for asked in batch:
        connection_id = asked.attempt.connection_id
        if asked.is_outage:
            health.failures[connection_id] = health.failures.get(connection_id, 0) + 1
            silent[connection_id] = asked.silence or ""
        elif asked.is_contact:
            health.failures.pop(connection_id, None)
            silent.pop(connection_id, None)
    answered = {a.attempt.connection_id for a in batch if a.is_contact} & set(health.breakers)
    down = {
        i: reason
        for i, reason in silent.items()
        if i not in answered and (i in health.breakers or health.failures[i] >= BREAKER_FAILURES)
    }
    if answered or down:
        await ctx.db.write(partial(_switch_breakers, down, answered, ctx.operators))
        health.breakers = {i: b for i, b in health.breakers.items() if i not in answered}


def _switch_breakers(down: dict[str, str], answered: set[str], operators: Sequence[Address], tx: Tx) -> None:
    known = connections.get_many(tx, WHO, [*down, *answered])
    for connection_id in sorted(answered):
        if access.close_breaker(tx, WHO, connection_id):
            alerts.resolve_alert(tx, WHO, f"{PROVIDER_DOWN}:{connection_id}", by="the provider answers again")
            log.info("provider_answers_again", connection_id=connection_id)
    for connection_id, reason in sorted(down.items()):
        opened = access.trip(tx, WHO, known[connection_id], reason)
        if opened is not None and opened.trips == 1:
            down_alert = _down_alert(known[connection_id], reason, opened.opened_at)
            alerts.raise_alert(tx, WHO, down_alert, operators)
            log.error("provider_down", connection_id=connection_id, reason=reason)


def _down_alert(connection: Connection, reason: str, since: Instant) -> NewAlert:
    return NewAlert(
        rule=PROVIDER_DOWN,
        subject=connection.id,
        severity=Severity.CRITICAL,
        title=f"{connection.provider} does not answer for {connection.name}",
        detail={
            "connectionId": connection.id,
            "provider": connection.provider,
            "reason": reason,
            "since": rfc3339(since),
        },
        merchant_id=MerchantId(connection.merchant_id),
    )


def _unknown_alert(attempt: Attempt, word: str) -> NewAlert:
    return NewAlert(
        rule=UNKNOWN_STATUS,
        subject=f"{attempt.connection_id}:{word}",
        severity=Severity.WARNING,
        title=f"{attempt.provider} answered with a status that Paystate does not know: {word}",
        detail={"connectionId": attempt.connection_id, "paymentId": attempt.payment_id, "status": word},
        merchant_id=MerchantId(attempt.merchant_id),
    )


def credentials_alert(connection: Connection, reason: str) -> NewAlert:
    """Of a connection whose credentials its provider refuses."""
    return NewAlert(
        rule=CREDENTIALS_REFUSED,
        subject=connection.id,
        severity=Severity.CRITICAL,
        title=f"{connection.provider} refuses the credentials of {connection.name}",
        detail={"connectionId": connection.id, "provider": connection.provider, "reason": reason},
        merchant_id=MerchantId(connection.merchant_id),
    )


def log_settled(settled: Sequence[Settled]) -> None:
    """One line for each decision."""
    for item in settled:
        log.info(
            "verified",
            attempt_id=item.attempt_id,
            payment_id=item.payment_id,
            trigger=item.trigger,
            outcome=item.outcome,
            decision=item.decision,
            state=item.state.value,
        )
