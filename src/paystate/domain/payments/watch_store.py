"""All SQL that looks for what operators should hear of: long verifications, expiries after a return, unheard webhooks."""

from collections.abc import Collection

import msgspec
import sqlalchemy as sa

from paystate.domain.payments.model import attempts, payment_moves, payments
from paystate.domain.payments.states import ENDED, AttemptState, Outcome, State
from paystate.kit.clock import DAY, Instant
from paystate.kit.ids import System, new_id
from paystate.machinery.db import Tx

LOOK_BACK = 7 * DAY
"""Older payments are not looked through again and again; ids are ordered by time, so the range is an index scan."""

TIME_DIGITS = 10
"""So many characters of an id are its time."""


class Pile(msgspec.Struct, frozen=True):
    """So many payments of one merchant, and the one that came first."""

    merchant_id: str
    count: int
    first_id: str


class Learnt(msgspec.Struct, frozen=True):
    """A connection whose attempts were settled without its webhooks: how many, the first of them when."""

    connection_id: str
    count: int
    first_at: Instant


def long_in_verification(tx: Tx, who: System, *, before: Instant) -> list[Pile]:
    """Payments that entered PENDING_VERIFICATION before that moment and are still there, by merchant."""
    del who
    p = payments.c
    waiting = sa.and_(
        p.state == State.PENDING_VERIFICATION.value, p.due_at.is_not(None), p.pending_since <= before
    )
    return _piles(tx, waiting)


def expired_after_return(tx: Tx, who: System, *, since: Instant) -> list[Pile]:
    """Payments that expired since then although their customer had come back from the provider, by merchant."""
    del who
    p, m = payments.c, payment_moves.c
    returned = sa.exists().where(m.payment_id == p.id, m.to_state == State.PENDING_VERIFICATION.value)
    recent = sa.and_(p.id >= _from(tx, "pay"), p.state == State.EXPIRED.value, p.last_event_at >= since)
    return _piles(tx, sa.and_(recent, returned))


def learnt_by_asking(tx: Tx, who: System, *, connection_ids: Collection[str], since: Instant) -> list[Learnt]:
    """Attempts of these connections that succeeded since then, each connection's own count and first one."""
    del who
    a = attempts.c
    ours = sa.and_(
        tx.any_of(a.connection_id, sorted(connection_ids), "connection_ids"), a.id >= _from(tx, "att")
    )
    settled = sa.and_(a.state == AttemptState.SUCCEEDED.value, a.ended_at >= since)
    found = sa.select(a.connection_id, sa.func.count(), sa.func.min(a.ended_at)).where(ours, settled)
    return [Learnt(*row) for row in tx.rows(found.group_by(a.connection_id))]


def with_unknown_answers(tx: Tx, who: System) -> set[str]:
    """Connections of attempts under way whose last answer was a word that nobody here knows."""
    del who
    a = attempts.c
    under_way = a.state.not_in([s.value for s in sorted(ENDED)])
    found = sa.select(a.connection_id).where(
        a.last_outcome == Outcome.UNKNOWN.value, a.next_check_at.is_not(None), under_way
    )
    return {row.connection_id for row in tx.rows(found.distinct())}


def _piles(tx: Tx, where: sa.ColumnElement[bool]) -> list[Pile]:
    p = payments.c
    counted = sa.select(p.merchant_id, sa.func.count(), sa.func.min(p.id)).where(where)
    return [Pile(*row) for row in tx.rows(counted.group_by(p.merchant_id).order_by(p.merchant_id))]


def _from(tx: Tx, prefix: str) -> str:
    """A text below every id of this kind that was made within the look back."""
    return new_id(prefix, tx.now - LOOK_BACK)[: len(prefix) + 1 + TIME_DIGITS]
