"""Figures over a merchant's payments: counts by state and the ages of what is pending, by sets."""

from dataclasses import dataclass
from itertools import pairwise

import sqlalchemy as sa

from paystate.domain.payments.model import payments
from paystate.domain.payments.states import PENDING, State
from paystate.kit.clock import MINUTE
from paystate.kit.ids import System, Who
from paystate.machinery.db import Tx

AGE_LIMITS = (5, 15, 30, 60, 24 * 60)
"""Upper ends of the age buckets, in minutes; the last bucket is open."""


@dataclass(frozen=True, slots=True)
class AgeBucket:
    """How many pending payments are at least so old and younger than the next bucket's start; minutes."""

    from_minutes: int
    to_minutes: int | None
    count: int


@dataclass(frozen=True, slots=True)
class PaymentFigures:
    """Counts of all states, and of what is pending: how many, how many of them stale, how old they are."""

    by_state: dict[str, int]
    pending: int
    stale: int
    ages: tuple[AgeBucket, ...]


def payment_figures(tx: Tx, who: Who) -> PaymentFigures:
    """The merchant's figures now, in two statements."""
    c = payments.c
    own = sa.true() if isinstance(who, System) else c.merchant_id == who
    counted = tx.rows(sa.select(c.state, sa.func.count()).where(own).group_by(c.state))
    found = {row[0]: int(row[1]) for row in counted}
    pending = c.state.in_([s.value for s in sorted(PENDING)])
    row = tx.first(sa.select(*_sums(tx)).where(own, pending))
    starts, ends = (0, *AGE_LIMITS), (*AGE_LIMITS, None)
    return PaymentFigures(
        by_state={state.value: found.get(state.value, 0) for state in State},
        pending=sum(found.get(s.value, 0) for s in PENDING),
        stale=int(row[0]),
        ages=tuple(
            AgeBucket(start, end, int(count)) for start, end, count in zip(starts, ends, row[1:], strict=True)
        ),
    )


def _sums(tx: Tx) -> list[sa.ColumnElement[int]]:
    """How many are stale, then how many in each bucket of age."""
    c = payments.c
    born = [tx.now - minutes * MINUTE for minutes in AGE_LIMITS]
    tests = [c.due_at <= tx.now, c.created_at > born[0]]
    tests += [sa.and_(c.created_at <= younger, c.created_at > older) for younger, older in pairwise(born)]
    tests.append(c.created_at <= born[-1])
    return [sa.func.coalesce(sa.func.sum(sa.case((test, 1), else_=0)), 0) for test in tests]
