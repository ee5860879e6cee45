"""Failpoints: silent unless set, exact in the pass they count, and on record before they act."""

import asyncio
import resource
import signal
import subprocess
import sys
import threading
import timeit
from concurrent.futures import ThreadPoolExecutor

import pytest

from paystate.kit.clock import monotonic
from paystate.machinery import failpoints
from paystate.machinery.failpoints import (
    FailpointHit,
    FailpointsInvalid,
    afailpoint,
    arm,
    declare,
    declared,
    failpoint,
)


@pytest.fixture(autouse=True)
def points(monkeypatch):
    """Two declared points, and nothing left armed afterwards."""
    monkeypatch.setattr(failpoints, "_declared", {})
    declare("sample.first", "between two steps of a test")
    declare("sample.second", "after them")
    yield
    arm(None)


def test_a_point_is_declared_once_with_its_meaning():
    assert declare("sample.third", "x") == "sample.third"
    assert declare("sample.third", "x") == "sample.third"
    assert list(declared()) == ["sample.first", "sample.second", "sample.third"]
    with pytest.raises(AssertionError, match="two meanings"):
        declare("sample.third", "y")
    for wrong in ("", "Third", "one", "a.b=c", "a. b"):
        with pytest.raises(AssertionError):
            declare(wrong, "x")


async def test_nothing_happens_unless_set():
    for nothing in (None, "", " ; "):
        arm(nothing)
        failpoint("sample.first")
        await afailpoint("sample.first")


def test_an_unset_point_costs_next_to_nothing():
    def empty(name: str) -> None:
        pass

    bare = min(timeit.repeat(lambda: empty("sample.first"), number=20_000, repeat=7))
    assert min(timeit.repeat(lambda: failpoint("sample.first"), number=20_000, repeat=7)) < 3 * bare


def test_raise_acts_at_every_pass_or_at_the_nth_only():
    arm("sample.first=raise;sample.second=raise@3")
    for _ in range(3):
        with pytest.raises(FailpointHit):
            failpoint("sample.first")
    failpoint("sample.second")
    failpoint("sample.second")
    with pytest.raises(FailpointHit, match=r"sample\.second"):
        failpoint("sample.second")
    failpoint("sample.second")


async def test_the_passes_of_both_colours_count_together():
    arm("sample.first=raise@2")
    failpoint("sample.first")
    with pytest.raises(FailpointHit):
        await afailpoint("sample.first")


def test_exactly_one_of_many_threads_is_hit():
    arm("sample.first=raise@50")
    hits = []
    ready = threading.Barrier(8)

    def passes() -> None:
        ready.wait(timeout=10)
        for _ in range(20):
            try:
                failpoint("sample.first")
            except FailpointHit:
                hits.append(1)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: passes(), range(8)))
    assert len(hits) == 1


def test_a_synchronous_sleep_blocks():
    arm("sample.first=sleep:0.1@1")
    started = monotonic()
    failpoint("sample.first")
    assert monotonic() - started >= 0.1


async def test_an_asynchronous_sleep_leaves_the_loop_free():
    arm("sample.first=sleep:30")
    sleeper = asyncio.create_task(afailpoint("sample.first"))
    done, pending = await asyncio.wait(
        [sleeper, asyncio.create_task(asyncio.sleep(0))], return_when="FIRST_COMPLETED"
    )
    assert sleeper in pending
    assert len(done) == 1
    sleeper.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeper


@pytest.mark.parametrize(
    "text",
    [
        "sample.unknown=kill", "sample.first", "sample.first=", "=kill", "sample.first=explode", "sample.first=kill@0",
        "sample.first=kill@-1", "sample.first=kill@x", "sample.first=kill@", "sample.first=sleep", "sample.first=sleep:",
        "sample.first=sleep:-1", "sample.first=sleep:99999", "sample.first=hog", "sample.first=exit:256",
        "sample.first=kill:3", "sample.first=raise:1", "sample.first=kill,sample.second=kill",
        "sample.first=kill;sample.first=raise", "sample.first=raise@1@2",
    ],
)  # fmt: skip
def test_a_setting_without_meaning_is_refused_and_changes_nothing(text):
    arm("sample.second=raise")
    with pytest.raises(FailpointsInvalid):
        arm(text)
    failpoint("sample.first")
    with pytest.raises(FailpointHit):
        failpoint("sample.second")


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(FailpointsInvalid, match=r"sample\.first, sample\.second"):
        arm("sample.frist=kill")


def test_a_point_in_the_code_must_be_declared():
    arm("sample.first=raise@9")
    with pytest.raises(AssertionError, match="not declared"):
        failpoint("sample.typo")


def test_what_fires_is_on_record_and_what_only_passes_is_not(tmp_path):
    log = tmp_path / "fired"
    arm("sample.first=raise@2;sample.second=sleep:0", log=log)
    failpoint("sample.first")
    assert not log.exists()
    with pytest.raises(FailpointHit):
        failpoint("sample.first")
    failpoint("sample.second")
    assert log.read_text() == "sample.first\nsample.second\n"


CHILD = """
import sys
from pathlib import Path
from paystate.machinery.failpoints import arm, declare, failpoint
point = declare("sample.first", "x")
arm(sys.argv[1], log=Path(sys.argv[2]))
for n in range(5):
    print(n, flush=True)
    failpoint(point)
print("survived", flush=True)
"""


def run(setting: str, log, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", CHILD, setting, str(log)],
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


@pytest.mark.parametrize(
    ("action", "code"),
    [("kill", -signal.SIGKILL), ("exit", 70), ("exit:3", 3)],
    ids=["kill", "exit", "exit:3"],
)
def test_a_process_ends_at_its_nth_pass_and_left_the_record(tmp_path, action, code):
    log = tmp_path / "fired"
    ended = run(f"sample.first={action}@3", log)
    assert ended.returncode == code
    assert ended.stdout == "0\n1\n2\n"
    assert log.read_text() == "sample.first\n"


def test_a_hog_takes_the_memory_it_was_told_to(tmp_path):
    def small() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (600 * 1024 * 1024,) * 2)

    assert "survived" in run("sample.first=hog:50@1", tmp_path / "a", preexec_fn=small).stdout
    starved = run("sample.first=hog:1024@1", tmp_path / "b", preexec_fn=small)
    assert "MemoryError" in starved.stderr
    assert (tmp_path / "b").read_text() == "sample.first\n"
