"""What a correct journal is: the chart of accounts, entries that balance per currency, and how one is undone."""

import base64
import hashlib
from collections.abc import Mapping
from typing import Literal

import msgspec

from paystate.kit.clock import Instant
from paystate.kit.errors import Refused
from paystate.kit.ids import MerchantId
from paystate.kit.money import EXPONENTS, MAX_AMOUNT, Money

MIN_ENTRIES, MAX_ENTRIES = 2, 100

Side = Literal[1, -1]
DEBIT: Literal[1] = 1
CREDIT: Literal[-1] = -1


_BASE32_TO_CROCKFORD = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "0123456789abcdefghjkmnpqrstvwxyz")

_json = msgspec.json.Encoder(order="deterministic").encode


class Account(msgspec.Struct, frozen=True):
    """One line of the chart.

    `has_owner`: one sub-account per owner or connection. `floored`: its balance never goes below zero.
    `must_clear`: it returns to zero, and what stays open is watched by its age.
    """

    code: str
    name: str
    normal: Side
    has_owner: bool = False
    floored: bool = False
    must_clear: bool = False


_ACCOUNTS = (
    Account("1010", "Bank operating", DEBIT, has_owner=True),
    Account("1020", "Bank client money", DEBIT, has_owner=True),
    Account("1100", "Provider clearing", DEBIT, has_owner=True),
    Account("1110", "Payouts in transit", DEBIT, has_owner=True, must_clear=True),
    Account("1120", "Disputed funds", DEBIT, has_owner=True, must_clear=True),
    Account("1150", "Crypto operating", DEBIT, has_owner=True),
    Account("1160", "Crypto deposit", DEBIT, has_owner=True),
    Account("1200", "Accounts receivable", DEBIT, has_owner=True),
    Account("1210", "Due from payees", DEBIT, has_owner=True),
    Account("1990", "Reconciliation suspense", DEBIT, must_clear=True),
    Account("2010", "Customer funds unallocated", CREDIT, has_owner=True, must_clear=True),
    Account("2100", "Escrow held", CREDIT, has_owner=True, floored=True),
    Account("2110", "Escrow frozen", CREDIT, has_owner=True),
    Account("2200", "Wallet available", CREDIT, has_owner=True, floored=True),
    Account("2220", "Wallet payouts in flight", CREDIT, has_owner=True, must_clear=True),
    Account("2300", "Unapplied cash", CREDIT, has_owner=True),
    Account("2305", "Unidentified receipts", CREDIT, must_clear=True),
    Account("2310", "Customer credit", CREDIT, has_owner=True),
    Account("2320", "Refunds payable", CREDIT, must_clear=True),
    Account("2500", "Sales tax payable", CREDIT),
    Account("3000", "Opening and retained", CREDIT),
    # Either side is normal for asset trading; its balance is shown as a debit.
    Account("3900", "Asset trading", DEBIT, has_owner=True),
    Account("4000", "Sales", CREDIT),
    Account("4010", "Refunds", DEBIT),
    Account("4100", "Commission", CREDIT),
    Account("4900", "Realised FX and crypto gain", CREDIT),
    Account("5100", "Provider fees", DEBIT, has_owner=True),
    Account("5110", "Network fees", DEBIT),
    Account("5120", "Payout fees", DEBIT),
    Account("5200", "Dispute fees", DEBIT),
    Account("5210", "Chargeback losses", DEBIT),
    Account("5300", "Rounding and tolerance", DEBIT),
    Account("5400", "Realised FX and crypto loss", DEBIT),
)

CHART: Mapping[str, Account] = {account.code: account for account in _ACCOUNTS}
"""Every account there is, by code."""


# Structs instead of dataclasses: posting makes thousands at a time, and their bytes are what is hashed.
class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One line of a journal: an amount in minor units on one side of an account; owner "" where it has none."""

    code: str
    owner: str
    currency: str
    side: Side
    amount: int


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """A fact to be booked whole or not at all; `key` makes it once per merchant."""

    merchant_id: MerchantId
    kind: str
    key: str
    description: str
    tags: Mapping[str, str]
    effective_at: Instant
    entries: tuple[Entry, ...]
    reverses_id: str | None = None


def debit(code: str, money: Money, *, owner: str = "") -> Entry:
    """The money on the left side of the account."""
    return Entry(code, owner, money.currency, DEBIT, money.amount)


def credit(code: str, money: Money, *, owner: str = "") -> Entry:
    """The money on the right side of the account."""
    return Entry(code, owner, money.currency, CREDIT, money.amount)


def check_balanced(journal: Journal) -> None:
    """Raise Refused `ledger_unbalanced` unless debits equal credits in each currency and every amount is one."""
    sums: dict[str, int] = {}
    for entry in journal.entries:
        amount = entry.amount
        if amount.__class__ is not int or not 0 < amount <= MAX_AMOUNT or entry.side not in (1, -1):
            raise _unbalanced(journal, "Each entry is a debit or credit of a whole amount from 1 to 10^15.")
        sums[entry.currency] = sums.get(entry.currency, 0) + entry.side * amount
    if not MIN_ENTRIES <= len(journal.entries) <= MAX_ENTRIES:
        raise _unbalanced(journal, f"A journal has {MIN_ENTRIES} to {MAX_ENTRIES} entries.")
    if any(sums.values()):
        raise _unbalanced(journal, "Debits and credits differ.")


def account_of(code: str, owner: str, currency: str) -> Account:
    """The chart's line for an entry. Raises Refused for an unknown code or currency, a missing or needless owner."""
    account = CHART.get(code)
    if account is None:
        raise Refused("The chart has no such account.", account=code)
    if account.has_owner != bool(owner):
        verb = "needs" if account.has_owner else "has no"
        raise Refused(f"The account {verb} owner.", account=code)
    if currency not in EXPONENTS:
        raise Refused("The currency is not known.", account=code)
    return account


def account_id(merchant_id: MerchantId, code: str, owner: str, currency: str) -> str:
    """The id of a sub-account follows from its name, so that a batch need not look it up."""
    digest = hashlib.sha256("\0".join((merchant_id, code, owner, currency)).encode()).digest()[:20]
    # Two zero bits in front: 128 bits in 26 characters, the shape of every other id.
    text = base64.b32encode(bytes([digest[0] & 0x3F]) + digest[1:]).decode()
    return f"lac_{text[:26].translate(_BASE32_TO_CROCKFORD)}"


def tags_text(journal: Journal) -> str:
    """The tags as they are stored: equal tags are equal text."""
    return _json(journal.tags).decode()


def input_hash(journal: Journal, tags: str) -> str:
    """What must be equal when a key comes again: everything but the time, which a retry may read anew."""
    said = (journal.kind, journal.description, tags, journal.reverses_id, journal.entries)
    return hashlib.sha256(_json(said)).hexdigest()


def reversal_of(journal: Journal, *, journal_id: str, reason: str, effective_at: Instant) -> Journal:
    """The journal that undoes a posted one: the same accounts and amounts on the other side."""
    return Journal(
        merchant_id=journal.merchant_id,
        kind="reversal",
        key=f"journal:{journal_id}:reversed",
        description=reason,
        tags=journal.tags,
        effective_at=effective_at,
        entries=tuple(_other_side(entry) for entry in journal.entries),
        reverses_id=journal_id,
    )


def _other_side(entry: Entry) -> Entry:
    side = CREDIT if entry.side == DEBIT else DEBIT
    return Entry(entry.code, entry.owner, entry.currency, side, entry.amount)


def _unbalanced(journal: Journal, detail: str) -> Refused:
    return Refused(detail, code="ledger_unbalanced", key=journal.key)
