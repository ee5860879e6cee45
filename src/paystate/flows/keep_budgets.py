"""Keeps calls within a provider's budget: one turn for each call, evenly spaced, shared by all processes."""

import asyncio

from paystate.domain.connections import Connection
from paystate.domain.payments.port import NoAnswer
from paystate.flows.context import Context
from paystate.kit.clock import monotonic

PAUSE_SECONDS = 0.1


async def take_turn(ctx: Context, connection: Connection, within_seconds: float) -> None:
    """Wait until a call for this connection may go out. Raises NoAnswer `no_budget` when that is not soon enough."""
    key, rate = ctx.budget(connection)
    until = monotonic() + within_seconds
    while True:
        granted = await ctx.pacer.grant(key, rate, 1, horizon_seconds=max(0.0, until - monotonic()))
        if granted:
            await asyncio.sleep(max(0.0, granted[0] - monotonic()))
            return
        if monotonic() + PAUSE_SECONDS >= until:
            raise NoAnswer("no_budget", sent=False)
        await asyncio.sleep(PAUSE_SECONDS)
