"""Makes an API key for a merchant, and the merchant with it when there is none of that name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paystate.domain import audit, merchants
from paystate.domain.audit import AuditEntry
from paystate.domain.merchants import ApiKey, Merchant
from paystate.flows.context import Context
from paystate.kit.errors import Refused
from paystate.kit.ids import MerchantId, System
from paystate.machinery.db import Tx
from paystate.machinery.secrets import API_KEY_PREFIX, Secret, fingerprint, new_api_key

WHO = System("the owner of the installation makes a key")
DEFAULT_NAME = "command line"
SHOWN = 4


@dataclass(frozen=True, slots=True)
class MadeKey:
    """The key in the clear is here and nowhere else; it is shown once."""

    merchant: Merchant
    key: ApiKey
    secret: Secret


async def make_key(
    ctx: Context, merchant_name: str, scopes: Sequence[str], *, name: str = DEFAULT_NAME, actor: str
) -> MadeKey:
    """A key with these scopes. Raises Refused for a bad name or scope."""
    secret = new_api_key()

    def make(tx: Tx) -> MadeKey:
        merchant = merchants.find_merchant_by_name(tx, WHO, merchant_name)
        if merchant is None:
            merchant = merchants.create_merchant(tx, WHO, name=merchant_name)
            named = {"name": merchant.name}
            audit.record(tx, WHO, [_entry(merchant.id, actor, "merchant.created", merchant.id, named)])
        key = merchants.create_api_key(
            tx,
            WHO,
            merchant_id=merchant.id,
            name=name,
            scopes=scopes,
            expires_at=None,
            hash=fingerprint(secret.reveal()),
            prefix=API_KEY_PREFIX,
            last4=secret.reveal()[-SHOWN:],
        )
        scoped = {"scopes": list(key.scopes)}
        audit.record(tx, WHO, [_entry(merchant.id, actor, "api_key.created", key.id, scoped)])
        return MadeKey(merchant, key, secret)

    return await ctx.db.write(make)


async def revoke_key(ctx: Context, key_id: str, *, actor: str) -> ApiKey:
    """End a key for good; a second time changes nothing. Raises NotFound."""

    def revoke(tx: Tx) -> ApiKey:
        before = merchants.get_key(tx, WHO, key_id)
        after = merchants.revoke_key(tx, WHO, key_id)
        if before.revoked_at is None:
            ended = {"revokedAt": after.revoked_at}
            audit.record(tx, WHO, [_entry(after.merchant_id, actor, "api_key.revoked", key_id, ended)])
        return after

    return await ctx.db.write(revoke)


async def merchant_named(ctx: Context, name: str) -> Merchant:
    """The merchant of this name. Raises Refused `unknown_merchant`, which says how to make one."""
    found = await ctx.db.read(lambda tx: merchants.find_merchant_by_name(tx, WHO, name))
    if found is None:
        raise Refused(
            f"There is no merchant of that name. Make one with its first key: paystate keys create --merchant {name!r}",
            code="unknown_merchant",
        )
    return found


def _entry(
    merchant_id: str, actor: str, action: str, resource_id: str, after: Mapping[str, object]
) -> AuditEntry:
    return AuditEntry(
        merchant_id=MerchantId(merchant_id),
        actor=actor,
        action=action,
        resource_id=resource_id,
        before={},
        after=after,
        reason="the owner's command",
    )
