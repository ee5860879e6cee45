"""Published signatures: the simulator makes exactly these, and the adapter accepts these and nothing near them."""

from dataclasses import replace

import pytest
from msgspec.structs import replace as changed

from paystate.domain.payments.port import Account, SendsWebhooks, SignatureInvalid
from paystate.kit.clock import SECOND, FrozenClock, Instant
from paystate.simulators.till import Vector
from tests.contract.found import ADAPTERS, DIALECTS, dialect_of, having, port_account
from tests.contract.world import lower

SIGNERS = [name for name in having(SendsWebhooks) if DIALECTS[name].signed_with]
VECTORS = [
    pytest.param(name, vector, id=f"{name}-{number}")
    for name in SIGNERS
    for number, vector in enumerate(DIALECTS[name].vectors)
]


def account(name: str, secret: str) -> Account:
    """The simulator's first account, with this secret for whatever signs."""
    dialect, adapter = DIALECTS[name], ADAPTERS[name]
    owner = changed(dialect.accounts[0], webhook_secret=secret, keys=(secret,))
    return port_account(adapter, dialect.connection_fields(owner))


def read(name: str, vector: Vector, *, late: int = 0, secret: str | None = None):
    adapter = ADAPTERS[name]
    assert isinstance(adapter, SendsWebhooks)
    now = Instant((vector.at_seconds + late) * SECOND)
    owner = account(name, vector.secret if secret is None else secret)
    return adapter.read_webhook(owner, lower(vector.headers), vector.body, now=now)


@pytest.mark.parametrize("name", SIGNERS)
def test_whoever_signs_brings_a_vector(name: str) -> None:
    """For the sandbox, which nobody else has, its own documents are the only ones."""
    assert DIALECTS[name].vectors or DIALECTS[name].brand == DIALECTS["sandbox"].brand


@pytest.mark.parametrize(("name", "vector"), VECTORS)
def test_the_simulator_signs_as_published(name: str, vector: Vector) -> None:
    dialect = dialect_of(name, FrozenClock(Instant(vector.at_seconds * SECOND)))
    assert vector.headers.items() <= dict(dialect.sign(vector.secret, vector.body, "evt")).items()


@pytest.mark.parametrize(("name", "vector"), VECTORS)
def test_the_adapter_accepts_what_is_published(name: str, vector: Vector) -> None:
    assert read(name, vector).authentic
    assert read(name, vector, late=299).authentic


@pytest.mark.parametrize(("name", "vector"), VECTORS)
def test_the_adapter_refuses_what_is_near_it(name: str, vector: Vector) -> None:
    for secret in ("", "whsec_of_nobody", vector.secret + "x", vector.secret[:-1]):
        with pytest.raises(SignatureInvalid):
            read(name, vector, secret=secret)
    for headers in ({}, {key: value + "0" for key, value in vector.headers.items()}):
        unsigned = replace(vector, headers=headers)
        if not headers and DIALECTS[name].sends_unsigned:
            assert not read(name, unsigned).authentic
            continue
        with pytest.raises(SignatureInvalid):
            read(name, unsigned)


@pytest.mark.parametrize(("name", "vector"), VECTORS)
def test_body_and_time_count_where_the_provider_signs_them(name: str, vector: Vector) -> None:
    def signature(body: bytes, late: int) -> dict[str, str]:
        dialect = dialect_of(name, FrozenClock(Instant((vector.at_seconds + late) * SECOND)))
        return dict(dialect.sign(vector.secret, body, "evt"))

    genuine = signature(vector.body, 0)
    longer = vector.body[:-1] + b" " + vector.body[-1:]
    cases = (
        (replace(vector, body=longer), 0, signature(longer, 0) != genuine),
        (vector, 301, signature(vector.body, 301) != genuine),
        (vector, -301, vector.at_seconds > 0 and signature(vector.body, -301) != genuine),
    )
    for case, late, covered in cases:
        if covered:
            with pytest.raises(SignatureInvalid):
                read(name, case, late=late)
        else:
            assert read(name, case, late=max(late, 0)).authentic
