"""The transactions of an account as a mirror node shows them, in order of consensus: what came in and what was sent back."""

import base64
import hashlib
import heapq
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from paystate.simulators.shelf import Window
from paystate.simulators.till import Account, Checkout, Refund, RefundStatus, Till, Transaction

PAYER, NODE, FEES, REWARDS = "0.0.700001", "0.0.5", "0.0.98", "0.0.800"
USDC, UNKNOWN_TOKEN = "0.0.456858", "0.0.999999"
NODE_FEE, NETWORK_FEE = 3_200, 81_450
FEE = NODE_FEE + NETWORK_FEE
NANOSECONDS = 1_000_000_000
STARTED_BEFORE = 5 * NANOSECONDS
"""So long before its consensus a transaction's own id begins."""

MICROSECOND, MILLISECOND = 1_000, 1_000_000
PAGES_LIMIT = 100_000
_TIMESTAMP = re.compile(r"[0-9]{1,11}\.[0-9]{9}\Z")


@dataclass(frozen=True, slots=True)
class Span:
    """Nanoseconds of ``start ≤ consensus < end``."""

    start: int = 0
    end: int = 2**63 - 1

    def __contains__(self, at: int) -> bool:
        return self.start <= at < self.end


@dataclass(frozen=True, slots=True)
class Transfer:
    """One transaction: less than zero left our account."""

    at: int
    account: str
    currency: str
    amount: int
    memo: str
    reward: int = 0

    @property
    def name(self) -> str:
        payer = PAYER if self.amount > 0 else self.account
        return f"{payer}-{timestamp(self.at - STARTED_BEFORE).replace('.', '-')}"


def timestamp(at: int) -> str:
    """Nanoseconds → ``"1760000010.123456789"``."""
    return f"{at // NANOSECONDS}.{at % NANOSECONDS:09d}"


def transfers(till: Till, account: Account, span: Span) -> Iterator[Transfer]:
    """Oldest first."""
    came = _in_order(_payments(till, account, span))
    went = _in_order(_refunds(till, account, span))
    return (t for t in heapq.merge(came, went, key=lambda t: t.at) if t.at in span)


def _in_order(found: Iterator[Transfer]) -> Iterator[Transfer]:
    """The till counts in milliseconds; inside of one the nanoseconds decide."""
    for _, same in groupby(found, key=lambda transfer: transfer.at // MILLISECOND):
        yield from sorted(same, key=lambda transfer: transfer.at)


def _payments(till: Till, account: Account, span: Span) -> Iterator[Transfer]:
    reward = int(account.extra.get("stakingReward", "0"))
    cursor: str | None = None
    for _ in range(PAGES_LIMIT):
        rows, cursor = till.state.transactions(account.id, _window(span, cursor))
        for paid in rows:
            found = till.state.transaction(account.id, paid.id)
            if found is not None and _arrived(found[0], account):
                yield _payment(account, paid, reward)
        if cursor is None:
            return


def _arrived(checkout: Checkout, account: Account) -> bool:
    """A forced outcome may have sent it to another account, where nobody here looks."""
    return checkout.account == account.id


def _refunds(till: Till, account: Account, span: Span) -> Iterator[Transfer]:
    cursor: str | None = None
    for _ in range(PAGES_LIMIT):
        rows, cursor = till.state.refunds.page(account.id, _window(span, cursor))
        for refund in rows:
            found = till.state.transaction(account.id, refund.transaction)
            if refund.status is RefundStatus.SUCCEEDED and found is not None:
                yield _refund(account, refund, found[1])
        if cursor is None:
            return


def _window(span: Span, cursor: str | None) -> Window:
    """In microseconds, wide enough for the milliseconds that the ends lie in."""
    return Window(span.start // MILLISECOND * 1_000, span.end // MICROSECOND + 1, cursor=cursor)


def _payment(account: Account, paid: Transaction, reward: int) -> Transfer:
    at = paid.paid_at * MICROSECOND + _nanoseconds(paid.id)
    return Transfer(at, account.id, paid.currency, paid.amount, paid.reference, reward)


def _refund(account: Account, refund: Refund, paid: Transaction) -> Transfer:
    at = refund.created_at * MICROSECOND + _nanoseconds(refund.id)
    return Transfer(at, account.id, refund.currency, -refund.amount, paid.reference)


def _nanoseconds(name: str) -> int:
    """What makes a time unique inside of its millisecond: the end of an id that is a time, else something of its own."""
    return (int(name[-6:]) if _TIMESTAMP.match(name) else zlib.crc32(name.encode())) % MILLISECOND


def row(transfer: Transfer) -> dict[str, Any]:
    """The shape of the mirror node (0.154.0)."""
    return {
        "batch_key": None,
        "bytes": None,
        "charged_tx_fee": FEE,
        "consensus_timestamp": timestamp(transfer.at),
        "entity_id": None,
        "high_volume": False,
        "max_custom_fees": [],
        "max_fee": "100000000",
        "memo_base64": base64.b64encode(transfer.memo.encode()).decode(),
        "name": "CRYPTOTRANSFER",
        "nft_transfers": [],
        "node": NODE,
        "nonce": 0,
        "parent_consensus_timestamp": None,
        "result": "SUCCESS",
        "scheduled": False,
        "staking_reward_transfers": [_reward(transfer)] if transfer.reward else [],
        "token_transfers": _token_transfers(transfer),
        "transaction_hash": base64.b64encode(hashlib.sha384(transfer.name.encode()).digest()).decode(),
        "transaction_id": transfer.name,
        "transfers": _hbar_transfers(transfer),
        "valid_duration_seconds": "120",
        "valid_start_timestamp": timestamp(transfer.at - STARTED_BEFORE),
    }


def _reward(transfer: Transfer) -> dict[str, Any]:
    return {"account": transfer.account, "amount": transfer.reward}


def _token_transfers(transfer: Transfer) -> list[dict[str, Any]]:
    if transfer.currency == "HBAR":
        return []
    token = USDC if transfer.currency == "USDC" else UNKNOWN_TOKEN
    sides = ((PAYER, -transfer.amount), (transfer.account, transfer.amount))
    return [{"token_id": token, **_entry(account, amount)} for account, amount in sides]


def _hbar_transfers(transfer: Transfer) -> list[dict[str, Any]]:
    """Fees are entries like any others, and whoever sends pays them."""
    sent = transfer.amount if transfer.currency == "HBAR" else 0
    sums = {NODE: NODE_FEE, FEES: NETWORK_FEE, REWARDS: -transfer.reward}
    sums |= {PAYER: -sent, transfer.account: sent + transfer.reward}
    sums[PAYER if transfer.amount > 0 else transfer.account] -= FEE
    return [_entry(account, amount) for account, amount in sums.items() if amount]


def _entry(account: str, amount: int) -> dict[str, Any]:
    return {"account": account, "amount": amount, "is_approval": False}
