"""Numbers committed events and audit entries in one order, and seals the audit log block by block."""

from functools import partial

from paystate.domain import audit, webhooks
from paystate.flows.context import Context
from paystate.kit.clock import SECOND
from paystate.kit.ids import System
from paystate.machinery.db import Tx

WHO = System("numbering after the commit")
BLOCK_AGE = 45 * SECOND
"""A block is closed within 60 s of its oldest entry; the loop looks at least every ten."""

MAX_ROUNDS = 1_000


async def number_rows(ctx: Context) -> int:
    """Number what waits, and close the audit blocks that are old enough; answers how many rows were numbered."""
    total = 0
    for _ in range(MAX_ROUNDS):
        events, entries = await ctx.db.write(_number)
        total += events + entries
        if events < webhooks.store.NUMBER_LIMIT and entries < audit.store.NUMBER_LIMIT:
            break
    for _ in range(MAX_ROUNDS):
        if await ctx.db.write(partial(audit.close_block, who=WHO, older_than=BLOCK_AGE)) is None:
            break
    return total


def _number(tx: Tx) -> tuple[int, int]:
    return webhooks.number_events(tx, WHO), audit.number_entries(tx, WHO)
