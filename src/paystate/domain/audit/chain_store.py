"""All SQL of the hash chain over the audit log: blocks are closed, and checked from the first to the last."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Final

import sqlalchemy as sa

from paystate.domain.audit.model import audit_blocks, audit_log
from paystate.domain.audit.rules import BLOCK_COLUMNS, ENTRY_COLUMNS, GENESIS, seal
from paystate.domain.audit.store import lock_chain
from paystate.kit.clock import Instant
from paystate.kit.ids import System
from paystate.machinery.db import Tx, bulk_insert

BLOCK_LIMIT: Final = 5_000
"""Entries of one block at most."""

BLOCKS_A_READ: Final = 500
PROBLEM_LIMIT: Final = 100

_ENTRY = sa.select(*(audit_log.c[name] for name in ENTRY_COLUMNS))


@dataclass(frozen=True, slots=True)
class AuditBlock:
    """A sealed stretch of the log; `hash` is the head of the chain while the block is the last one."""

    id: int
    first_position: int
    last_position: int
    previous_hash: str
    hash: str
    closed_at: Instant

    @property
    def sealed(self) -> tuple[Any, ...]:
        """The columns that the block's own hash covers."""
        return tuple(getattr(self, name) for name in BLOCK_COLUMNS)


_START: Final = AuditBlock(0, 0, 0, "", GENESIS, Instant(0))


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What a check found.

    `entries` are sealed, in `blocks`; `open_tail` are numbered and not sealed yet, the oldest written at `open_since`
    (older than a few minutes: nobody closes blocks, or somebody removed one); `unnumbered` are newer still.
    """

    problems: tuple[str, ...]
    blocks: int
    entries: int
    open_tail: int
    open_since: Instant | None
    unnumbered: int
    head: str


def chain_head(tx: Tx, who: System) -> AuditBlock | None:  # noqa: ARG001 - the chain is the installation's
    """The last block. Exported daily to another place, its hash also proves that no block was cut off."""
    row = tx.first(sa.select(audit_blocks).order_by(audit_blocks.c.id.desc()).limit(1))
    return None if row is None else AuditBlock(*row)


def close_block(tx: Tx, who: System, *, older_than: int) -> AuditBlock | None:
    """Seal the numbered entries after the last block once the oldest of them is `older_than` microseconds old.

    None when there is nothing to seal yet. A block takes BLOCK_LIMIT entries; the caller comes again until None.
    """
    lock_chain(tx, who)
    last = chain_head(tx, who) or _START
    entries = _entries(tx, last.last_position + 1, None)
    if not entries or tx.now - min(entry.at for entry in entries) < older_than:
        return None
    body = (last.id + 1, entries[0].position, entries[-1].position, last.hash, tx.now)
    block = AuditBlock(*body[:4], seal(last.hash, entries, body), tx.now)
    bulk_insert(tx, audit_blocks, [dict(zip(audit_blocks.c.keys(), astuple(block), strict=True))])
    return block


def verify_chain(tx: Tx, who: System, *, exported: Mapping[int, str] | None = None) -> ChainReport:
    """Recompute the whole chain and name what does not fit, at most PROBLEM_LIMIT problems; run it in a snapshot.

    `exported` holds block → hash as they were exported earlier: whoever cuts off or rewrites the end of the chain,
    last blocks and all, is found by it and, without it, only by `open_since`.
    """
    expected, last = dict(exported or {}), _START
    problems: list[str] = []
    for block in _blocks(tx):
        problems += _faults(last, block, _entries(tx, block.first_position, block.last_position))
        if expected.pop(block.id, block.hash) != block.hash:
            problems.append(f"block {block.id} is not the one that was exported")
        last = block
    problems += [f"block {missing} was exported and is gone" for missing in sorted(expected)]
    tail = _open_tail(tx, who, last)
    problems += _tail_faults(tail, last)
    return ChainReport(
        problems=tuple(problems[:PROBLEM_LIMIT]),
        blocks=last.id,
        entries=last.last_position,
        open_tail=tail.entries,
        open_since=tail.since,
        unnumbered=tail.unnumbered,
        head=last.hash,
    )


def _faults(before: AuditBlock, block: AuditBlock, entries: Sequence[sa.Row[Any]]) -> list[str]:
    """What is wrong with one block, given the one before it."""
    name = f"block {block.id} (entries {block.first_position} to {block.last_position})"
    faults = []
    if block.id != before.id + 1:
        faults.append(f"{name} comes right after block {before.id}")
    if block.previous_hash != before.hash:
        faults.append(f"{name} does not continue the hash before it")
    if block.first_position != before.last_position + 1:
        faults.append(f"{name} does not start after entry {before.last_position}")
    if len(entries) != block.last_position - block.first_position + 1:
        faults.append(f"{name} holds {len(entries)} entries")
    if seal(block.previous_hash, entries, block.sealed) != block.hash:
        faults.append(f"{name} was changed: it or its entries do not give its hash")
    return faults


def _open_tail(tx: Tx, who: System, last: AuditBlock) -> sa.Row[Any]:  # noqa: ARG001
    """What no block covers yet."""
    position = audit_log.c.position
    after = position > last.last_position
    counted = sa.select(
        sa.func.count().filter(after).label("entries"),
        sa.func.min(audit_log.c.at).filter(after).label("since"),
        sa.func.coalesce(sa.func.max(position).filter(after), last.last_position).label("highest"),
        sa.func.count().filter(position.is_(None)).label("unnumbered"),
        sa.func.count().filter(position < 1).label("below"),
    ).select_from(audit_log)
    return tx.execute(counted).one()


def _tail_faults(tail: sa.Row[Any], last: AuditBlock) -> list[str]:
    """Positions of the tail must follow the last block without a gap."""
    faults = []
    if tail.highest - last.last_position != tail.entries:
        faults.append(f"entries are missing between {last.last_position} and {tail.highest}")
    if tail.below:
        faults.append(f"{tail.below} entries stand before the first position")
    return faults


def _blocks(tx: Tx) -> Iterator[AuditBlock]:
    done = 0
    while True:
        statement = sa.select(audit_blocks).where(audit_blocks.c.id > done).order_by(audit_blocks.c.id)
        found = [AuditBlock(*row) for row in tx.rows(statement.limit(BLOCKS_A_READ))]
        yield from found
        if len(found) < BLOCKS_A_READ:
            return
        done = found[-1].id


def _entries(tx: Tx, first: int, last: int | None) -> Sequence[sa.Row[Any]]:
    """Entries by position; one more than a block may hold when there are too many of them."""
    statement = _ENTRY.where(audit_log.c.position >= first)
    if last is None:
        return tx.rows(statement.order_by(audit_log.c.position).limit(BLOCK_LIMIT))
    return tx.rows(
        statement.where(audit_log.c.position <= last).order_by(audit_log.c.position).limit(BLOCK_LIMIT + 1)
    )
