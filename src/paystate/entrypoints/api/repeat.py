"""A POST sent twice does its work once: the two shapes in which the API keeps an Idempotency-Key."""

from collections.abc import Awaitable, Callable

from paystate.entrypoints.api.guard import Call
from paystate.kit.ids import MerchantId
from paystate.machinery.db import Tx
from paystate.machinery.idempotency import Answer, Fresh, Stored, TakeOver, begin, finish, forget, once

Finish = Callable[[Tx], Answer]
"""Writes what is left to write and says what to answer, in the commit that keeps the key."""


async def write_once(call: Call, work: Finish) -> Stored:
    """A request that only writes: key, work and answer in one commit."""
    slot = call.slot()
    return await call.db.write(lambda tx: once(tx, slot, work))


async def act_once(
    call: Call, work: Callable[[], Awaitable[Finish]], *, owner: MerchantId | None = None
) -> Stored:
    """A request that asks somebody outside: the key is taken first, the answer kept with the last write.

    What `work` does is safe to do twice: after a crash in between, the retry does it again.
    """
    slot = call.slot(owner)
    if slot is None:
        last = await work()
        answer = await call.db.write(last)
        return Stored(answer.status, answer.body)
    begun = await call.db.write(lambda tx: begin(tx, slot))
    if isinstance(begun, Stored):
        return begun
    held: Fresh | TakeOver = begun
    try:
        last = await work()
        return await call.db.write(lambda tx: finish(tx, slot, last(tx)))
    except BaseException:
        await call.db.write(lambda tx: forget(tx, slot, held))
        raise
