"""The budget of a connection is used for questions, and never for places that stay empty."""

import pytest
from tests import a

from paystate.kit.clock import SECOND, monotonic


@pytest.fixture
async def shop(database_url, tmp_path, clock):
    async with a.shop(database_url, tmp_path, clock, sandbox_provider_rate=1) as opened:
        yield opened


async def test_one_due_attempt_uses_up_one_call(shop, clock) -> None:
    """With a call a second, the next one may go out a second later, however many places are free."""
    await shop.opened()
    clock.advance(5 * SECOND)
    await shop.look()
    assert (await shop.sandbox.objects())["calls"]["ask"] == 1
    [next_call] = await shop.app.ctx.pacer.grant(shop.connection.id, 1, 1)
    assert next_call - monotonic() <= 1.0
