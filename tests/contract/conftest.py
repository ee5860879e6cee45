"""Fixtures of the contract suite: a shop connected to the provider of the case."""

import pytest

from tests.contract.world import opened


@pytest.fixture
async def world(provider, database_url, tmp_path, clock):
    """A shop that is connected to `provider`, on each kind of database."""
    async with opened(provider, database_url, tmp_path, clock) as own:
        yield own
