"""All SQL of customers; every query is fenced by its merchant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from paystate.domain.customers.model import customers
from paystate.domain.customers.rules import (
    IDENTIFIERS,
    Identity,
    choose,
    first_match,
    missing,
    readings,
    refuse_other_owner,
    refuse_unreadable_phone,
)
from paystate.kit.clock import Instant
from paystate.kit.errors import Conflict, NotFound
from paystate.kit.ids import MerchantId, System, Who, new_id
from paystate.kit.paging import Page, PageRequest, page_of
from paystate.machinery.db import Tx, bulk_insert

TRIES: Final = 5
"""Each further try means that somebody else wrote one of the identifiers since we looked: three of them can be lost."""

UNSET: Final = "\0"
"""Stands for a field that a change leaves alone; no clean text contains it."""


@dataclass(frozen=True, slots=True)
class Customer:
    """Who pays. `phone` is E.164, `email` has its domain in lower case."""

    id: str
    merchant_id: MerchantId
    external_id: str | None = field(repr=False)
    phone: str | None = field(repr=False)
    email: str | None = field(repr=False)
    name: str | None = field(repr=False)
    metadata: Mapping[str, str] = field(repr=False)
    version: int
    created_at: Instant
    updated_at: Instant


@dataclass(frozen=True, slots=True)
class CustomerChanges:
    """New values; what is left out stays, None empties. Identifiers come cleaned, from `Identity.read`."""

    external_id: str | None = UNSET
    phone: str | None = UNSET
    email: str | None = UNSET
    name: str | None = UNSET
    metadata: Mapping[str, str] | None = None

    def columns(self) -> dict[str, Any]:
        """Column → value of what changes; metadata is replaced whole."""
        texts = {c: getattr(self, c) for c in (*IDENTIFIERS, "name")}
        changed: dict[str, Any] = {c: value for c, value in texts.items() if value != UNSET}
        return changed if self.metadata is None else {**changed, "metadata": _json(self.metadata)}


def find_or_create(
    tx: Tx,
    who: MerchantId,
    identity: Identity,
    *,
    name: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Customer:
    """The customer whom the first known identifier names, its gaps filled in; else a new one.

    Without any identifier it is always a new one. Raises NotFound for an unknown `customer_id`, Conflict
    `customer_conflict` (help: `conflict`) when a further identifier belongs to somebody else.
    """
    for _ in range(TRIES):
        known = choose(identity, _candidates(tx, who, identity))
        if known is not None:
            done = _fill_gaps(tx, who, known, identity, name)
        elif identity.customer_id is not None:
            raise NotFound("There is no such customer.")
        else:
            done = _insert(tx, who, identity, name, metadata or {})
        if done is not None:
            return done
    raise _busy()


def create_customer(
    tx: Tx,
    who: MerchantId,
    identity: Identity,
    *,
    name: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Customer:
    """A new customer. Raises Conflict `customer_conflict` when somebody has one of the identifiers."""
    for _ in range(TRIES):
        made = _insert(tx, who, identity, name, metadata or {})
        if made is not None:
            return made
        refuse_other_owner(None, identity, _candidates(tx, who, identity))
    raise _busy()


def get_customer(tx: Tx, who: Who, customer_id: str) -> Customer:
    """One customer. Raises NotFound."""
    row = tx.first(sa.select(customers).where(customers.c.id == customer_id, _own(who)))
    if row is None:
        raise NotFound("There is no such customer.")
    return _customer(row)


def find(tx: Tx, who: MerchantId, text: str, *, region: str | None = None) -> Customer | None:
    """The customer whom a text from a path names: by our id, the external id, the phone or the e-mail address.

    Raises Refused `invalid_phone` when nobody is found and the text is a phone that cannot be read.
    """
    identity = readings(text, region)
    found = first_match(identity, _candidates(tx, who, identity))
    if found is None:
        refuse_unreadable_phone(text, identity)
    return found


def list_customers(tx: Tx, who: Who, page: PageRequest) -> Page[Customer]:
    """Customers, newest first."""
    statement = sa.select(customers).where(_own(who))
    if page.after is not None:
        statement = statement.where(customers.c.id < page.after)
    found = tx.rows(statement.order_by(customers.c.id.desc()).limit(page.limit + 1))
    rows = [_customer(row) for row in found]
    return page_of(rows, [row.id for row in rows], page.limit)


def update_customer(
    tx: Tx, who: MerchantId, customer_id: str, changes: CustomerChanges, *, version: int | None = None
) -> Customer:
    """Change the customer. With a `version` (If-Match), only when it still has that one.

    Raises NotFound, Conflict `version_conflict`, Conflict `customer_conflict`.
    """
    columns = changes.columns()
    identity = Identity(None, *(columns.get(c) for c in IDENTIFIERS))
    for _ in range(TRIES):
        known = get_customer(tx, who, customer_id)
        if version is not None and known.version != version:
            raise Conflict("The customer has changed since it was read.", code="version_conflict")
        refuse_other_owner(customer_id, identity, _candidates(tx, who, identity))
        done = _write(tx, who, known, columns)
        if done is not None:
            return done
    raise _busy()


def _candidates(tx: Tx, who: MerchantId, identity: Identity) -> list[Customer]:
    """Everybody who has one of the identifiers: at most one customer for each."""
    named = identity.identifiers()
    if not named:
        return []
    matches = sa.or_(*(customers.c[column] == value for column, value in named.items()))
    return [_customer(row) for row in tx.rows(sa.select(customers).where(_own(who), matches))]


def _insert(
    tx: Tx, who: MerchantId, identity: Identity, name: str | None, metadata: Mapping[str, str]
) -> Customer | None:
    """A new row; None when one of the identifiers is taken, by now or all along."""
    row = {
        "id": new_id("cus", tx.now),
        "merchant_id": who,
        "external_id": identity.external_id,
        "phone": identity.phone,
        "email": identity.email,
        "name": name,
        "metadata": _json(metadata),
        "version": 1,
        "created_at": tx.now,
        "updated_at": tx.now,
    }
    made = bulk_insert(tx, customers, [row], skip_existing=(), returning="id")
    return Customer(**{**row, "metadata": metadata}) if made else None  # type: ignore[arg-type]


def _fill_gaps(
    tx: Tx, who: MerchantId, known: Customer, identity: Identity, name: str | None
) -> Customer | None:
    columns: dict[str, Any] = dict(missing(identity, known))
    if known.name is None and name is not None:
        columns["name"] = name
    return _write(tx, who, known, columns)


def _write(tx: Tx, who: MerchantId, known: Customer, columns: Mapping[str, Any]) -> Customer | None:
    """Write what differs over the version that was read; None when somebody was faster."""
    stored = {c: _json(known.metadata) if c == "metadata" else getattr(known, c) for c in columns}
    changed = {c: value for c, value in columns.items() if value != stored[c]}
    if not changed:
        return known
    statement = (
        customers.update()
        .where(customers.c.id == known.id, customers.c.version == known.version, _own(who))
        .values(**changed, version=known.version + 1, updated_at=tx.now)
        .returning(*customers.c)
    )
    try:
        with tx.conn.begin_nested():  # a taken identifier must not end the caller's transaction
            row = tx.first(statement)
    except sa.exc.IntegrityError:
        return None
    return None if row is None else _customer(row)


def _busy() -> Conflict:
    return Conflict(
        "The customer is being changed by others at this moment; try again.", code="version_conflict"
    )


def _own(who: Who) -> sa.ColumnElement[bool]:
    return sa.true() if isinstance(who, System) else customers.c.merchant_id == who


def _json(metadata: Mapping[str, str]) -> str:
    return msgspec.json.encode(dict(metadata)).decode()


def _customer(row: Sequence[Any]) -> Customer:
    values = dict(zip(customers.c.keys(), row, strict=True))
    values["metadata"] = msgspec.json.decode(values["metadata"], type=dict[str, str])
    return Customer(**values)
