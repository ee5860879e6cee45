"""Fixtures of the web's tests: a shop that is served over real sockets."""

import pytest
from tests import a
from tests.entrypoints.running_web import serving


@pytest.fixture
async def shop(database_url, tmp_path, clock):
    async with a.shop(database_url, tmp_path, clock) as opened:
        yield opened


@pytest.fixture
async def web(shop):
    """The shop on a free port, on each kind of database."""
    async with serving(shop) as running:
        yield running
