"""Connecting an account: the right credentials, wrong ones, and money that a provider does not take."""

import pytest

from paystate.domain import connections
from paystate.domain.payments.port import CheckoutOrder
from paystate.flows.add_connection import add_connection, check_connection
from paystate.kit.errors import Conflict, Refused
from paystate.kit.money import EXPONENTS, Money
from paystate.simulators import simulator_names
from tests.contract.found import (
    ADAPTERS,
    AMOUNT,
    DIALECTS,
    PROVIDERS,
    currencies,
    each,
    one_database,
    port_account,
    takes,
)

LINK = "https://shop.test/x"
WRONG = [(name, field) for name in PROVIDERS for field in DIALECTS[name].wrong_fields]


def test_every_adapter_is_under_this_contract() -> None:
    """An adapter without a simulator of its name would escape the whole suite."""
    assert set(ADAPTERS) <= set(simulator_names())
    assert set(PROVIDERS) == set(ADAPTERS)


@pytest.mark.parametrize("name", PROVIDERS)
def test_what_a_simulator_says_fits_the_adapter(name: str) -> None:
    adapter, dialect = ADAPTERS[name], DIALECTS[name]
    given = dialect.connection_fields(dialect.accounts[0])
    required = set(adapter.fields) - set(adapter.optional_fields)
    assert required <= set(given) <= set(adapter.fields)
    assert dialect.wrong_fields.keys() <= adapter.fields.keys()
    assert adapter.secret_fields | adapter.optional_fields.keys() <= adapter.fields.keys()
    assert all(reason for reason in dialect.untold.values())


@one_database
@each(PROVIDERS)
async def test_the_provider_says_whose_credentials_these_are(world) -> None:
    assert world.connection.account
    checked = await check_connection(world.app.ctx, world.id, world.connection.id)
    assert checked.problem is None
    assert checked.identity is not None
    assert (checked.identity.account, checked.identity.live) == (
        world.connection.account,
        world.connection.live,
    )
    assert world.connection.live == world.dialect.accounts[0].live
    sealed = {name for name in world.account.secrets if world.account.secrets[name]}
    assert not sealed & set(world.connection.settings)


@one_database
@pytest.mark.parametrize(("provider", "field"), WRONG)
async def test_wrong_credentials_name_the_field_and_what_was_answered(world, field: str) -> None:
    fields = (await world.sandbox.control("connection", method="GET"))["fields"]
    wrong = world.dialect.wrong_fields[field]
    with pytest.raises(Refused) as caught:
        await add_connection(
            world.app.ctx, world.id, world.name, fields | {field: wrong}, name="", actor="key:test"
        )
    assert caught.value.code == "credentials_refused"
    (error,) = caught.value.errors
    assert (error.pointer, error.code) == (f"/{field}", "refused")
    assert error.detail
    stored = await world.app.db.read(lambda tx: connections.active_for(tx, world.id))
    assert [one.id for one in stored] == [world.connection.id]


@pytest.mark.parametrize("name", PROVIDERS)
def test_what_it_does_not_take_is_refused_when_the_bytes_are_made(name: str) -> None:
    """`check` and `prepare` agree on every currency there is, and what is prepared carries our reference."""
    adapter, dialect = ADAPTERS[name], DIALECTS[name]
    account = port_account(adapter, dialect.connection_fields(dialect.accounts[0]))
    for currency in EXPONENTS:
        money = Money(AMOUNT, currency)
        order = CheckoutOrder("contract000000000000", money, "Tea", LINK, LINK, LINK, None)
        if takes(adapter, money):
            assert b"contract000000000000" in adapter.prepare(account, order)
            continue
        for refusing in (lambda: adapter.check(money), lambda: adapter.prepare(account, order)):  # noqa: B023
            with pytest.raises(Refused) as caught:
                refusing()
            assert caught.value.code == "currency_not_supported_by_provider", currency


@each([name for name in PROVIDERS if set(currencies(name)) != set(EXPONENTS)])
async def test_money_it_does_not_take_is_refused_before_any_call(world) -> None:
    before = await world.calls()
    foreign = next(c for c in EXPONENTS if c not in currencies(world.name))
    payment = await world.payment(currency=foreign)
    with pytest.raises(Refused) as caught:
        await world.checkout(payment)
    assert caught.value.code == "currency_not_supported_by_provider"
    assert await world.attempts(payment) == []
    assert await world.calls() == before


@each(PROVIDERS)
async def test_one_account_is_connected_once_unless_it_may_be_shared(world) -> None:
    """Else its money would belong to two merchants."""
    fields = (await world.sandbox.control("connection", method="GET"))["fields"]
    again = add_connection(world.app.ctx, world.id, world.name, fields, name="", actor="key:test")
    if world.connection.shared:
        assert (await again).account == world.connection.account
        return
    with pytest.raises(Conflict) as caught:
        await again
    assert caught.value.code == "account_connected"
