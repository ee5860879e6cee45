"""How each planned fault of a call looks on the wire."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import msgspec
from aiohttp import web

from paystate.simulators.faults import Fault, FaultKind
from paystate.simulators.stage import Answer, Provider

HUGE_BYTES = 50 * 1024 * 1024
GZIP_BOMB_BYTES = 100 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
DRIP_SECONDS = 1.0
SLOW_SECONDS = 5.0
UNKNOWN_STATUS = "quantum"
WRONG_SHAPES: tuple[Any, ...] = (
    [],
    None,
    "ok",
    17,
    {"data": {"data": []}},
    {"id": 17, "status": ["paid"]},
    [[{}]],
)

_JSON = "application/json"


class Wrongdoing:
    """One call about to go wrong; the true answer is there for the kinds that need it."""

    def __init__(
        self,
        fault: Fault,
        request: web.Request,
        provider: Provider,
        *,
        act: Callable[[], Awaitable[Answer]],
        recall: Callable[[], Answer | None],
    ) -> None:
        self.fault = fault
        self.request = request
        self.provider = provider
        self.recall = recall
        self._act = act
        self._answer: Answer | None = None

    async def true_answer(self) -> Answer:
        """Acts, once."""
        if self._answer is None:
            self._answer = await self._act()
        return self._answer

    def drop(self) -> web.StreamResponse:
        """The connection ends without a byte of an answer."""
        if self.request.transport is not None:
            self.request.transport.abort()
        return web.Response()


def send(answer: Answer) -> web.Response:
    """An answer as it should be."""
    return web.Response(
        status=answer.status, body=encoded(answer), content_type=answer.content_type, headers=answer.headers
    )


def encoded(answer: Answer) -> bytes:
    """The body on the wire: JSON, unless it is bytes already."""
    return answer.body if isinstance(answer.body, bytes) else msgspec.json.encode(answer.body)


def refusal(fault: Fault, request: web.Request, provider: Provider) -> Answer | None:
    """The error answer of the kinds that are one."""
    match fault.kind:
        case FaultKind.ERROR500:
            return provider.error(500, "internal_error", "Something went wrong on our side.")
        case FaultKind.ERROR502:
            return provider.error(502, "bad_gateway", "Bad gateway.")
        case FaultKind.ERROR503:
            return provider.error(503, "unavailable", "Down for maintenance.")
        case FaultKind.UNAUTHORIZED401:
            return provider.error(401, "invalid_key", "This key is not valid.")
        case FaultKind.NOT_FOUND404:
            return provider.not_found(request)
        case FaultKind.RATE_LIMIT429:
            busy = provider.error(429, "rate_limited", "Too many requests.")
            after = fault.plan.retry_after
            if after is None:
                return busy
            return replace(busy, headers={**busy.headers, "Retry-After": str(after)})
        case _:
            return None


async def spoil(wrong: Wrongdoing) -> web.StreamResponse:
    """Answer, or do not, as the kind says."""
    return await _SPOILERS[wrong.fault.kind](wrong)


async def _outage(wrong: Wrongdoing) -> web.StreamResponse:
    return wrong.drop()


async def _act_then_drop(wrong: Wrongdoing) -> web.StreamResponse:
    await wrong.true_answer()
    return wrong.drop()


async def _slow(wrong: Wrongdoing) -> web.StreamResponse:
    # Waits first: a client that gave up meanwhile will find that the call was carried out after all.
    await asyncio.sleep(SLOW_SECONDS if wrong.fault.plan.seconds is None else wrong.fault.plan.seconds)
    return send(await wrong.true_answer())


async def _drip(wrong: Wrongdoing) -> web.StreamResponse:
    answer = await wrong.true_answer()
    gap = DRIP_SECONDS if wrong.fault.plan.seconds is None else wrong.fault.plan.seconds
    body = encoded(answer)
    response = web.StreamResponse(
        status=answer.status, headers={**answer.headers, "Content-Length": str(len(body))}
    )
    response.content_type = answer.content_type
    await response.prepare(wrong.request)
    for byte in body:
        await response.write(bytes([byte]))
        await asyncio.sleep(gap)
    return response


async def _html(_wrong: Wrongdoing) -> web.StreamResponse:
    page = "<!doctype html><title>Welcome</title><h1>Please sign in to the network</h1><p>status: paid"
    return web.Response(text=page, content_type="text/html")


async def _truncated(wrong: Wrongdoing) -> web.StreamResponse:
    answer = await wrong.true_answer()
    body = encoded(answer)
    half = body[: len(body) // 2]
    return web.Response(status=answer.status, body=half, content_type=answer.content_type)


async def _empty(_wrong: Wrongdoing) -> web.StreamResponse:
    return web.Response(body=b"", content_type=_JSON)


async def _huge(wrong: Wrongdoing) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_type = _JSON
    await response.prepare(wrong.request)
    await response.write(b'{"status":"paid","data":"')
    for _ in range(HUGE_BYTES // CHUNK_BYTES):
        await response.write(b"a" * CHUNK_BYTES)
    await response.write(b'"}')
    return response


async def _wrong_type(wrong: Wrongdoing) -> web.StreamResponse:
    return send(Answer(200, WRONG_SHAPES[(wrong.fault.hits - 1) % len(WRONG_SHAPES)]))


async def _invalid_utf8(_wrong: Wrongdoing) -> web.StreamResponse:
    return web.Response(body=b'{"status":"pa\xff\xfeid","id":"\xc0\xaf"}', content_type=_JSON)


async def _gzip_bomb(_wrong: Wrongdoing) -> web.StreamResponse:
    body = await asyncio.to_thread(_bomb)
    return web.Response(body=body, content_type=_JSON, headers={"Content-Encoding": "gzip"})


@cache
def _bomb() -> bytes:
    packer = zlib.compressobj(level=1, wbits=16 + zlib.MAX_WBITS)
    blank = b" " * CHUNK_BYTES
    parts = [packer.compress(blank) for _ in range(GZIP_BOMB_BYTES // CHUNK_BYTES)]
    return b"".join([*parts, packer.compress(b"{}"), packer.flush()])


async def _stale(wrong: Wrongdoing) -> web.StreamResponse:
    answer, before = await wrong.true_answer(), wrong.recall()
    if before is None or before.body == answer.body:
        wrong.fault.give_back()
        return send(answer)
    return send(before)


async def _unknown_status(wrong: Wrongdoing) -> web.StreamResponse:
    answer = await wrong.true_answer()
    body = wrong.provider.unknown_status(answer.body)
    if body == answer.body:
        wrong.fault.give_back()
    return send(replace(answer, body=body))


def with_unknown_status(body: Any) -> Any:
    """The body with every word called `status` replaced, except in an envelope around `data`: that one is about the call."""
    match body:
        case list():
            return [with_unknown_status(row) for row in body]
        case Mapping():
            envelope = "data" in body
            return {
                name: UNKNOWN_STATUS
                if name == "status" and isinstance(value, str) and not envelope
                else with_unknown_status(value)
                for name, value in body.items()
            }
        case _:
            return body


_SPOILERS: dict[FaultKind, Callable[[Wrongdoing], Awaitable[web.StreamResponse]]] = {
    FaultKind.OUTAGE: _outage,
    FaultKind.ACT_THEN_DROP: _act_then_drop,
    FaultKind.SLOW: _slow,
    FaultKind.DRIP: _drip,
    FaultKind.HTML: _html,
    FaultKind.TRUNCATED: _truncated,
    FaultKind.EMPTY: _empty,
    FaultKind.HUGE: _huge,
    FaultKind.WRONG_TYPE: _wrong_type,
    FaultKind.INVALID_UTF8: _invalid_utf8,
    FaultKind.GZIP_BOMB: _gzip_bomb,
    FaultKind.STALE: _stale,
    FaultKind.UNKNOWN_STATUS: _unknown_status,
}
