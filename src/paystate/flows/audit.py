"""The audit: each of the 22 invariants, read in one unmoving picture of the database while the engine runs.

Its SQL stands here and not in the rooms' stores, on purpose: it shares no code with what it judges, and most
invariants are about several rooms at once. One file per subject; each fault is a named SELECT that finds nothing
in a sound database. What is late or stuck is told apart from what is wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from paystate.domain.audit import ChainReport, verify_chain
from paystate.domain.payments import Patience
from paystate.flows import audit_goods, audit_money, audit_moves, audit_once, audit_tenants
from paystate.flows.audit_check import Checked, Finding, check, prepare
from paystate.flows.audit_liveness import check_liveness, storage_problems
from paystate.flows.audit_secrets import check_secrets, known_secrets
from paystate.flows.context import Context
from paystate.kit.clock import Instant, monotonic, rfc3339, rfc3339_or_none
from paystate.kit.ids import System
from paystate.machinery.db import Tx
from paystate.machinery.secrets import KeyRing

WHO = System("audit of the whole installation")

RULES = sorted(
    (
        *audit_money.INVARIANTS,
        *audit_goods.INVARIANTS,
        *audit_moves.INVARIANTS,
        *audit_once.INVARIANTS,
        *audit_tenants.INVARIANTS,
    ),
    key=lambda rule: rule.number or 0,
)


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found at one moment.

    `invariants` are safety: one entry for each, with the rows that break it. `liveness` is what waits for longer than
    it should. `chain` is the audit log's own, with its open tail; `storage` what SQLite says about its file.
    """

    at: Instant
    seconds: float
    invariants: Sequence[Checked]
    liveness: Sequence[Checked]
    chain: ChainReport
    storage: Sequence[str]

    @property
    def broken(self) -> list[int]:
        """Numbers of the invariants that do not hold."""
        return [checked.number for checked in self.invariants if checked.number and checked.count]

    @property
    def sound(self) -> bool:
        """Nothing is wrong: not with the invariants, the audit log's chain, or the storage."""
        return not self.broken and not self.chain.problems and not self.storage

    @property
    def stuck(self) -> int:
        """How many things wait for longer than they should."""
        return sum(checked.count for checked in self.liveness)

    def as_result(self) -> dict[str, Any]:
        """The report as JSON: for `--json`, the job's result and the dashboard."""
        return {
            "at": rfc3339(self.at),
            "seconds": round(self.seconds, 3),
            "sound": self.sound,
            "stuck": self.stuck,
            "invariants": [_told(checked) for checked in self.invariants],
            "liveness": [_told(checked) for checked in self.liveness],
            "chain": {
                "problems": list(self.chain.problems),
                "blocks": self.chain.blocks,
                "entries": self.chain.entries,
                "openTail": self.chain.open_tail,
                "openSince": rfc3339_or_none(self.chain.open_since),
                "unnumbered": self.chain.unnumbered,
                "head": self.chain.head,
            },
            "storage": list(self.storage),
        }


async def run_audit(ctx: Context) -> Report:
    """Check everything in one snapshot; writers go on meanwhile and are never waited for."""
    return await ctx.db.snapshot(partial(audit, keys=ctx.keys, patience=ctx.patience))


def audit(tx: Tx, *, keys: KeyRing | None = None, patience: Patience | None = None) -> Report:
    """The same inside `db.snapshot`. Without `keys`, connections' secrets are not looked for by their value."""
    started = monotonic()
    prepare(tx)
    known = known_secrets(tx, keys)
    invariants = [*(check(tx, rule) for rule in RULES), check_secrets(tx, known)]
    liveness = check_liveness(tx, patience or Patience(), known)
    chain = verify_chain(tx, WHO)
    storage = storage_problems(tx)
    return Report(tx.now, monotonic() - started, invariants, liveness, chain, storage)


def _told(checked: Checked) -> dict[str, Any]:
    number = {} if checked.number is None else {"number": checked.number}
    return number | {
        "name": checked.name,
        "count": checked.count,
        "rows": [_row(finding) for finding in checked.rows],
        "seconds": round(checked.seconds, 3),
    }


def _row(finding: Finding) -> dict[str, str]:
    return {"subject": finding.subject, "detail": finding.detail}
