"""The merchant's accounts at providers; credentials go in and never come out."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from fastapi import Path, Query
from pydantic import ConfigDict, Field, model_validator
from starlette.responses import Response

from paystate.domain import connections
from paystate.domain.connections import Connection
from paystate.domain.payments.port import Closes, Lists, Provider, Pushes, Refunds, SendsWebhooks
from paystate.entrypoints.api.answers import (
    PageOut,
    answer,
    expected_version,
    page_answer,
    page_request,
    replayable,
    text_of,
    versioned,
)
from paystate.entrypoints.api.fields import In, Name, Out, PageQuery, QueryText, refused
from paystate.entrypoints.api.guard import Call, Current
from paystate.entrypoints.api.operation import operation, router
from paystate.entrypoints.api.repeat import Finish, act_once
from paystate.flows.add_connection import add_connection, check_connection
from paystate.flows.change_connection import Wish, change, prepare_change
from paystate.kit.clock import rfc3339
from paystate.kit.errors import FieldError, Refused
from paystate.kit.text import parse_public_url
from paystate.machinery.db import Tx
from paystate.machinery.idempotency import Answer

MAX_FIELDS = 20
MAX_RATE = 1_000
ConnectionId = Annotated[str, Path(alias="connectionId", pattern=r"^con_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
Fields = Annotated[
    dict[str, Annotated[str, Field(max_length=16_384)]], Field(min_length=1, max_length=MAX_FIELDS)
]
Rate = Annotated[int, Field(ge=1, le=MAX_RATE)]
routes = router("/api", "Connections")


class ConnectionIn(In):
    """A new connection; the provider is asked whose credentials these are."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "provider": "sandbox",
                    "name": "Main account",
                    "fields": {
                        "baseUrl": "https://sandbox.example",
                        "secretKey": "sk_sandbox_…",
                        "webhookSecret": "whsec_…",
                    },
                }
            ]
        }
    )

    provider: Annotated[str, Field(max_length=40, pattern=r"^[a-z0-9-]+$")]
    fields: Fields
    name: Name | None = None


class ConnectionPatch(In):
    """What changes. New credentials must be the same account's."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Second account", "enabled": True}]})

    name: Name | None = None
    fields: Fields | None = None
    rate_per_second: Rate | None = None
    enabled: bool | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            raise refused("nothing_to_change", "Name at least one field.")
        return self


class ConnectionOut(Out):
    """A connection without its secrets."""

    id: str
    provider: str
    name: str
    account: str
    live: bool
    state: str
    state_reason: str | None
    settings: dict[str, Any]
    rate_per_second: int
    webhook_url: str
    version: int
    created_at: str
    updated_at: str


class TestOut(Out):
    """What the provider says about the stored credentials; `field` is the one to look at, `answered` its own words."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "ok": False,
                    "problem": "The provider does not accept these credentials.",
                    "field": "secretKey",
                    "answered": '401 {"error": {"message": "Invalid API Key provided"}}',
                    "account": None,
                    "live": None,
                    "connection": None,
                }
            ]
        }
    )

    ok: bool
    problem: str | None
    field: str | None
    answered: str | None
    account: str | None
    live: bool | None
    connection: ConnectionOut


class ProviderOut(Out):
    """A provider that this installation knows, the fields a connection to it needs, and what it can do."""

    name: str
    fields: dict[str, str]
    secret_fields: list[str]
    capabilities: list[str]


class ProvidersOut(Out):
    """Every provider."""

    data: list[ProviderOut]


class ConnectionsQuery(PageQuery):
    """What a list of connections may be narrowed by."""

    provider: QueryText | None = None


@routes.get("/providers", **operation("listProviders", "payments:read", ProvidersOut))
async def providers(call: Current) -> Response:
    """Which providers there are and what each needs."""
    return answer(ProvidersOut(data=[_provider_out(p) for _, p in sorted(call.ctx.providers.items())]))


@routes.post(
    "/connections",
    **operation(
        "createConnection",
        "admin",
        ConnectionOut,
        "provider_not_configured",
        "credentials_refused",
        "account_connected",
        "provider_unavailable",
        status=201,
    ),
)
async def create(call: Current, body: ConnectionIn) -> Response:
    """Connect an account."""
    _refuse_bad_urls(call, body.fields)

    async def work() -> Finish:
        try:
            made = await add_connection(
                call.ctx, call.who, body.provider, body.fields, name=body.name or "", actor=call.caller.actor
            )
        except Refused as error:
            raise _inside_fields(error) from None
        shown = text_of(connection_out(call, made))
        return lambda _tx: Answer(made.id, 201, shown)

    return replayable(await act_once(call, work))


@routes.get("/connections", **operation("listConnections", "admin", PageOut[ConnectionOut]))
async def list_all(call: Current, query: Annotated[ConnectionsQuery, Query()]) -> Response:
    """The merchant's connections, newest first."""
    page = page_request(call, "connections", query)
    found = await call.db.read(
        lambda tx: connections.list_connections(tx, call.who, page, provider=query.provider)
    )
    return page_answer(call, "connections", found, lambda connection: connection_out(call, connection))


@routes.get("/connections/{connectionId}", **operation("getConnection", "admin", ConnectionOut, "not_found"))
async def get_one(call: Current, connection_id: ConnectionId) -> Response:
    """One connection."""
    found = await call.db.read(lambda tx: connections.get_connection(tx, call.who, connection_id))
    return versioned(call.request, connection_out(call, found), found.version)


@routes.patch(
    "/connections/{connectionId}",
    **operation(
        "updateConnection",
        "admin",
        ConnectionOut,
        "not_found",
        "invalid_state",
        "version_conflict",
        "credentials_refused",
        "account_connected",
        "provider_unavailable",
    ),
)
async def update(call: Current, connection_id: ConnectionId, body: ConnectionPatch) -> Response:
    """Rename, replace credentials, change the rate, enable or disable."""
    if body.fields is not None:
        _refuse_bad_urls(call, body.fields)
    wish = Wish(body.name, body.rate_per_second, body.enabled, body.fields)
    version = expected_version(call.request)
    changes = await prepare_change(call.ctx, call.who, connection_id, wish)

    def work(tx: Tx) -> Connection:
        before = connections.get_connection(tx, call.who, connection_id)
        after = change(tx, call.who, connection_id, changes, version)
        call.note(
            tx,
            "connection.updated",
            connection_id,
            _told(before),
            {**_told(after), "credentials": bool(body.fields)},
        )
        return after

    after = await call.db.write(work)
    return versioned(call.request, connection_out(call, after), after.version)


@routes.post("/connections/{connectionId}/test", **operation("testConnection", "admin", TestOut, "not_found"))
async def test(call: Current, connection_id: ConnectionId) -> Response:
    """Ask the provider whether the stored credentials work; a parked connection whose do is used again."""

    async def work() -> Finish:
        checked = await check_connection(call.ctx, call.who, connection_id)
        told = checked.identity
        shown = text_of(
            TestOut(
                ok=checked.problem is None,
                problem=checked.problem,
                field=checked.field,
                answered=checked.answered,
                account=None if told is None else told.account,
                live=None if told is None else told.live,
                connection=connection_out(call, checked.connection),
            )
        )
        return lambda _tx: Answer(connection_id, 200, shown)

    return replayable(await act_once(call, work))


def connection_out(call: Call, connection: Connection) -> ConnectionOut:
    """The connection as it is shown, with the address its provider sends webhooks to."""
    base = call.desk.app.settings.public_url.rstrip("/")
    return ConnectionOut(
        id=connection.id,
        provider=connection.provider,
        name=connection.name,
        account=connection.account,
        live=connection.live,
        state=connection.state.value,
        state_reason=connection.state_reason,
        settings=dict(connection.settings),
        rate_per_second=connection.rate_per_second,
        webhook_url=f"{base}/api/webhooks/{connection.provider}/{connection.id}",
        version=connection.version,
        created_at=rfc3339(connection.created_at),
        updated_at=rfc3339(connection.updated_at),
    )


def _told(connection: Connection) -> Mapping[str, Any]:
    return {
        "name": connection.name,
        "state": connection.state.value,
        "ratePerSecond": connection.rate_per_second,
    }


def _provider_out(provider: Provider) -> ProviderOut:
    can: Mapping[str, Any] = {
        "close": Closes,
        "list": Lists,
        "refund": Refunds,
        "webhooks": SendsWebhooks,
        "transfers": Pushes,
    }
    return ProviderOut(
        name=provider.name,
        fields=dict(provider.fields),
        secret_fields=sorted(provider.secret_fields),
        capabilities=[word for word, port in can.items() if isinstance(provider, port)],
    )


def _refuse_bad_urls(call: Call, fields: Mapping[str, str]) -> None:
    """A base URL is called by our servers: https, and plain http only where private addresses may be reached (T21)."""
    private = bool(call.desk.app.settings.allow_private_addresses)
    for name, value in fields.items():
        if name.endswith("Url"):
            parse_public_url(value, pointer=f"/fields/{name}", allow_http_loopback=private)


def _inside_fields(error: Refused) -> Refused:
    """The flow names fields alone; here they stand inside of `fields`."""
    errors = [FieldError(f"/fields{e.pointer}", e.code, e.detail) for e in error.errors]
    return Refused(error.detail, code=error.code, errors=errors, **error.help)
