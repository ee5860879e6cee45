"""Audit: who did what and why, numbered after the commit and sealed into a chain of hashes."""

from paystate.domain.audit.chain_store import (
    AuditBlock,
    ChainReport,
    chain_head,
    close_block,
    verify_chain,
)
from paystate.domain.audit.store import (
    AuditEntry,
    AuditRecord,
    list_entries,
    number_entries,
    record,
)

__all__ = [
    "AuditBlock",
    "AuditEntry",
    "AuditRecord",
    "ChainReport",
    "chain_head",
    "close_block",
    "list_entries",
    "number_entries",
    "record",
    "verify_chain",
]
