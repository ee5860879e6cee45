"""Finds what a page is about by its short code, and lets the time that is over be over."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

from starlette.requests import Request

from paystate.domain import merchants
from paystate.domain.connections import Connection
from paystate.domain.payments import Attempt, Payment, State, attempt_store, store
from paystate.domain.payments.states import OFFERED
from paystate.entrypoints.pay.answers import Desk
from paystate.entrypoints.pay.words import PAYABLE, web_link
from paystate.flows.choose_connection import offered_connections
from paystate.flows.context import Context
from paystate.flows.expire_payments import expire_one
from paystate.kit.clock import Instant
from paystate.kit.errors import NotFound
from paystate.kit.ids import MerchantId, System, is_short_code
from paystate.kit.text import origin_of
from paystate.machinery.db import Tx

WHO = System("customer on a pay page")
NOT_AVAILABLE = "This payment link does not exist or cannot be opened. Please check the address, or ask the shop for a new link."


@runtime_checkable
class NamesCheckoutOrigins(Protocol):
    """A provider whose checkouts stay on origins known beforehand, such as ``https://checkout.example``."""

    checkout_origins: Sequence[str]


@dataclass(frozen=True, slots=True)
class Found:
    """A payment as its page needs it; `connections` are the ways to pay this money, one per provider."""

    payment: Payment
    merchant_name: str
    connections: Sequence[Connection]
    attempts: Sequence[Attempt]
    now: Instant

    @property
    def home(self) -> str:
        return f"/pay/{self.payment.short_code}"

    @property
    def offered(self) -> Attempt | None:
        """The newest checkout that can be paid at a provider."""
        return next((a for a in reversed(self.attempts) if a.state in OFFERED), None)


async def find_payment(desk: Desk, request: Request) -> Found:
    """The payment of the address; past its time it is EXPIRED already (like its status, A2).

    Raises NotFound for an unknown code and for a DRAFT, which answer alike; TooMany for who tries many.
    """
    code = request.path_params["short_code"]
    ctx = desk.app.ctx
    try:
        if not is_short_code(code):
            raise NotFound(NOT_AVAILABLE)
        found = await ctx.db.read(partial(_read, ctx, code))
    except NotFound:
        desk.count_miss(request)
        raise NotFound(NOT_AVAILABLE) from None
    if _is_over(found) and request.method != "HEAD":
        await expire_one(ctx, WHO, found.payment.id)
        found = await ctx.db.read(partial(_read, ctx, code))
    return found


def _read(ctx: Context, code: str, tx: Tx) -> Found:
    payment = store.find_link(tx, WHO, code)
    if payment.state is State.DRAFT:
        raise NotFound(NOT_AVAILABLE)
    by_provider: dict[str, Connection] = {}
    if payment.state in PAYABLE:
        for connection in offered_connections(ctx, tx, payment):
            by_provider.setdefault(connection.provider, connection)
    return Found(
        payment=payment,
        merchant_name=merchants.get_merchant(tx, WHO, payment.merchant_id).name,
        connections=list(by_provider.values()),
        attempts=attempt_store.of_payments(tx, MerchantId(payment.merchant_id), [payment.id]),
        now=tx.now,
    )


def _is_over(found: Found) -> bool:
    due = found.payment.due_at
    return found.payment.state in PAYABLE and due is not None and due <= found.now


def checkout_origins(ctx: Context, connections: Sequence[Connection]) -> list[str]:
    """Where a form of ours may lead by a redirect: what adapters name, and the base address of a connection."""
    origins: list[str] = []
    for connection in connections:
        provider = ctx.provider(connection.provider)
        if isinstance(provider, NamesCheckoutOrigins):
            origins += provider.checkout_origins
        base = web_link(connection.settings.get("baseUrl"))
        if base is not None:
            origins.append(origin_of(base))
    return origins
