"""Operations on connections: which fields one needs, add, list, test."""

from typing import Any

from paystate.app import App
from paystate.domain import connections
from paystate.domain.connections import Connection
from paystate.entrypoints.operations.declare import Answer, Order, operation
from paystate.flows.add_connection import add_connection, check_connection
from paystate.flows.make_key import merchant_named
from paystate.kit.clock import rfc3339
from paystate.kit.ids import MerchantId, System, Who
from paystate.kit.paging import MAX_LIMIT, PageRequest

WHO = System("the owner of the installation")
ACTOR = "owner"


class Fields(Order, frozen=True, kw_only=True):
    provider: str


class AddConnection(Order, frozen=True, kw_only=True):
    provider: str
    merchant: str
    fields: dict[str, str]
    name: str = ""


class ListConnections(Order, frozen=True, kw_only=True):
    merchant: str | None = None


class TestConnection(Order, frozen=True, kw_only=True):
    __test__ = False
    connection: str


@operation("connections.fields", Fields)
async def fields(app: App, order: Fields) -> Answer:
    provider = app.ctx.provider(order.provider)
    return {"fields": dict(provider.fields), "secret": sorted(provider.secret_fields)}


@operation("connections.add", AddConnection)
async def add(app: App, order: AddConnection) -> Answer:
    merchant = await merchant_named(app.ctx, order.merchant)
    made = await add_connection(
        app.ctx, MerchantId(merchant.id), order.provider, order.fields, name=order.name, actor=ACTOR
    )
    return told(app, made)


@operation("connections.list", ListConnections)
async def list_(app: App, order: ListConnections) -> Answer:
    who: Who = WHO
    if order.merchant is not None:
        who = MerchantId((await merchant_named(app.ctx, order.merchant)).id)
    page = await app.db.read(lambda tx: connections.list_connections(tx, who, PageRequest(limit=MAX_LIMIT)))
    return {"data": [told(app, one) for one in page.rows], "hasMore": page.next_position is not None}


@operation("connections.test", TestConnection)
async def test(app: App, order: TestConnection) -> Answer:
    checked = await check_connection(app.ctx, WHO, order.connection)
    answer = {
        **told(app, checked.connection),
        "ok": checked.problem is None,
        "problem": checked.problem,
        "field": checked.field,
        "answered": checked.answered,
    }
    if checked.identity is not None:
        answer["providerSays"] = {"account": checked.identity.account, "live": checked.identity.live}
    return answer


def told(app: App, connection: Connection) -> dict[str, Any]:
    """A connection as it may be shown: never its secrets."""
    base = app.settings.public_url.rstrip("/")
    return {
        "id": connection.id,
        "merchantId": connection.merchant_id,
        "provider": connection.provider,
        "name": connection.name,
        "account": connection.account,
        "live": connection.live,
        "state": connection.state.value,
        "stateReason": connection.state_reason,
        "settings": dict(connection.settings),
        "webhookUrl": f"{base}/api/webhooks/{connection.provider}/{connection.id}",
        "createdAt": rfc3339(connection.created_at),
    }
