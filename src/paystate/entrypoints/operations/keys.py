"""Operations on API keys: make, list, revoke."""

from typing import Any

from paystate.app import App
from paystate.domain import merchants
from paystate.domain.merchants import SCOPES, ApiKey
from paystate.entrypoints.operations.declare import Answer, Order, operation
from paystate.flows.make_key import DEFAULT_NAME, make_key, merchant_named, revoke_key
from paystate.kit.clock import rfc3339, rfc3339_or_none
from paystate.kit.ids import MerchantId, System, Who
from paystate.kit.paging import MAX_LIMIT, PageRequest

WHO = System("the owner of the installation")
ACTOR = "owner"


class CreateKey(Order, frozen=True, kw_only=True):
    """Without scopes the key may do everything its merchant may."""

    merchant: str
    scopes: tuple[str, ...] = SCOPES
    name: str = DEFAULT_NAME


class ListKeys(Order, frozen=True, kw_only=True):
    merchant: str | None = None


class RevokeKey(Order, frozen=True, kw_only=True):
    key: str


@operation("keys.create", CreateKey)
async def create(app: App, order: CreateKey) -> Answer:
    made = await make_key(app.ctx, order.merchant, order.scopes, name=order.name, actor=ACTOR)
    merchant = {"id": made.merchant.id, "name": made.merchant.name}
    return {"merchant": merchant, **_told(made.key), "key": made.secret.reveal()}


@operation("keys.list", ListKeys)
async def list_(app: App, order: ListKeys) -> Answer:
    who: Who = WHO
    if order.merchant is not None:
        who = MerchantId((await merchant_named(app.ctx, order.merchant)).id)
    page = await app.db.read(lambda tx: merchants.list_keys(tx, who, PageRequest(limit=MAX_LIMIT)))
    return {"data": [_told(key) for key in page.rows], "hasMore": page.next_position is not None}


@operation("keys.revoke", RevokeKey)
async def revoke(app: App, order: RevokeKey) -> Answer:
    return _told(await revoke_key(app.ctx, order.key, actor=ACTOR))


def _told(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "merchantId": key.merchant_id,
        "name": key.name,
        "hint": f"{key.prefix}…{key.last4}",
        "scopes": list(key.scopes),
        "createdAt": rfc3339(key.created_at),
        "expiresAt": rfc3339_or_none(key.expires_at),
        "revokedAt": rfc3339_or_none(key.revoked_at),
        "lastUsedAt": rfc3339_or_none(key.last_used_at),
    }
