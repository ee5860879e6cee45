"""Verifies many payments at once by reading a provider's list: one call answers up to a hundred of them."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from paystate.domain import access
from paystate.domain.connections import Connection
from paystate.domain.payments import attempt_store
from paystate.domain.payments.port import Account, Listed, Lists, NoAnswer, Verdict, able
from paystate.flows.apply_answers import apply_answers
from paystate.flows.ask_provider import answered
from paystate.flows.claim_attempts import WHO, Due, PageNames, claim_listed
from paystate.flows.context import Context
from paystate.flows.keep_budgets import take_turn
from paystate.flows.keep_tokens import with_account
from paystate.flows.settle_payment import Settled
from paystate.kit.clock import DAY, MINUTE, SECOND, Instant
from paystate.machinery.db import Tx
from paystate.machinery.logs import get_logger

LIST_GAP = 10 * SECOND
"""Between the end of a pass and the next one: what it did not answer is asked one by one meanwhile."""

USELESS_GAP = 10 * MINUTE
"""After a pass that answered next to nothing."""

WINDOW = 2 * DAY
"""No older attempts are looked for in lists: the pages between would cost more than they answer."""

OVERLAP = 60 * SECOND
PAGES_LIMIT = 1_000
PAGES_BEFORE_JUDGING = 20
PAGE_SECONDS = 10.0
LEASE = 60 * SECOND
TURN_SECONDS = 30.0

log = get_logger(__name__)
Report = Callable[[Sequence[Settled]], None]


def list_soon(ctx: Context, due: Due, now: int) -> bool:
    """Whether a pass over the provider's list should begin: it has one, much is due, and nobody just read it."""
    least, read = ctx.settings.verify_list_from, due.listing
    if not 0 < least <= due.attempts or (read is not None and (read.busy or read.not_before > now)):
        return False
    return able(ctx.providers.get(due.connection.provider), Lists) is not None


async def verify_by_list(ctx: Context, connection: Connection, batch: int, report: Report) -> int:
    """Read the list of one connection over a window that stands still, and settle what it names.

    A missing row never is an answer: what no page names stays due and is asked singly. Answers how many were
    answered; 0 when somebody else has the turn.
    """
    provider = ctx.provider(connection.provider)
    if not isinstance(provider, Lists):
        return 0
    turn = await ctx.db.write(lambda tx: access.begin_listing(tx, WHO, connection, LEASE))
    if turn is None:
        return 0
    reading = _Reading(ctx, connection, provider, turn, batch, report)
    try:
        await reading.read()
    finally:
        gap = USELESS_GAP if reading.useless else LIST_GAP
        await ctx.db.write(partial(_end, connection.id, turn, gap))
    return reading.found


def _end(connection_id: str, turn: int, gap: int, tx: Tx) -> None:
    access.end_listing(tx, WHO, connection_id, turn, not_before=Instant(tx.now + gap))


def _window(connection_id: str, tx: Tx) -> tuple[Instant, Instant] | None:
    """From just before the oldest due attempt to now; what is made later is not looked for in this pass."""
    oldest = attempt_store.oldest_due(tx, WHO, connection_id, since=Instant(tx.now - WINDOW))
    return None if oldest is None else (Instant(oldest - OVERLAP), tx.now)


@dataclass(slots=True)
class _Reading:
    """One pass over one connection's list."""

    ctx: Context
    connection: Connection
    provider: Lists
    turn: int
    batch: int
    report: Report
    found: int = 0
    useless: bool = False
    """Hardly anything was found: the next pass can wait."""

    async def read(self) -> None:
        """Page by page, until the end of the window or until it is not worth its calls."""
        window = await self.ctx.db.read(partial(_window, self.connection.id))
        if window is None:
            return
        cursor: str | None = None
        for number in range(1, PAGES_LIMIT + 1):
            before = await self._next_turn()
            page = None if before is None else await self._page(*window, cursor)
            if before is None or page is None:
                return
            await self._settle(page.verdicts, before)
            self.useless = self.found < number
            cursor = page.next_cursor
            if cursor is None or (self.useless and number >= PAGES_BEFORE_JUDGING):
                log.info("list_read", connection_id=self.connection.id, pages=number, found=self.found)
                return

    async def _next_turn(self) -> Instant | None:
        """Wait for the budget, keep the turn; the time before the page is asked for, or None when that fails."""
        try:
            await take_turn(self.ctx, self.connection, TURN_SECONDS)
        except NoAnswer:
            return None

        def keep(tx: Tx) -> Instant | None:
            kept = access.keep_listing(tx, WHO, self.connection.id, self.turn, LEASE)
            return tx.now if kept else None

        return await self.ctx.db.write(keep)

    async def _page(self, since: Instant, until: Instant, cursor: str | None) -> Listed | None:
        """One page; None when there is none: the attempts are asked singly, and judge the provider themselves."""

        async def call(account: Account) -> Listed:
            return await self.provider.list_checkouts(account, since=since, until=until, cursor=cursor)

        try:
            async with asyncio.timeout(PAGE_SECONDS):
                return await with_account(self.ctx, self.connection, call)
        except (NoAnswer, TimeoutError) as error:
            reason = getattr(error, "reason", "timeout")
            log.warning("list_page_missing", connection_id=self.connection.id, reason=reason)
            return None

    async def _settle(self, verdicts: Sequence[Verdict], before: Instant) -> None:
        """Apply what a page says about attempts that are due; foreign objects and those named twice are left alone."""
        times = Counter(v.reference for v in verdicts)
        single = {v.reference: v for v in verdicts if v.reference and times[v.reference] == 1}
        unnamed = {v.checkout_id: v for v in verdicts if v.checkout_id is not None and not v.reference}
        if not single and not unnamed:
            return
        names = PageNames(self.connection.id, list(single), list(unnamed), before)
        claims = await self.ctx.db.write(partial(claim_listed, names, self.ctx.patience.lease))
        asked = [
            answered(c, single.get(c.attempt.provider_reference) or unnamed[c.attempt.checkout_id or ""])
            for c in claims
        ]
        self.found += len(asked)
        for start in range(0, len(asked), self.batch):
            self.report(await apply_answers(self.ctx, asked[start : start + self.batch]))
