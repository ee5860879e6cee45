"""All SQL of merchants and API keys; every query is fenced by its merchant."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa

from paystate.domain.merchants.model import api_keys, merchants
from paystate.domain.merchants.rules import (
    DEFAULT_STALE_AFTER,
    TOUCH_GAP,
    LatePolicy,
    clean_name,
    parse_addresses,
    parse_region,
    parse_scopes,
)
from paystate.kit.clock import Instant
from paystate.kit.errors import Conflict, NotFound, invalid
from paystate.kit.ids import MerchantId, System, Who, new_id
from paystate.kit.paging import Page, PageRequest, page_of
from paystate.machinery.db import Tx, bulk_insert


@dataclass(frozen=True, slots=True)
class Merchant:
    """The tenant with its own answers to the questions every payment asks. `stale_after` is in microseconds."""

    id: MerchantId
    name: str
    default_region: str | None
    late_policy: LatePolicy
    stale_after: int
    return_origins: tuple[str, ...]
    created_at: Instant


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What may be shown of a key; the key itself was shown once and is not kept."""

    id: str
    merchant_id: MerchantId
    name: str
    prefix: str
    last4: str
    scopes: tuple[str, ...]
    addresses: tuple[str, ...]
    created_at: Instant
    expires_at: Instant | None
    revoked_at: Instant | None
    last_used_at: Instant | None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking: a merchant by one of its keys, and what that key may do, and from where (empty: anywhere)."""

    merchant_id: MerchantId
    key_id: str
    scopes: frozenset[str]
    addresses: tuple[str, ...] = ()
    last_used_at: Instant | None = field(default=None, compare=False)


_KEY_COLUMNS = [c for c in api_keys.c if c.name != "key_hash"]


def create_merchant(
    tx: Tx,
    who: System,  # noqa: ARG001 - only the installation makes merchants
    *,
    name: str,
    default_region: str | None = None,
    late_policy: LatePolicy = LatePolicy.REVIEW,
    stale_after: int = DEFAULT_STALE_AFTER,
    return_origins: Sequence[str] = (),
) -> Merchant:
    """A new merchant. Raises Refused for a bad name or region, Conflict `duplicate_name` for a name in use."""
    row = {
        "id": new_id("mer", tx.now),
        "name": clean_name(name),
        "default_region": parse_region(default_region),
        "late_policy": late_policy.value,
        "stale_after_us": stale_after,
        "return_origins": _json(list(return_origins)),
        "created_at": tx.now,
    }
    if not bulk_insert(tx, merchants, [row], skip_existing=["name"], returning="id"):
        raise Conflict("Another merchant has this name.", code="duplicate_name")
    return _merchant(row)


def get_merchant(tx: Tx, who: Who, merchant_id: str) -> Merchant:
    """One merchant. Raises NotFound."""
    row = tx.first(sa.select(merchants).where(merchants.c.id == merchant_id, _own(who, merchants.c.id)))
    if row is None:
        raise NotFound("There is no such merchant.")
    return _merchant(row._asdict())


def find_merchant_by_name(tx: Tx, who: System, name: str) -> Merchant | None:
    """The merchant of this exact name, if there is one."""
    row = tx.first(sa.select(merchants).where(merchants.c.name == name, _own(who, merchants.c.id)))
    return None if row is None else _merchant(row._asdict())


def list_merchants(tx: Tx, who: System, page: PageRequest) -> Page[Merchant]:
    """The merchants of the installation, newest first."""
    found = _page(tx, sa.select(merchants).where(_own(who, merchants.c.id)), merchants.c.id, page)
    rows = [_merchant(row._asdict()) for row in found]
    return page_of(rows, [row.id for row in rows], page.limit)


def create_api_key(
    tx: Tx,
    who: Who,
    *,
    merchant_id: str,
    name: str,
    scopes: Sequence[str],
    expires_at: Instant | None,
    hash: str,  # noqa: A002 - the word of the room
    prefix: str,
    last4: str,
    addresses: Sequence[str] = (),
) -> ApiKey:
    """A new key of an existing merchant; the caller made it and keeps only `hash` (SHA-256, hex) of it.

    Raises NotFound for another's merchant, Refused for a bad name, scope, address or an expiry in the past.
    """
    if expires_at is not None and expires_at <= tx.now:
        raise invalid("/expiresAt", "invalid_expiry", "A time in the future is expected.")
    row = {
        "id": new_id("key", tx.now),
        "merchant_id": get_merchant(tx, who, merchant_id).id,
        "name": clean_name(name),
        "key_hash": hash,
        "prefix": prefix,
        "last4": last4,
        "scopes": _json(parse_scopes(scopes)),
        "addresses": _json(parse_addresses(addresses)),
        "created_at": tx.now,
        "expires_at": expires_at,
        "revoked_at": None,
        "last_used_at": None,
    }
    bulk_insert(tx, api_keys, [row])
    return _key({name: value for name, value in row.items() if name != "key_hash"})


def authenticate(tx: Tx, who: System, key_hash: str) -> Principal | None:
    """Who holds the key with this fingerprint; None for one that is unknown, revoked or expired."""
    row = tx.first(
        sa.select(*_KEY_COLUMNS).where(
            api_keys.c.key_hash == key_hash,
            api_keys.c.revoked_at.is_(None),
            _own(who, api_keys.c.merchant_id),
        )
    )
    if row is None or (row.expires_at is not None and row.expires_at <= tx.now):
        return None
    key = _key(row._asdict())
    return Principal(key.merchant_id, key.id, frozenset(key.scopes), key.addresses, key.last_used_at)


def touch_key(tx: Tx, who: Who, key_id: str) -> bool:
    """Note that the key was used, at most once a minute; whether it was noted now."""
    stale = sa.or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at <= tx.now - TOUCH_GAP)
    statement = api_keys.update().where(api_keys.c.id == key_id, stale, _own(who, api_keys.c.merchant_id))
    return tx.execute(statement.values(last_used_at=tx.now)).rowcount == 1


def get_key(tx: Tx, who: Who, key_id: str) -> ApiKey:
    """One key without its hash. Raises NotFound."""
    row = tx.first(sa.select(*_KEY_COLUMNS).where(api_keys.c.id == key_id, _own(who, api_keys.c.merchant_id)))
    if row is None:
        raise NotFound("There is no such API key.")
    return _key(row._asdict())


def list_keys(tx: Tx, who: Who, page: PageRequest) -> Page[ApiKey]:
    """Keys, newest first, the revoked ones too."""
    statement = sa.select(*_KEY_COLUMNS).where(_own(who, api_keys.c.merchant_id))
    rows = [_key(row._asdict()) for row in _page(tx, statement, api_keys.c.id, page)]
    return page_of(rows, [row.id for row in rows], page.limit)


def revoke_key(tx: Tx, who: Who, key_id: str) -> ApiKey:
    """End the key for good; a second time changes nothing. Raises NotFound."""
    tx.execute(
        api_keys.update()
        .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None), _own(who, api_keys.c.merchant_id))
        .values(revoked_at=tx.now)
    )
    return get_key(tx, who, key_id)


def _own(who: Who, owner: sa.Column[Any]) -> sa.ColumnElement[bool]:
    return sa.true() if isinstance(who, System) else owner == who


def _page(tx: Tx, statement: sa.Select[Any], key: sa.Column[Any], page: PageRequest) -> Sequence[sa.Row[Any]]:
    if page.after is not None:
        statement = statement.where(key < page.after)
    return tx.rows(statement.order_by(key.desc()).limit(page.limit + 1))


def _json(values: Sequence[str]) -> str:
    return msgspec.json.encode(values).decode()


def _texts(text: str) -> tuple[str, ...]:
    return msgspec.json.decode(text, type=tuple[str, ...])


def _merchant(row: dict[str, Any]) -> Merchant:
    return Merchant(
        id=MerchantId(row["id"]),
        name=row["name"],
        default_region=row["default_region"],
        late_policy=LatePolicy(row["late_policy"]),
        stale_after=row["stale_after_us"],
        return_origins=_texts(row["return_origins"]),
        created_at=row["created_at"],
    )


def _key(row: dict[str, Any]) -> ApiKey:
    return ApiKey(**{**row, "scopes": _texts(row["scopes"]), "addresses": _texts(row["addresses"])})
