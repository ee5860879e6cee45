"""Keeps one web and one worker process alive: `paystate serve` on PostgreSQL."""

import asyncio
import signal
import sys
from collections.abc import Callable, Sequence

from paystate.entrypoints.stopping import stopped_by_signals
from paystate.entrypoints.worker import GRACE_SECONDS, rest
from paystate.kit.clock import monotonic
from paystate.kit.errors import Unavailable
from paystate.machinery.logs import get_logger

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
SOUND_AFTER_SECONDS = 60.0
FAST_DEATHS = 5
"""A process that dies so often in a row soon after its start will not live; everything stops then."""

KILL_AFTER_SECONDS = GRACE_SECONDS + 5.0
log = get_logger(__name__)


def supervise(roles: Sequence[tuple[str, ...]], said: Callable[[str], None]) -> None:
    """Run `paystate` once in each role until SIGTERM or SIGINT. Raises Unavailable when one does not stay alive."""
    asyncio.run(_supervise(roles, said))


async def _supervise(roles: Sequence[tuple[str, ...]], said: Callable[[str], None]) -> None:
    stop = asyncio.Event()
    with stopped_by_signals(stop):
        kept = [asyncio.create_task(_keep_alive(role, stop)) for role in roles]
        said("")
        await asyncio.wait(kept, return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        await asyncio.wait(kept)
    for task in kept:
        task.result()


async def _keep_alive(role: tuple[str, ...], stop: asyncio.Event) -> None:
    pause, deaths = FIRST_PAUSE_SECONDS, 0
    while not stop.is_set():
        began = monotonic()
        code = await _one_life(role, stop)
        if stop.is_set():
            return
        log.error("process_ended", process=role[0], code=code)
        sound = monotonic() - began > SOUND_AFTER_SECONDS
        deaths = 1 if sound else deaths + 1
        if deaths >= FAST_DEATHS:
            raise Unavailable(
                f"The {role[0]} process ended {deaths} times soon after its start; see its log."
            )
        pause = FIRST_PAUSE_SECONDS if sound else min(pause * 2, LONGEST_PAUSE_SECONDS)
        await rest(stop, pause)


async def _one_life(role: tuple[str, ...], stop: asyncio.Event) -> int:
    """Start the process and wait for its end; a stop is passed on, and enforced after the grace."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "paystate", *role)
    ended = asyncio.create_task(process.wait())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            process.send_signal(signal.SIGTERM)
            _, alive = await asyncio.wait({ended}, timeout=KILL_AFTER_SECONDS)
            if alive:
                process.kill()
        return await ended
    finally:
        stopping.cancel()
