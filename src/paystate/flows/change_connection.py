"""Changes a connection: its name, rate and credentials, or whether it is used at all."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from paystate.domain import connections
from paystate.domain.connections import Connection, ConnectionChanges, ConnectionState, secrets_aad
from paystate.domain.payments.port import Account, CredentialsRefused, NoAnswer
from paystate.flows.context import Context
from paystate.kit.errors import Conflict, FieldError, Refused, Unavailable
from paystate.kit.ids import MerchantId
from paystate.machinery.db import Tx

MAX_FIELD_LENGTH = 16_384


@dataclass(frozen=True, slots=True)
class Wish:
    """What shall change; None leaves it. `fields` replaces only the fields it names."""

    name: str | None = None
    rate_per_second: int | None = None
    enabled: bool | None = None
    fields: Mapping[str, str] | None = None


async def prepare_change(ctx: Context, who: MerchantId, connection_id: str, wish: Wish) -> ConnectionChanges:
    """The change as it will be stored. New credentials are shown to the provider first: they must be the same account's.

    Raises NotFound, Refused for unknown fields and refused credentials, Conflict `invalid_state` for another account's,
    Unavailable `provider_unavailable`.
    """
    known = await ctx.db.read(lambda tx: connections.get_connection(tx, who, connection_id))
    settings, sealed = (None, None) if not wish.fields else await _credentials(ctx, known, wish.fields)
    return ConnectionChanges(
        name=wish.name,
        settings=settings,
        secrets=sealed,
        rate_per_second=wish.rate_per_second,
        state=_state(wish.enabled),
        reason=None if wish.enabled is not False else "disabled by the merchant",
    )


def change(
    tx: Tx, who: MerchantId, connection_id: str, changes: ConnectionChanges, version: int | None
) -> Connection:
    """Store the change, inside the caller's transaction. Raises NotFound, Conflict `version_conflict`."""
    return connections.update_connection(tx, who, connection_id, changes, version=version)


def _state(
    enabled: bool | None,
) -> Literal[ConnectionState.ACTIVE, ConnectionState.DISABLED] | None:
    if enabled is None:
        return None
    return ConnectionState.ACTIVE if enabled else ConnectionState.DISABLED


async def _credentials(
    ctx: Context, known: Connection, fields: Mapping[str, str]
) -> tuple[Mapping[str, str], str]:
    provider = ctx.provider(known.provider)
    errors = [
        FieldError(f"/fields/{name}", "unknown_field", "This provider has no such field.")
        for name in fields
        if name not in provider.fields
    ]
    errors += [
        FieldError(
            f"/fields/{name}", "invalid_length", f"Between 1 and {MAX_FIELD_LENGTH} characters are allowed."
        )
        for name, value in fields.items()
        if not 1 <= len(value) <= MAX_FIELD_LENGTH
    ]
    if errors:
        raise Refused("The connection has fields that are not valid.", errors=errors)
    before = ctx.account(known)
    public = {**before.settings, **{n: v for n, v in fields.items() if n not in provider.secret_fields}}
    secret = {**before.secrets, **{n: v for n, v in fields.items() if n in provider.secret_fields}}
    account = Account(known.id, known.account, known.live, public, secret)
    await _refuse_other_account(ctx, known, account)
    aad = secrets_aad(known.id, known.merchant_id)
    return public, ctx.keys.seal(json.dumps(secret).encode(), aad=aad)


async def _refuse_other_account(ctx: Context, known: Connection, account: Account) -> None:
    """Proofs are bound to the account: another one is another connection."""
    try:
        identity = await ctx.provider(known.provider).identify(account)
    except CredentialsRefused:
        raise Refused("The provider does not accept these credentials.", code="credentials_refused") from None
    except NoAnswer as error:
        raise Unavailable(
            f"The provider does not answer ({error.reason}).", code="provider_unavailable"
        ) from error
    if (identity.account, identity.live) != (known.account, known.live):
        raise Conflict("These credentials belong to another account; make another connection for it.")
