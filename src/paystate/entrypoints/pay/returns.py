"""Where browsers land after a provider's checkout: whatever their addresses and forms say is at most a hint."""

from collections.abc import Mapping, Sequence
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from paystate.domain.payments import attempt_store, store
from paystate.entrypoints.pay.answers import FORM_LIMIT, Desk, Page, form_fields, read_form_bytes, see_other
from paystate.entrypoints.pay.finding import WHO, find_payment
from paystate.flows.take_hint import take_landing, take_return
from paystate.kit.errors import Refused
from paystate.kit.ids import is_id
from paystate.machinery.db import Tx

VALUE_LENGTHS = range(4, 256)
UNGUESSABLE_LENGTH = 16
"""A provider's id shorter than this could be a counter: it only makes a check due, and leads nobody to a page."""


class Returns:
    """``/pay/{shortCode}/return`` and ``/pay/return/{connectionId}``, by GET or POST."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def come_back(self, request: Request) -> Response:
        """Make a check due and show the payment's page. Our own `from=cancel` only makes the hint weaker."""
        found = await find_payment(self._desk, request)
        if request.method != "HEAD":
            weak = request.query_params.get("from") == "cancel"
            await take_return(self._desk.app.ctx, found.payment.short_code, from_cancel=weak)
        return see_other(found.home)

    async def land(self, request: Request) -> Response:
        """The one landing address of a connection: what its adapter reads is kept as a hint; else any value may be one."""
        brought = await _brought(request)
        fields = form_fields(brought)
        connection_id = request.path_params["connection_id"]
        named: Mapping[str, bool] | None = None
        if fields and is_id("con", connection_id) and request.method != "HEAD":
            named = await take_landing(self._desk.app.ctx, connection_id, dict(fields), brought)
        if named is None:
            named = await self._hint_by_values(request, [value for _, value in fields])
        if not named:
            self._desk.count_miss(request)
        known = [code for code, is_sure in named.items() if is_sure]
        return see_other(f"/pay/{known[0]}") if len(known) == 1 else self._neutral()

    async def _hint_by_values(self, request: Request, values: Sequence[str]) -> Mapping[str, bool]:
        """Whichever payment a value names gets a look; answers as `take_landing`."""
        usable = sorted({v for v in values if len(v) in VALUE_LENGTHS and v.isprintable()})
        connection_id = request.path_params["connection_id"]
        named: dict[str, bool] = {}
        if usable and is_id("con", connection_id):
            named = await self._desk.app.ctx.db.read(partial(_named, connection_id, usable))
        if request.method != "HEAD":
            for code, is_sure in named.items():
                await take_return(self._desk.app.ctx, code, from_cancel=not is_sure)
        return named

    def _neutral(self) -> Response:
        return self._desk.html(
            "message.html",
            title="Thank you",
            text="If you have just paid, we are confirming it with the payment provider. You may close this page, "
            "or open your payment link again to see how it stands.",
            icon="clock",
            tone="blue",
            back=None,
            back_label="",
            code=None,
        )


async def _brought(request: Request) -> bytes:
    """Query and form as one, as they came; a field of the form stands over one of the query. Nothing beyond the limit."""
    parts = [request.scope["query_string"][: FORM_LIMIT + 1]]
    if request.method == "POST":
        parts.append(await read_form_bytes(request))
    brought = b"&".join(part for part in parts if part)
    if len(brought) > FORM_LIMIT:
        raise Refused("Too much was sent here.", code="payload_too_large")
    return brought


def _named(connection_id: str, values: Sequence[str], tx: Tx) -> dict[str, bool]:
    """Short codes of the payments named, and whether the value that names one cannot be guessed."""
    found = attempt_store.named(tx, WHO, connection_id, references=values, checkout_ids=values)
    payments = store.get_many(tx, WHO, [a.payment_id for a in found])
    named: dict[str, bool] = {}
    for attempt in found:
        code = payments[attempt.payment_id].short_code
        long_id = attempt.checkout_id in values and len(attempt.checkout_id or "") >= UNGUESSABLE_LENGTH
        named[code] = named.get(code, False) or attempt.provider_reference in values or long_id
    return named


def routes(desk: Desk) -> list[Route]:
    """The landing addresses; a POST may come from a provider's own page."""
    returns = Returns(desk)
    fixed = Page(desk, returns.land, returns.land, checks_origin=False)
    own = Page(desk, returns.come_back, returns.come_back, checks_origin=False)
    return [Route("/pay/return/{connection_id}", fixed), Route("/pay/{short_code}/return", own)]
