"""The demo tells the main story on a real server, and cannot tell it when it is not true."""

import time

import pytest
from tests.entrypoints.command import environment, paystate

from paystate.entrypoints.cli.demo import scene
from paystate.entrypoints.cli.demo.cast import CASTS
from paystate.entrypoints.cli.demo.narrator import Narrator
from paystate.entrypoints.cli.demo.stage import Stage
from paystate.entrypoints.cli.demo.telling import tell_story
from paystate.simulators import simulator_names

LIMIT_SECONDS = 90


@pytest.mark.timeout(150)
async def test_the_demo_ends_with_zero_within_its_time(tmp_path) -> None:
    foreign = environment(
        database_url="postgresql://nobody@127.0.0.1:1/never", failpoints="payment.created=kill"
    )
    began = time.monotonic()
    told = await paystate("demo", "--data-dir", str(tmp_path / "demo"), env=foreign)
    assert told.code == 0, told.out + told.err
    assert time.monotonic() - began < LIMIT_SECONDS
    assert "PAYSTATE_ALLOW_PRIVATE_ADDRESSES" in told.out
    assert "All 9 chapters hold" in told.out
    assert told.out.count("→") == 9
    assert not (tmp_path / "demo" / "server.json").exists()


@pytest.mark.timeout(150)
@pytest.mark.parametrize(
    ("provider", "chapters"),
    [("stripe", 7), ("sumup", 7), ("paystack", 7), ("flutterwave", 7), ("netcash", 7), ("hedera", 6)],
)
async def test_every_provider_has_its_story(tmp_path, provider, chapters) -> None:
    told = await paystate(
        "demo", "--provider", provider, "--data-dir", str(tmp_path / "demo"), env=environment()
    )
    assert told.code == 0, told.out + told.err
    assert f"All {chapters} chapters hold" in told.out
    assert told.out.count("→") == chapters
    assert "The audit" in told.out


def test_the_cast_is_of_providers_that_exist() -> None:
    assert set(CASTS) <= set(simulator_names())


async def test_other_providers_are_refused() -> None:
    refused = await paystate("demo", "--provider", "nobody", env=environment())
    assert refused.code == 2


def test_a_story_that_is_not_true_ends_at_the_first_fact_that_differs(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(scene, "SOON_SECONDS", 2.0)
    with Stage(tmp_path, "sandbox") as stage:
        stage.simulator.post("/_control/faults", {"operation": "ask", "kind": "outage"})
        chapters, ok = tell_story(stage, Narrator(silent=True))
    assert ok is False
    assert [chapter["ok"] for chapter in chapters] == [False]
    assert "PAID" in chapters[0]["problem"]
