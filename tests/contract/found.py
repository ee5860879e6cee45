"""What is found in the folders, and what each simulator says of itself: there is no list of providers in these tests."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import pytest

from paystate.adapters.providers import load_providers
from paystate.domain.payments.port import Account, Provider, SendsWebhooks
from paystate.kit.clock import Clock, SystemClock
from paystate.kit.errors import Refused
from paystate.kit.money import EXPONENTS, Money
from paystate.machinery.http import Http
from paystate.simulators import simulator_names
from paystate.simulators.record_file import RecordFile
from paystate.simulators.running import create_provider
from paystate.simulators.stage import Stage
from paystate.simulators.till import Dialect, Till

AMOUNT = 12_350
"""More than any published minimum in every currency, and expressible in the units of each."""

ADAPTERS: dict[str, Provider] = load_providers(Http())
PROVIDERS = sorted(set(ADAPTERS) & set(simulator_names()))


def dialect_of(name: str, clock: Clock | None = None) -> Dialect:
    """The simulator's own way of speaking, not served: it signs as the simulator does, and says what it can."""
    till = create_provider(name, Stage(clock or SystemClock(), RecordFile(None)))
    assert isinstance(till, Till), f"the simulator {name} does not stand on the till"
    return till.dialect


DIALECTS = {name: dialect_of(name) for name in PROVIDERS}


def having(*capabilities: Any) -> list[str]:
    """Providers whose adapter has all of these capabilities."""
    return [name for name in PROVIDERS if all(isinstance(ADAPTERS[name], one) for one in capabilities)]


def lacking(capability: Any) -> list[str]:
    return [name for name in PROVIDERS if not isinstance(ADAPTERS[name], capability)]


def each(names: Iterable[str]) -> pytest.MarkDecorator:
    """``@each(PROVIDERS)``: the test runs once for each; the fixtures follow `provider`."""
    return pytest.mark.parametrize("provider", list(names))


def signing() -> pytest.MarkDecorator:
    """Every provider that signs, once for each generation of its signatures, with the account that uses it."""
    return pytest.mark.parametrize(
        ("provider", "extra"),
        [
            pytest.param(name, extra, id="-".join([name, *extra.values()]))
            for name in having(SendsWebhooks)
            for extra in DIALECTS[name].signed_with
        ],
    )


def port_account(adapter: Provider, fields: Mapping[str, str], **known: Any) -> Account:
    """An account as flows would hand it to this adapter; `known`: what the provider said of it."""
    secrets = {name: value for name, value in fields.items() if name in adapter.secret_fields}
    settings = {name: value for name, value in fields.items() if name not in adapter.secret_fields}
    whose = {"account": "", "live": False} | known
    return Account("con_1", **whose, settings=settings, secrets=secrets)


one_database = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For cases that only an adapter decides: the database would not see a difference."""


def takes(adapter: Provider, money: Money) -> bool:
    try:
        adapter.check(money)
    except Refused:
        return False
    return True


@cache
def currencies(name: str) -> list[str]:
    """What this provider takes, those with two decimals first."""
    return [c for c in _ORDER if takes(ADAPTERS[name], Money(AMOUNT, c))]


_ORDER = sorted(EXPONENTS, key=lambda c: (abs(EXPONENTS[c] - 2), c))
