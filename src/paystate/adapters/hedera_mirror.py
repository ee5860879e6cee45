"""What a page of a Hedera mirror node says about one account: which asset came in or left, when, and with which memo.

Shapes: Hedera mirror node REST 0.154.0, `/api/v1/transactions`.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from paystate.domain.payments.port import NoAnswer
from paystate.kit.clock import SECOND, Instant

DETAIL_LIMIT = 40
_TIMESTAMP = re.compile(r"([0-9]{1,11})(?:\.([0-9]{1,9}))?\Z")


class _Transfer(msgspec.Struct):
    account: str
    amount: int


class _TokenTransfer(msgspec.Struct):
    account: str
    amount: int
    token_id: str


class _Transaction(msgspec.Struct):
    consensus_timestamp: str
    transaction_id: str
    result: str
    transfers: list[_Transfer]
    token_transfers: list[_TokenTransfer] = []
    staking_reward_transfers: list[_Transfer] = []
    charged_tx_fee: int = 0
    memo_base64: str | None = None


class _Links(msgspec.Struct):
    next: str | None = None


class Page(msgspec.Struct):
    """One answer; `links.next` is the path of the next one, which may come after an empty page too."""

    transactions: list[_Transaction]
    links: _Links


read_page = msgspec.json.Decoder(Page).decode


@dataclass(frozen=True, slots=True)
class Movement:
    """What one transaction did to the account in one asset: more than zero came, less went out.

    `odd`: why this is no plain money of ours: a token that is not known, or a result that is not SUCCESS.
    """

    at: str
    memo: str
    asset: str
    change: int
    digest: str
    odd: str = ""


def movements(ours: str, tokens: Mapping[str, str], page: Page, digest: str) -> list[Movement]:
    """Every change of our account on the page, by time. `tokens`: the asset of each token id that we know."""
    found = []
    for row in page.transactions:
        refused = "" if row.result == "SUCCESS" else row.result[:DETAIL_LIMIT]
        for asset, change in _changes(ours, tokens, row).items():
            odd = refused or ("" if asset else "another_token")
            if change != 0:
                found.append(
                    Movement(row.consensus_timestamp, _memo(row.memo_base64), asset, change, digest, odd)
                )
    return sorted(found, key=lambda m: consensus_time(m.at))


def _changes(ours: str, tokens: Mapping[str, str], row: _Transaction) -> dict[str, int]:
    """Units per asset; "" stands for every token that we do not know.

    Only our own entry counts: all others are fees and other people's. A staking reward may come inside of anything, and
    the fee of what we sent ourselves is no money that anybody got back.
    """
    hbar = sum(t.amount for t in row.transfers if t.account == ours)
    hbar -= sum(t.amount for t in row.staking_reward_transfers if t.account == ours)
    if row.transaction_id.partition("-")[0] == ours:
        hbar += row.charged_tx_fee
    changes = {"HBAR": hbar}
    for token in row.token_transfers:
        if token.account == ours:
            asset = tokens.get(token.token_id, "")
            changes[asset] = changes.get(asset, 0) + token.amount
    return changes


def _memo(encoded: str | None) -> str:
    """As text, stripped and without letter case: our references have none, and wallets change it."""
    try:
        return base64.b64decode(encoded or "").decode("utf-8", "ignore").strip().casefold()
    except (binascii.Error, ValueError):
        return ""


def consensus_time(timestamp: str) -> tuple[int, int]:
    """``"1760000010.123456789"`` → seconds and nanoseconds, which order as numbers. Raises NoAnswer for no time."""
    match = _TIMESTAMP.match(timestamp)
    if match is None:
        raise NoAnswer("unreadable")
    return int(match.group(1)), int((match.group(2) or "").ljust(9, "0"))


def instant_of(timestamp: str) -> Instant:
    """The time of consensus, to the microsecond."""
    seconds, nanoseconds = consensus_time(timestamp)
    return Instant(seconds * SECOND + nanoseconds // 1_000)


def timestamp_of(at: Instant) -> str:
    """The instant as the mirror node writes it."""
    return f"{at // SECOND}.{at % SECOND * 1_000:09d}"
