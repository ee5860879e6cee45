"""Fixtures of the fault tests: an installation at work, with people at its door."""

from pathlib import Path

import pytest
from tests.faults.customers import Customers
from tests.faults.processes import installation


@pytest.fixture
async def people(database_url: str, tmp_path: Path):
    """Nothing runs yet; `people.shop.add(...)` and `start()` are the test's own."""
    async with installation(database_url, tmp_path) as shop, Customers(shop) as customers:
        yield customers
