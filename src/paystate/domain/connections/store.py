"""All SQL of connections; every query is fenced by its merchant, and secrets stay sealed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from paystate.domain.connections.model import connections
from paystate.domain.connections.rules import DEFAULT_RATE_PER_SECOND, ConnectionState
from paystate.kit.clock import Instant
from paystate.kit.errors import Conflict, NotFound
from paystate.kit.ids import MerchantId, System, Who
from paystate.kit.paging import Page, PageRequest, page_of
from paystate.machinery.db import Tx, bulk_insert

ACTIVE_LIMIT = 1_000


@dataclass(frozen=True, slots=True)
class Connection:
    """A merchant's account at a provider. `secrets` is sealed text; `secrets_aad` says where it opens."""

    id: str
    merchant_id: MerchantId
    provider: str
    name: str
    account: str
    live: bool
    shared: bool
    state: ConnectionState
    state_reason: str | None
    settings: Mapping[str, Any]
    secrets: str = field(repr=False)
    rate_per_second: int
    version: int
    created_at: Instant
    updated_at: Instant


@dataclass(frozen=True, slots=True)
class NewConnection:
    """A connection to be; the caller makes the `id` first (``con_``), because the secrets are sealed for it."""

    id: str
    merchant_id: MerchantId
    provider: str
    name: str
    account: str
    live: bool
    settings: Mapping[str, Any]
    secrets: str = field(repr=False)
    shared: bool = False
    rate_per_second: int = DEFAULT_RATE_PER_SECOND


@dataclass(frozen=True, slots=True)
class ConnectionChanges:
    """New values; None leaves a field as it is. New secrets make a PARKED connection ACTIVE again."""

    name: str | None = None
    settings: Mapping[str, Any] | None = None
    secrets: str | None = field(default=None, repr=False)
    rate_per_second: int | None = None
    state: Literal[ConnectionState.ACTIVE, ConnectionState.DISABLED] | None = None
    reason: str | None = None


def create_connection(tx: Tx, who: Who, new: NewConnection) -> Connection:
    """Store a connection. Raises Conflict `account_connected` when the account is in use, here or at anybody's."""
    if not isinstance(who, System) and new.merchant_id != who:
        raise AssertionError("a connection is created for its own merchant only")
    row = {
        "id": new.id,
        "merchant_id": new.merchant_id,
        "provider": new.provider,
        "name": new.name,
        "account": new.account,
        "live": new.live,
        "shared": new.shared,
        "state": ConnectionState.ACTIVE.value,
        "state_reason": None,
        "settings": _json(new.settings),
        "secrets": new.secrets,
        "rate_per_second": new.rate_per_second,
        "version": 1,
        "created_at": tx.now,
        "updated_at": tx.now,
    }
    if not bulk_insert(tx, connections, [row], skip_existing=(), returning="id"):
        raise _account_connected()
    return get_connection(tx, who, new.id)


def get_connection(tx: Tx, who: Who, connection_id: str) -> Connection:
    """One connection. Raises NotFound."""
    row = tx.first(sa.select(connections).where(connections.c.id == connection_id, _own(who)))
    if row is None:
        raise NotFound("There is no such connection.")
    return _connection(row)


def list_connections(tx: Tx, who: Who, page: PageRequest, *, provider: str | None = None) -> Page[Connection]:
    """Connections, newest first, in every state."""
    statement = sa.select(connections).where(_own(who))
    if provider is not None:
        statement = statement.where(connections.c.provider == provider)
    if page.after is not None:
        statement = statement.where(connections.c.id < page.after)
    found = tx.rows(statement.order_by(connections.c.id.desc()).limit(page.limit + 1))
    rows = [_connection(row) for row in found]
    return page_of(rows, [row.id for row in rows], page.limit)


def active_for(tx: Tx, who: Who, provider: str | None = None, *, after: str = "") -> Sequence[Connection]:
    """ACTIVE connections, the oldest first, at most ACTIVE_LIMIT with an id above `after`."""
    statement = sa.select(connections).where(
        connections.c.state == ConnectionState.ACTIVE, connections.c.id > after, _own(who)
    )
    if provider is not None:
        statement = statement.where(connections.c.provider == provider)
    return [_connection(row) for row in tx.rows(statement.order_by(connections.c.id).limit(ACTIVE_LIMIT))]


def get_many(tx: Tx, who: Who, ids: Sequence[str]) -> dict[str, Connection]:
    """The connections by id, in any state."""
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    found = tx.rows(sa.select(connections).where(tx.any_of(connections.c.id, wanted, "ids"), _own(who)))
    return {row.id: _connection(row) for row in found}


def parked(tx: Tx, who: System) -> Sequence[Connection]:
    """Connections that are not used until somebody acts, the oldest first."""
    state = connections.c.state == ConnectionState.PARKED
    found = sa.select(connections).where(state, _own(who)).order_by(connections.c.id).limit(ACTIVE_LIMIT)
    return [_connection(row) for row in tx.rows(found)]


def active_ids() -> sa.Select[Any]:
    """The ids of every ACTIVE connection, to be joined by who works for all merchants."""
    return sa.select(connections.c.id).where(connections.c.state == ConnectionState.ACTIVE)


def update_connection(
    tx: Tx, who: Who, connection_id: str, changes: ConnectionChanges, *, version: int | None = None
) -> Connection:
    """Change the connection. With a `version` (If-Match), only when it still has that one.

    Raises NotFound, Conflict `version_conflict`, Conflict `account_connected` when it would be enabled beside another.
    """
    known = get_connection(tx, who, connection_id)
    unchanged = sa.true() if version is None else connections.c.version == version
    statement = (
        connections.update()
        .where(connections.c.id == connection_id, unchanged, _own(who))
        .values(**_columns(known, changes), version=connections.c.version + 1, updated_at=tx.now)
        .returning(*connections.c)
    )
    try:
        with tx.conn.begin_nested():  # a taken account must not end the caller's transaction
            row = tx.first(statement)
    except sa.exc.IntegrityError:
        raise _account_connected() from None
    if row is None:
        raise Conflict("The connection has changed since it was read.", code="version_conflict")
    return _connection(row)


def park(tx: Tx, who: Who, connection_id: str, reason: str) -> bool:
    """Stop using an ACTIVE connection until somebody acts; whether it was this call that did it."""
    return _switch(tx, who, connection_id, ConnectionState.ACTIVE, ConnectionState.PARKED, reason)


def unpark(tx: Tx, who: Who, connection_id: str) -> bool:
    """Use a PARKED connection again; whether it was this call that did it."""
    return _switch(tx, who, connection_id, ConnectionState.PARKED, ConnectionState.ACTIVE, None)


def _switch(tx: Tx, who: Who, connection_id: str, *move: ConnectionState | str | None) -> bool:
    before, after, reason = move
    statement = (
        connections.update()
        .where(connections.c.id == connection_id, connections.c.state == before, _own(who))
        .values(state=after, state_reason=reason, version=connections.c.version + 1, updated_at=tx.now)
    )
    return tx.execute(statement).rowcount == 1


def _columns(known: Connection, changes: ConnectionChanges) -> dict[str, Any]:
    plain = {name: getattr(changes, name) for name in ("name", "secrets", "rate_per_second")}
    columns = {name: value for name, value in plain.items() if value is not None}
    if changes.settings is not None:
        columns["settings"] = _json(changes.settings)
    state: ConnectionState | None = changes.state
    if state is None and changes.secrets is not None and known.state is ConnectionState.PARKED:
        state = ConnectionState.ACTIVE
    if state is not None:
        columns |= {"state": state.value, "state_reason": changes.reason}
    return columns


def _own(who: Who) -> sa.ColumnElement[bool]:
    return sa.true() if isinstance(who, System) else connections.c.merchant_id == who


def _account_connected() -> Conflict:
    return Conflict("This account is already connected.", code="account_connected")


def _json(settings: Mapping[str, Any]) -> str:
    return msgspec.json.encode(dict(settings)).decode()


def _connection(row: sa.Row[Any]) -> Connection:
    values = row._asdict()
    settings = msgspec.json.decode(values["settings"], type=dict[str, Any])
    return Connection(**{**values, "state": ConnectionState(values["state"]), "settings": settings})
