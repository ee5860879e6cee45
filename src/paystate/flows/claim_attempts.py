"""Claims attempts to be asked about: which are due, at whom, and everything their asking needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from paystate.domain import access, connections
from paystate.domain.access import Breaker, Listing
from paystate.domain.connections import inbox_store
from paystate.domain.payments import Attempt, AttemptState, attempt_store, store
from paystate.flows.ask_provider import Claim
from paystate.kit.clock import Instant
from paystate.kit.ids import System
from paystate.machinery.db import Tx

VERIFY = "verify"
"""The channel that says: an attempt became due."""

WHO = System("verification of due attempts")
TRACES_READ = 3
"""Of the handles that messages brought for an attempt, so many of the newest are asked about (Netcash)."""


class Due(NamedTuple):
    """An active connection with attempts that are due, counted up to a limit."""

    connection: connections.Connection
    attempts: int
    listing: Listing | None
    """When its provider's list was read, if ever."""


class Waiting(NamedTuple):
    """Who has something due, and which providers did not answer."""

    due: list[Due]
    breakers: Mapping[str, Breaker]
    now: Instant


def claim_due(
    wanted: Mapping[str, int],
    lease_us: int,
    tx: Tx,
    *,
    hinted: frozenset[str] = frozenset(),
    traced: frozenset[str] = frozenset(),
) -> list[Claim]:
    """Lease due attempts, so many of each connection; with their payments, connections and unsent starts.

    Of the connections in `hinted` only what somebody asked for: the rest is about to be found in a list.
    Providers in `traced` are asked by what their messages brought.
    """
    claimed: list[Attempt] = []
    broken = access.breakers(tx, WHO)
    for connection_id, limit in wanted.items():
        if connection_id in broken and not access.begin_try(tx, WHO, connection_id):
            continue
        claimed += attempt_store.claim(
            tx,
            WHO,
            connection_id,
            limit=1 if connection_id in broken else limit,
            lease_us=lease_us,
            hinted=connection_id in hinted,
        )
    return with_context(tx, claimed, traced)


def claim_these(
    ids: Sequence[str], lease_us: int, tx: Tx, *, traced: frozenset[str] = frozenset()
) -> list[Claim]:
    """Lease those of these attempts that nobody else is asking about."""
    return with_context(tx, attempt_store.claim_these(tx, WHO, ids, lease_us=lease_us), traced)


@dataclass(frozen=True, slots=True)
class PageNames:
    """What a page of a list names, and when it was asked for."""

    connection_id: str
    references: Sequence[str]
    checkout_ids: Sequence[str]
    before: Instant


def claim_listed(page: PageNames, lease_us: int, tx: Tx) -> list[Claim]:
    """Lease the due attempts that a page names, unless a hint came after the page was asked for: that is newer."""
    claimed = attempt_store.claim_listed(
        tx,
        WHO,
        page.connection_id,
        references=page.references,
        checkout_ids=page.checkout_ids,
        before=page.before,
        lease_us=lease_us,
    )
    return with_context(tx, claimed)


def with_context(tx: Tx, claimed: Sequence[Attempt], traced: frozenset[str] = frozenset()) -> list[Claim]:
    """The attempts with what asking needs besides them; `traced` names the providers that are asked by traces."""
    if not claimed:
        return []
    payments = store.get_many(tx, WHO, [a.payment_id for a in claimed])
    known = connections.get_many(tx, WHO, [a.connection_id for a in claimed])
    unsent = [a.id for a in claimed if a.state is AttemptState.CREATED]
    requests = attempt_store.request_of(tx, WHO, unsent) if unsent else {}
    by_trace = [a.id for a in claimed if a.provider in traced]
    traces = inbox_store.traces_of(tx, WHO, by_trace, TRACES_READ) if by_trace else {}
    return [
        Claim(
            a,
            payments[a.payment_id],
            known[a.connection_id],
            requests.get(a.id),
            tx.now,
            traces.get(a.id, ()),
        )
        for a in claimed
    ]


def due_by_connection(at_most: int, tx: Tx) -> Waiting:
    """Who has something due, and how much of it, of those that are called at the moment.

    At a provider whose breaker tries again, one question goes out; while it is open, none.
    """
    counts = dict(
        attempt_store.connections_with_due(tx, WHO, active=connections.active_ids(), at_most=at_most)
    )
    if not counts:
        return Waiting([], {}, tx.now)
    broken = access.breakers(tx, WHO)
    listings = access.listings(tx, WHO)
    known = connections.get_many(tx, WHO, list(counts))
    due = [
        Due(c, 1 if c.id in broken else counts[c.id], listings.get(c.id))
        for c in known.values()
        if c.id not in broken or broken[c.id].may_try(tx.now)
    ]
    return Waiting(due, broken, tx.now)
