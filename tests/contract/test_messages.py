"""Webhooks: genuine ones once and in any order, forged ones never, and none is believed."""

from collections.abc import Mapping

from paystate.domain.payments import State
from paystate.domain.payments.port import SendsWebhooks
from paystate.kit.clock import SECOND, FrozenClock, Instant
from tests.contract.found import DIALECTS, dialect_of, each, having, signing
from tests.contract.post_office import Letter

WAITS = (State.OPEN, State.PENDING_VERIFICATION)
TOO_OLD = 301 * SECOND
ORDERS = ("decline", "process", "pay")
UNSIGNED = [name for name in having(SendsWebhooks) if DIALECTS[name].sends_unsigned]


async def a_paid_one(world):
    """A payment that was paid, its attempt, and the letter that says so, not delivered yet."""
    payment, attempt = await world.at_the_till()
    await world.sandbox.outcome(attempt, "pay")
    letters = await world.collected()
    return payment, await world.attempt(payment), letters[-1]


def about_another(letter: Letter, attempt, other) -> bytes:
    """The same words about another payment."""
    body = letter.body.replace(attempt.provider_reference.encode(), other.provider_reference.encode())
    if attempt.checkout_id and other.checkout_id:
        body = body.replace(attempt.checkout_id.encode(), other.checkout_id.encode())
    return body


class Signer:
    """Signs as the provider does, with any secret, at any time."""

    def __init__(self, world, letter: Letter) -> None:
        self.world, self.letter = world, letter
        account = world.dialect.accounts[0]
        self.secret = world.dialect.signing_secret(account)

    def signed(self, body: bytes = b"", *, secret: str | None = None, late: int = 0) -> dict[str, str]:
        clock = FrozenClock(Instant(self.world.clock.now() + late))
        dialect = dialect_of(self.world.name, clock)
        fresh = dialect.sign(self.secret if secret is None else secret, body or self.letter.body, "")
        return {**self.letter.headers, **fresh}

    @property
    def own(self) -> dict[str, str]:
        """The headers that are the signature."""
        made = self.world.dialect.sign(self.secret, self.letter.body, "")
        return {name: value for name, value in made.items() if name != "Content-Type"}

    def without(self) -> dict[str, str]:
        return {name: value for name, value in self.letter.headers.items() if name not in self.own}

    def broken(self) -> dict[str, str]:
        """The last letter of each signature is another one."""
        wrong = {name: value[:-1] + ("0" if value[-1] != "0" else "1") for name, value in self.own.items()}
        return {**self.signed(), **wrong}

    def covers(self, changed: Mapping[str, str]) -> bool:
        """Whether a signature made for what was changed is another one than the genuine."""
        return dict(changed) != self.signed()


@signing()
async def test_a_signed_letter_is_kept_and_only_asks_for_a_look(world) -> None:
    payment, _, letter = await a_paid_one(world)
    assert (await world.send(letter))[0] == 200
    assert await world.state(payment) in WAITS
    await world.nothing_is_proved()
    events = await world.rows("SELECT authentic, state FROM provider_events")
    assert [(bool(event["authentic"]), event["state"]) for event in events] == [(True, "HANDLED")]
    await world.looked()
    await world.is_paid_once(payment)


@signing()
async def test_what_is_not_signed_rightly_is_refused_and_changes_nothing(world) -> None:
    payment, attempt, letter = await a_paid_one(world)
    other, _ = await world.at_the_till()
    before = [await world.now(payment), await world.now(other)]
    signer = Signer(world, letter)
    assert signer.own.keys() <= letter.headers.keys()
    forged = about_another(letter, attempt, await world.attempt(other))
    wrong = {
        "a wrong secret": signer.signed(secret="whsec_of_nobody"),
        "another account's secret": signer.signed(secret=signer.secret + "_of_another"),
        "an empty secret": signer.signed(secret=""),
        "one letter changed": signer.broken(),
        "an empty signature": {**signer.signed(), **dict.fromkeys(signer.own, "")},
    }
    for what, headers in wrong.items():
        assert await world.send(letter, headers=headers) == (401, "signature_invalid"), what
        assert await world.send(letter, body=forged, headers=headers) == (401, "signature_invalid"), what
    assert await world.rows("SELECT id FROM provider_events") == []
    assert [await world.now(payment), await world.now(other)] == before
    assert {a.hint_no for p in (payment, other) for a in await world.attempts(p)} == {0}


@signing()
async def test_what_a_signature_covers_is_refused_when_it_was_changed(world) -> None:
    """Body and time; what this provider's signature does not cover is taken as a hint, and believed as little as any."""
    _, attempt, letter = await a_paid_one(world)
    other, _ = await world.at_the_till()
    signer = Signer(world, letter)
    forged = about_another(letter, attempt, await world.attempt(other))
    changes = {
        "another body": (forged, signer.signed(), signer.covers(signer.signed(forged))),
        "old": (letter.body, signer.signed(late=-TOO_OLD), signer.covers(signer.signed(late=-TOO_OLD))),
        "from later": (letter.body, signer.signed(late=TOO_OLD), signer.covers(signer.signed(late=TOO_OLD))),
        "no signature": (forged, signer.without(), not world.dialect.sends_unsigned),
    }
    for what, (body, headers, covered) in changes.items():
        status, code = await world.send(letter, body=body, headers=headers)
        assert (status, code) == ((401, "signature_invalid") if covered else (200, "")), what
    await world.looked()
    assert await world.state(other) in WAITS
    assert await world.rows(f"SELECT payment_id FROM proofs WHERE payment_id = '{other.id}'") == []
    accepted = sum(not covered for _, _, covered in changes.values())
    assert len(await world.rows("SELECT id FROM provider_events")) <= accepted


@each(UNSIGNED)
async def test_an_unsigned_letter_is_a_hint_that_moves_nothing(world) -> None:
    """Anybody can write one: it makes us look, and what we see decides."""
    payment, attempt, letter = await a_paid_one(world)
    other, _ = await world.at_the_till()
    forged = about_another(letter, attempt, await world.attempt(other))
    assert await world.send(letter, body=forged) == (200, "")
    assert await world.state(other) is State.OPEN
    await world.looked()
    assert await world.state(other) is State.OPEN
    assert [bool(e["authentic"]) for e in await world.rows("SELECT authentic FROM provider_events")] == [
        False
    ]
    assert await world.send(letter) == (200, "")
    await world.looked()
    await world.is_paid_once(payment)


@each(having(SendsWebhooks))
async def test_letters_that_repeat_and_overtake_each_other_prove_once(world) -> None:
    payment, attempt = await world.at_the_till()
    for outcome in ORDERS:
        await world.sandbox.outcome(attempt, outcome)
    letters = await world.collected()
    for letter in [*reversed(letters), *letters, *letters]:
        assert (await world.send(letter))[0] == 200
        await world.looked(1)
    await world.is_paid_once(payment)
    told = await world.rows("SELECT type FROM events WHERE type = 'payment.paid'")
    assert len(told) == 1
    stored = await world.rows("SELECT deliveries FROM provider_events")
    assert len(stored) <= len(letters)
    assert sum(row["deliveries"] for row in stored) == 3 * len(letters)


@each(having(SendsWebhooks))
async def test_junk_that_is_rightly_addressed_asks_nobody(world) -> None:
    """Refused; or, where genuine letters are unsigned too, set aside as naming nothing."""
    payment, _ = await world.at_the_till()
    before, taken = await world.calls(), 0
    for body in (b"", b"junk", b"{}", b"[]", b"\xff\xfe\x00", b"null", b"=&=", b'{"data":{"object":17}}'):
        status, _ = await world.send(Letter("", {"Content-Type": "application/json"}, body))
        assert status in (400, 401) or (status == 200 and world.dialect.sends_unsigned), body
        taken += status == 200
    kept = await world.rows("SELECT state FROM provider_events")
    assert [row["state"] for row in kept] == ["IGNORED"] * taken
    assert await world.calls() == before
    assert (await world.attempt(payment)).hint_no == 0
