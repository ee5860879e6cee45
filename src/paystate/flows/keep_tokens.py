"""Keeps access tokens: fetched once for all processes, sealed at rest, renewed before they end and at once when refused."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from paystate.domain import access, connections
from paystate.domain.access import StoredToken, token_aad
from paystate.domain.connections import Connection
from paystate.domain.payments.port import Account, CredentialsRefused, NoAnswer, RenewsTokens, able
from paystate.flows.context import Context
from paystate.kit.clock import MINUTE, SECOND, Instant, monotonic
from paystate.kit.ids import System
from paystate.machinery.db import Tx
from paystate.machinery.jobs import Run, job
from paystate.machinery.logs import get_logger

WHO = System("access tokens of connections")
FETCH_SECONDS = 10.0
LEASE = 20 * SECOND
MARGIN = 45 * SECOND
"""A token is not used so shortly before its end: the longest call takes 30 s."""

RENEW_AHEAD = 3 * MINUTE
"""The job looks every minute: what would end within two more looks is renewed."""

WAIT_SECONDS = 15.0
LOOK_EVERY_SECONDS = 0.05
T = TypeVar("T")
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Known:
    """A token in the clear, for as long as this process may use it."""

    value: str = field(repr=False)
    version: int
    expires_at: Instant


async def with_account(ctx: Context, connection: Connection, call: Callable[[Account], Awaitable[T]]) -> T:
    """Call the provider for this connection; where its token is refused, once more with a new one.

    Raises what the call raises, and NoAnswer or CredentialsRefused when no token can be had.
    """
    account = await account_for(ctx, connection)
    try:
        return await call(account)
    except CredentialsRefused:
        if account.token is None:
            raise
        return await call(await account_for(ctx, connection, refused=account.token))


async def account_for(ctx: Context, connection: Connection, *, refused: str | None = None) -> Account:
    """The account with a token that is good for a call, where its credentials need one; never `refused` again."""
    account = ctx.account(connection)
    provider = able(ctx.providers.get(connection.provider), RenewsTokens)
    if provider is None or not provider.needs_token(account):
        return account
    known = await _token(ctx, connection, provider, refused=refused, margin=MARGIN)
    return replace(account, token=known.value)


async def _token(
    ctx: Context, connection: Connection, provider: RenewsTokens, *, refused: str | None, margin: int
) -> _Known:
    """From this process, else from the database, else fetched by whoever gets the turn; the others wait for it."""
    until = monotonic() + WAIT_SECONDS
    good = partial(_is_good, ctx, connection, refused, margin)
    own: _Known | None = ctx.tokens.get(connection.id)
    if own is not None and good(own):
        return own
    while True:
        state = await ctx.db.read(lambda tx: access.token_of(tx, WHO, connection.id))
        known = _opened(ctx, connection, state.stored)
        if known is not None and good(known):
            ctx.tokens[connection.id] = known
            return known
        begin = partial(_begin, connection, state.claim_no)
        claim = await ctx.db.write(begin)
        if claim is not None:
            return await _fetch(ctx, connection, provider, claim)
        if monotonic() >= until:
            raise NoAnswer("token_pending", sent=False)
        await asyncio.sleep(LOOK_EVERY_SECONDS)


def _is_good(ctx: Context, connection: Connection, refused: str | None, margin: int, known: _Known) -> bool:
    return (
        known.value != refused
        and known.version == connection.version
        and known.expires_at > ctx.clock.now() + margin
    )


def _begin(connection: Connection, seen: int, tx: Tx) -> int | None:
    return access.begin_renewal(tx, WHO, connection, seen, LEASE)


def _opened(ctx: Context, connection: Connection, stored: StoredToken | None) -> _Known | None:
    if stored is None:
        return None
    text = ctx.keys.open(stored.token, aad=token_aad(connection.id, connection.merchant_id))
    return _Known(text.decode(), stored.credentials_version, stored.expires_at)


async def _fetch(ctx: Context, connection: Connection, provider: RenewsTokens, claim: int) -> _Known:
    """With the turn in hand: ask the provider, keep the answer sealed. The turn is given back whatever happens."""
    fetched: StoredToken | None = None
    asked_at = ctx.clock.now()
    try:
        async with asyncio.timeout(FETCH_SECONDS):
            token = await provider.fetch_token(ctx.account(connection))
        sealed = ctx.keys.seal(token.value.encode(), aad=token_aad(connection.id, connection.merchant_id))
        fetched = StoredToken(
            sealed, connection.version, Instant(asked_at + int(token.lives_seconds * SECOND))
        )
    except TimeoutError:
        raise NoAnswer("token_timeout") from None
    finally:
        await ctx.db.write(partial(_give_back, connection, claim, fetched))
    known = ctx.tokens[connection.id] = _Known(token.value, connection.version, fetched.expires_at)
    log.info("token_renewed", connection_id=connection.id, provider=connection.provider)
    return known


def _give_back(connection: Connection, claim: int, fetched: StoredToken | None, tx: Tx) -> None:
    access.end_renewal(tx, WHO, connection, claim, fetched)


@job(
    "refresh-provider-tokens",
    schedule="* * * * *",
    description="Renews access tokens of providers before they end.",
)
async def refresh_tokens(ctx: Context, run: Run) -> dict[str, Any]:
    """The job: how many connections live on tokens, how many got a new one, and which did not."""
    del run
    found = await ctx.db.read(lambda tx: connections.active_for(tx, WHO))
    checked, renewed = 0, 0
    errors: list[dict[str, str]] = []
    for connection in found:
        provider = able(ctx.providers.get(connection.provider), RenewsTokens)
        if provider is None or not provider.needs_token(ctx.account(connection)):
            continue
        checked += 1
        before = ctx.tokens.get(connection.id)
        try:
            after = await _token(ctx, connection, provider, refused=None, margin=RENEW_AHEAD)
        except NoAnswer as error:
            log.warning("token_not_renewed", connection_id=connection.id, reason=error.reason)
            errors.append({"id": connection.id, "error": error.reason})
        else:
            renewed += after != before
    return {"checked": checked, "renewed": renewed, "failed": len(errors), "errors": errors}
