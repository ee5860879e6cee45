"""Fixtures of the journeys: a town on each kind of database."""

import pytest
from tests.journeys.town import town as opened


@pytest.fixture
async def town(database_url, tmp_path, clock):
    async with opened(database_url, tmp_path, clock) as here:
        yield here
