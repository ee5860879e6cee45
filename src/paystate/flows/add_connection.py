"""Connects a merchant's account at a provider: the provider says whose credentials they are before they are stored."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from paystate.domain import audit, connections
from paystate.domain.audit import AuditEntry
from paystate.domain.connections import Connection, ConnectionState, NewConnection, secrets_aad
from paystate.domain.payments.port import Account, CredentialsRefused, Identity, NoAnswer, Paced, Provider
from paystate.flows.context import Context
from paystate.kit.errors import FieldError, Refused, Unavailable
from paystate.kit.ids import MerchantId, Who, new_id
from paystate.machinery.db import Tx

MAX_FIELD_LENGTH = 16_384
HIDDEN = "[secret]"


@dataclass(frozen=True, slots=True)
class Checked:
    """What the provider says about stored credentials: who we are, or what is wrong.

    `field` is the connection's field to look at, `answered` what the provider said, without secrets.
    """

    connection: Connection
    identity: Identity | None
    problem: str | None = None
    field: str | None = None
    answered: str | None = None


async def add_connection(
    ctx: Context, who: MerchantId, provider_name: str, fields: Mapping[str, str], *, name: str, actor: str
) -> Connection:
    """Ask the provider who we are with these credentials, then store them sealed.

    Raises Refused for missing or unknown fields and for credentials the provider does not take, Unavailable
    `provider_unavailable`, Conflict `account_connected`.
    """
    provider = ctx.provider(provider_name)
    _refuse_wrong_fields(provider, fields)
    given = {name: value for name, value in provider.optional_fields.items() if value} | {
        name: value for name, value in fields.items() if value
    }
    secrets = {key: value for key, value in given.items() if key in provider.secret_fields}
    public = {key: value for key, value in given.items() if key not in provider.secret_fields}
    identity = await _identify(provider, Account("", "", live=False, settings=public, secrets=secrets))

    def store(tx: Tx) -> Connection:
        connection_id = new_id("con", tx.now)
        new = NewConnection(
            id=connection_id,
            merchant_id=who,
            provider=provider.name,
            name=name or identity.name,
            account=identity.account,
            live=identity.live,
            settings=public,
            secrets=ctx.keys.seal(json.dumps(secrets).encode(), aad=secrets_aad(connection_id, who)),
            rate_per_second=_rate(ctx, provider),
        )
        made = connections.create_connection(tx, who, new)
        audit.record(tx, who, [_entry(made, actor)])
        return made

    return await ctx.db.write(store)


async def check_connection(ctx: Context, who: Who, connection_id: str) -> Checked:
    """Ask the provider whether the stored credentials work; a PARKED connection whose do is used again.

    Raises NotFound.
    """
    connection = await ctx.db.read(lambda tx: connections.get_connection(tx, who, connection_id))
    try:
        identity = await _identify(ctx.provider(connection.provider), ctx.account(connection))
    except Refused as error:
        wrong = error.errors[0] if error.errors else None
        field, answered = (None, None) if wrong is None else (wrong.pointer.removeprefix("/"), wrong.detail)
        return Checked(connection, None, error.detail, field, answered)
    except Unavailable as error:
        return Checked(connection, None, error.detail)
    if (identity.account, identity.live) != (connection.account, connection.live):
        return Checked(connection, identity, "The credentials belong to another account now.")
    if connection.state is ConnectionState.PARKED:
        await ctx.db.write(lambda tx: connections.unpark(tx, who, connection.id))
        connection = await ctx.db.read(lambda tx: connections.get_connection(tx, who, connection_id))
    return Checked(connection, identity)


async def _identify(provider: Provider, account: Account) -> Identity:
    try:
        return await provider.identify(account)
    except CredentialsRefused as error:
        answered = _without_secrets(error.answered, account)
        errors = [FieldError(f"/{error.field}", "refused", answered)] if error.field else []
        said = f" It answered: {answered}" if answered else ""
        raise Refused(
            f"The provider does not accept these credentials.{said}",
            code="credentials_refused",
            errors=errors,
        ) from None
    except NoAnswer as error:
        raise Unavailable(
            f"The provider does not answer ({error.reason}).", code="provider_unavailable"
        ) from error


def _without_secrets(answered: str, account: Account) -> str:
    """A provider may repeat the key that it refuses; the longest goes first, for one secret may hold another."""
    for secret in sorted(filter(None, account.secrets.values()), key=len, reverse=True):
        answered = answered.replace(secret, HIDDEN)
    return answered


def _refuse_wrong_fields(provider: Provider, fields: Mapping[str, str]) -> None:
    errors = [
        FieldError(f"/{name}", "required", meaning)
        for name, meaning in provider.fields.items()
        if not fields.get(name) and name not in provider.optional_fields
    ]
    errors += [
        FieldError(f"/{name}", "unknown_field", "This provider has no such field.")
        for name in fields
        if name not in provider.fields
    ]
    errors += [
        FieldError(f"/{name}", "too_long", f"At most {MAX_FIELD_LENGTH} characters.")
        for name, value in fields.items()
        if len(value) > MAX_FIELD_LENGTH
    ]
    if errors:
        known = ", ".join(name for name in provider.fields if name not in provider.optional_fields)
        raise Refused(f"A connection to {provider.name} needs: {known}.", errors=errors)


def _rate(ctx: Context, provider: Provider) -> int:
    """The calls per second a connection starts with; its merchant may change it."""
    if provider.name == "sandbox":
        return ctx.settings.sandbox_provider_rate
    paced: object = provider
    return paced.calls_per_second if isinstance(paced, Paced) else ctx.settings.default_provider_rate


def _entry(made: Connection, actor: str) -> AuditEntry:
    return AuditEntry(
        merchant_id=made.merchant_id,
        actor=actor,
        action="connection.created",
        resource_id=made.id,
        before={},
        after={"provider": made.provider, "account": made.account, "live": made.live},
        reason="an account is connected",
    )
