"""All SQL of access to providers: tokens, breakers, and the turn of reading a list."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import sqlalchemy as sa

from paystate.domain.access.model import connection_breakers, connection_listings, connection_tokens
from paystate.domain.access.rules import breaker_pause
from paystate.kit.clock import SECOND, Instant
from paystate.kit.ids import MerchantId, System, Who
from paystate.machinery.db import Tx, bulk_insert

REASON_LIMIT = 100
PROBE = 30 * SECOND
"""Longer than any question takes with its wait for the budget."""


class Line(Protocol):
    """A connection, as far as calling its provider goes."""

    @property
    def id(self) -> str: ...
    @property
    def merchant_id(self) -> MerchantId: ...


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A sealed access token, the connection's version it belongs to, and when the provider ends it."""

    token: str = field(repr=False)
    credentials_version: int
    expires_at: Instant


@dataclass(frozen=True, slots=True)
class TokenState:
    """What was fetched last, if anything, and under which claim: who saw this state may claim the next one."""

    stored: StoredToken | None
    claim_no: int


@dataclass(frozen=True, slots=True)
class Breaker:
    """A provider that did not answer for a connection: nobody calls until `open_until`, then one question tries."""

    connection_id: str
    trips: int
    reason: str
    opened_at: Instant
    open_until: Instant
    probe_until: Instant | None = None

    def may_try(self, now: Instant) -> bool:
        """Whether one question may go out now."""
        return self.open_until <= now and (self.probe_until is None or self.probe_until <= now)


def token_of(tx: Tx, who: Who, connection_id: str) -> TokenState:
    """The token that was fetched last, whatever became of it."""
    t = connection_tokens.c
    statement = sa.select(t.token, t.credentials_version, t.expires_at, t.claim_no).where(
        t.connection_id == connection_id
    )
    if not isinstance(who, System):
        statement = statement.where(t.merchant_id == who)
    row = tx.first(statement)
    if row is None:
        return TokenState(None, 0)
    stored = None if row.token is None else StoredToken(row.token, row.credentials_version, row.expires_at)
    return TokenState(stored, row.claim_no)


def begin_renewal(tx: Tx, who: System, line: Line, seen: int, lease_us: int) -> int | None:
    """The turn to fetch a new token: a claim number, or None when somebody had it since `seen`, or has it now."""
    del who
    t = connection_tokens.c
    first = {
        "connection_id": line.id,
        "merchant_id": line.merchant_id,
        "token": None,
        "credentials_version": None,
        "expires_at": None,
        "claim_no": 0,
        "lease_until": None,
        "renewed_at": None,
    }
    bulk_insert(tx, connection_tokens, [first], skip_existing=("connection_id",))
    free = sa.or_(t.lease_until.is_(None), t.lease_until <= tx.now)
    statement = connection_tokens.update().where(t.connection_id == line.id, t.claim_no == seen, free)
    row = tx.first(
        statement.values(claim_no=t.claim_no + 1, lease_until=tx.now + lease_us).returning(t.claim_no)
    )
    return None if row is None else int(row.claim_no)


def end_renewal(tx: Tx, who: System, line: Line, claim_no: int, fetched: StoredToken | None) -> bool:
    """Keep what was fetched (None: nothing) and give the turn back; False when the turn was lost meanwhile."""
    del who
    t = connection_tokens.c
    # A new number: who saw the state before this end may not begin on it.
    values: dict[str, Any] = {"lease_until": None, "claim_no": t.claim_no + 1}
    if fetched is not None:
        values |= {
            "token": fetched.token,
            "credentials_version": fetched.credentials_version,
            "expires_at": fetched.expires_at,
            "renewed_at": tx.now,
        }
    mine = connection_tokens.update().where(t.connection_id == line.id, t.claim_no == claim_no)
    return tx.execute(mine.values(**values)).rowcount == 1


def breakers(tx: Tx, who: System) -> dict[str, Breaker]:
    """Every breaker that is open or tries again; there is none in quiet times."""
    del who
    b = connection_breakers.c
    rows = tx.rows(sa.select(b.connection_id, b.trips, b.reason, b.opened_at, b.open_until, b.probe_until))
    return {row.connection_id: Breaker(*row) for row in rows}


def down_since_before(moment: Instant) -> sa.Select[Any]:
    """The ids of connections whose provider has been down since before this moment, to be joined."""
    b = connection_breakers.c
    return sa.select(b.connection_id).where(b.opened_at <= moment)


def trip(tx: Tx, who: System, line: Line, reason: str) -> Breaker | None:
    """Open the breaker, or open it again for longer after a try that failed; None while it is open already."""
    del who
    known = breakers(tx, System("trip")).get(line.id)
    if known is not None and known.open_until > tx.now:
        return None
    trips = 1 if known is None else known.trips + 1
    made = Breaker(
        line.id,
        trips,
        reason[:REASON_LIMIT],
        tx.now if known is None else known.opened_at,
        Instant(tx.now + breaker_pause(trips)),
    )
    row = {
        "connection_id": line.id,
        "merchant_id": line.merchant_id,
        "trips": made.trips,
        "reason": made.reason,
        "opened_at": made.opened_at,
        "open_until": made.open_until,
        "probe_until": None,
    }
    if known is None:
        bulk_insert(tx, connection_breakers, [row], skip_existing=("connection_id",))
    else:
        b = connection_breakers.c
        tx.execute(
            connection_breakers.update()
            .where(b.connection_id == line.id, b.trips == known.trips)
            .values(trips=made.trips, reason=made.reason, open_until=made.open_until, probe_until=None)
        )
    return made


def begin_try(tx: Tx, who: System, connection_id: str) -> bool:
    """Send the one question that tries whether the provider is back; False when somebody else did."""
    del who
    b = connection_breakers.c
    free = sa.or_(b.probe_until.is_(None), b.probe_until <= tx.now)
    mine = connection_breakers.update().where(b.connection_id == connection_id, b.open_until <= tx.now, free)
    return tx.execute(mine.values(probe_until=tx.now + PROBE)).rowcount == 1


def close_breaker(tx: Tx, who: System, connection_id: str) -> bool:
    """The provider answers again; whether it was this call that closed it."""
    del who
    b = connection_breakers.c
    return tx.execute(connection_breakers.delete().where(b.connection_id == connection_id)).rowcount == 1


def begin_listing(tx: Tx, who: System, line: Line, lease_us: int) -> int | None:
    """The turn to read the provider's list: a claim number, or None when somebody has it or it is too early."""
    del who
    t = connection_listings.c
    first = {
        "connection_id": line.id,
        "merchant_id": line.merchant_id,
        "claim_no": 0,
        "lease_until": None,
        "not_before": 0,
    }
    bulk_insert(tx, connection_listings, [first], skip_existing=("connection_id",))
    free = sa.or_(t.lease_until.is_(None), t.lease_until <= tx.now)
    statement = connection_listings.update().where(t.connection_id == line.id, free, t.not_before <= tx.now)
    row = tx.first(
        statement.values(claim_no=t.claim_no + 1, lease_until=tx.now + lease_us).returning(t.claim_no)
    )
    return None if row is None else int(row.claim_no)


def keep_listing(tx: Tx, who: System, connection_id: str, claim_no: int, lease_us: int) -> bool:
    """Keep the turn a little longer; False when it was lost."""
    del who
    t = connection_listings.c
    mine = connection_listings.update().where(t.connection_id == connection_id, t.claim_no == claim_no)
    return tx.execute(mine.values(lease_until=tx.now + lease_us)).rowcount == 1


def end_listing(tx: Tx, who: System, connection_id: str, claim_no: int, *, not_before: Instant) -> bool:
    """Give the turn back; the next pass begins no earlier than `not_before`."""
    del who
    t = connection_listings.c
    mine = connection_listings.update().where(t.connection_id == connection_id, t.claim_no == claim_no)
    return tx.execute(mine.values(lease_until=None, not_before=not_before)).rowcount == 1


@dataclass(frozen=True, slots=True)
class Listing:
    """Whether somebody reads a connection's list now, and when the next pass may begin."""

    busy: bool
    not_before: Instant


def listings(tx: Tx, who: System) -> dict[str, Listing]:
    """Of every connection whose list was ever read."""
    del who
    t = connection_listings.c
    rows = tx.rows(sa.select(t.connection_id, t.lease_until, t.not_before))
    return {
        row.connection_id: Listing(row.lease_until is not None and row.lease_until > tx.now, row.not_before)
        for row in rows
    }
