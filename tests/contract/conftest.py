"""Fixtures of the contract suite: a shop connected to the provider of the case."""

import pytest

from tests.contract.world import opened


@pytest.fixture
def extra():
    """What is set on the account at the provider; tests name another by a parameter."""
    return {}


@pytest.fixture
async def world(provider, extra, database_url, tmp_path, clock):
    """A shop that is connected to `provider`, on each kind of database."""
    async with opened(provider, database_url, tmp_path, clock, extra) as own:
        yield own
