"""Reads the books: balances, journals, the trial balance, and what a check of them finds.

On SQLite a journal counts once it is sealed; on PostgreSQL a journal that stands is balanced by its trigger.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa

from paystate.domain.ledger import model
from paystate.domain.ledger.rules import CHART, CREDIT, DEBIT, Entry, Journal, Side, account_id
from paystate.kit.clock import Instant
from paystate.kit.errors import NotFound
from paystate.kit.ids import MerchantId, System, Who
from paystate.kit.paging import Page, PageRequest, page_of
from paystate.machinery.db import Tx

MAX_FINDINGS = 1_000
"""Rows of one check; a book with more faults than this needs another remedy than a longer list."""


@dataclass(frozen=True, slots=True)
class AccountBalance:
    """A sub-account; `balance` is in minor units on the account's normal side."""

    id: str
    merchant_id: MerchantId
    code: str
    owner: str
    currency: str
    balance: int

    @property
    def name(self) -> str:
        return CHART[self.code].name


@dataclass(frozen=True, slots=True)
class PostedJournal:
    """A journal as it stands in the books."""

    id: str
    journal: Journal
    posted_at: Instant


@dataclass(frozen=True, slots=True)
class TrialLine:
    """All sub-accounts of one code and currency together: one of `debit` and `credit` is zero."""

    code: str
    name: str
    currency: str
    debit: int
    credit: int


@dataclass(frozen=True, slots=True)
class Drift:
    """An account whose cached balance is not the sum of its entries (invariant 2)."""

    account: AccountBalance
    entries_sum: int


def account_balance(tx: Tx, who: MerchantId, *, code: str, currency: str, owner: str = "") -> int:
    """The balance on the account's normal side; zero for an account nothing was posted to yet."""
    wanted = account_id(who, code, owner, currency)
    row = tx.first(sa.select(model.accounts.c.balance).where(model.accounts.c.id == wanted))
    return 0 if row is None else int(row[0])


def accounts(tx: Tx, who: Who, page: PageRequest, *, code: str | None = None) -> Page[AccountBalance]:
    """Sub-accounts in the order of the chart."""
    t = model.accounts.c
    order = (t.merchant_id, t.code, t.owner, t.currency)
    query = sa.select(*_ACCOUNT).where(_of(who, t.merchant_id)).order_by(*order).limit(page.limit + 1)
    if code is not None:
        query = query.where(t.code == code)
    if page.after is not None:
        last = tx.first(sa.select(*order).where(t.id == page.after, _of(who, t.merchant_id)))
        if last is None:
            raise NotFound("There is no such account.")
        query = query.where(sa.tuple_(*order) > sa.tuple_(*last))
    found = [AccountBalance(*row) for row in tx.rows(query)]
    return page_of(found, [account.id for account in found], page.limit)


def journals(
    tx: Tx, who: Who, page: PageRequest, *, kind: str | None = None, account: str | None = None
) -> Page[PostedJournal]:
    """Journals newest first; only those of a kind, or with an entry on the account of this id."""
    t = model.journals.c
    query = sa.select(model.journals).where(_of(who, t.merchant_id), _counted(tx, t.id))
    if kind is not None:
        query = query.where(t.kind == kind)
    if account is not None:
        e = model.entries.c
        query = query.where(t.id.in_(sa.select(e.journal_id).where(e.account_id == account)))
    if page.after is not None:
        query = query.where(t.id < page.after)
    found = _with_entries(tx, tx.rows(query.order_by(t.id.desc()).limit(page.limit + 1)))
    return page_of(found, [posted.id for posted in found], page.limit)


def find_journal(tx: Tx, who: Who, journal_id: str) -> PostedJournal:
    """One journal by its id. Raises NotFound."""
    t = model.journals.c
    rows = tx.rows(
        sa.select(model.journals).where(t.id == journal_id, _of(who, t.merchant_id), _counted(tx, t.id))
    )
    if not rows:
        raise NotFound("There is no such journal.")
    return _with_entries(tx, rows)[0]


def trial_balance(tx: Tx, who: Who) -> list[TrialLine]:
    """What every account holds, per currency; debits equal credits in each currency."""
    t = model.accounts.c
    total = sa.func.sum(t.balance)
    query = sa.select(t.code, t.currency, total).where(_of(who, t.merchant_id)).group_by(t.code, t.currency)
    return [
        _trial_line(code, currency, int(sum_))
        for code, currency, sum_ in tx.rows(query.order_by(t.code, t.currency))
    ]


def drifted_accounts(tx: Tx, who: Who) -> list[Drift]:
    """Accounts whose cached balance is not the sum of their entries; reads every entry."""
    a, e = model.accounts.c, model.entries.c
    counted = sa.and_(e.account_id == a.id, _counted(tx, e.journal_id))
    total = sa.func.coalesce(sa.func.sum(a.normal * e.side * e.amount), 0)
    query = (
        sa.select(*_ACCOUNT, total)
        .select_from(model.accounts.outerjoin(model.entries, counted))
        .where(_of(who, a.merchant_id))
        .group_by(*_ACCOUNT)
        .having(total != a.balance)
        .order_by(a.id)
        .limit(MAX_FINDINGS)
    )
    return [Drift(AccountBalance(*row[:-1]), int(row[-1])) for row in tx.rows(query)]


def unsound_journals(tx: Tx, who: Who) -> list[str]:
    """Ids of journals that do not balance, have no entries, or never got their seal; reads every entry."""
    j, e = model.journals.c, model.entries.c
    own = sa.select(sa.literal(1)).where(e.journal_id == j.id)
    uneven = own.group_by(e.currency).having(sa.func.sum(e.side * e.amount) != 0)
    fault = sa.or_(uneven.exists(), ~own.exists(), ~_counted(tx, j.id))
    query = sa.select(j.id).where(_of(who, j.merchant_id), fault).order_by(j.id).limit(MAX_FINDINGS)
    return [row[0] for row in tx.rows(query)]


_ACCOUNT = tuple(
    model.accounts.c[name] for name in ("id", "merchant_id", "code", "owner", "currency", "balance")
)


def _of(who: Who, merchant_id: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    return sa.true() if isinstance(who, System) else merchant_id == who


def _counted(tx: Tx, journal_id: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    if not tx.on_sqlite:
        return sa.true()
    return sa.select(sa.literal(1)).where(model.seals.c.journal_id == journal_id).exists()


def _trial_line(code: str, currency: str, balance: int) -> TrialLine:
    account = CHART[code]
    debits = account.normal * balance
    return TrialLine(code, account.name, currency, max(debits, 0), max(-debits, 0))


def _with_entries(tx: Tx, rows: Sequence[sa.Row[Any]]) -> list[PostedJournal]:
    entries = _entries_of(tx, [row.id for row in rows])
    return [
        PostedJournal(
            id=row.id,
            journal=Journal(
                merchant_id=row.merchant_id,
                kind=row.kind,
                key=row.key,
                description=row.description,
                tags=msgspec.json.decode(row.tags, type=dict[str, str]),
                effective_at=row.effective_at,
                entries=tuple(entries[row.id]),
                reverses_id=row.reverses_id,
            ),
            posted_at=row.posted_at,
        )
        for row in rows
    ]


def _entries_of(tx: Tx, journal_ids: Sequence[str]) -> Mapping[str, list[Entry]]:
    found: dict[str, list[Entry]] = {journal_id: [] for journal_id in journal_ids}
    e, a = model.entries.c, model.accounts.c
    query = (
        sa.select(e.journal_id, a.code, a.owner, e.currency, e.side, e.amount)
        .join_from(model.entries, model.accounts, e.account_id == a.id)
        .where(tx.any_of(e.journal_id, journal_ids, "journal_ids"))
        .order_by(e.journal_id, e.seq)
    )
    for journal_id, code, owner, currency, side, amount in tx.rows(query):
        found[journal_id].append(Entry(code, owner, currency, _side(side), amount))
    return found


def _side(side: int) -> Side:
    return DEBIT if side == DEBIT else CREDIT
