"""All SQL of what providers said: verifications, receipts, proofs, prepared refunds, kept intents."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from paystate.domain.payments.proof_model import (
    payment_intents,
    proof_parts,
    proofs,
    receipt_adoptions,
    receipts,
    refunds,
    verifications,
)
from paystate.domain.payments.records import Received, TransactionKey
from paystate.kit.clock import Instant
from paystate.kit.errors import NotFound
from paystate.kit.ids import System, Who
from paystate.machinery.db import Tx, bulk_insert, bulk_update

VERIFICATIONS_SHOWN = 200


class Verification(msgspec.Struct, frozen=True):
    """One act of asking and what was decided; `count` equal ones in a row share a row."""

    id: str
    attempt_id: str
    payment_id: str
    merchant_id: str
    trigger: str
    outcome: str
    decision: str
    detail: str
    amount: int | None
    currency: str | None
    raw_digest: str | None
    duration_us: int
    count: int
    first_at: Instant
    last_at: Instant


class Intent(msgspec.Struct, frozen=True):
    """A create that was refused because of a conflict, kept so that the customer can finish it in one step."""

    id: str
    merchant_id: str
    conflict_id: str
    body: str
    actor: str
    payment_id: str | None
    created_at: Instant
    expires_at: Instant


def add_verifications(
    tx: Tx, who: Who, fresh: Sequence[Mapping[str, Any]], repeated: Sequence[Mapping[str, Any]]
) -> None:
    """Log askings: new rows, and one more for those equal to the last row of their attempt."""
    del who
    bulk_insert(tx, verifications, list(fresh))
    bulk_update(tx, verifications, list(repeated), keys=["id"], add=["count"])


def verifications_of(tx: Tx, who: Who, payment_id: str) -> list[Verification]:
    """The verification log of a payment, newest first, at most 200 rows."""
    c = verifications.c
    columns = [c[name] for name in Verification.__struct_fields__]
    statement = sa.select(*columns).where(c.payment_id == payment_id)
    if not isinstance(who, System):
        statement = statement.where(c.merchant_id == who)
    return [Verification(*row) for row in tx.rows(statement.order_by(c.id.desc()).limit(VERIFICATIONS_SHOWN))]


def known_receipts(tx: Tx, who: System, keys: Sequence[TransactionKey]) -> dict[TransactionKey, Received]:
    """Which of these provider transactions were received already, and for which payment, if for any."""
    del who
    if not keys:
        return {}
    c = receipts.c
    by_account: dict[tuple[str, str, bool], list[str]] = {}
    for provider, account, live, transaction in sorted(set(keys)):
        by_account.setdefault((provider, account, live), []).append(transaction)
    # The whole key, so that its index answers however many receipts there are.
    known = [
        sa.and_(
            c.provider == provider,
            c.account == account,
            c.live == live,
            tx.any_of(c.transaction_id, transactions, f"transactions_{number}"),
        )
        for number, ((provider, account, live), transactions) in enumerate(by_account.items())
    ]
    found = [_received(row) for row in tx.rows(_RECEIVED.where(sa.or_(*known)))]
    return {one.key: one for one in found}


def receipts_of(tx: Tx, who: Who, payment_ids: Sequence[str]) -> list[Received]:
    """What came in for these payments, the adopted receipts too, oldest first; read under the payments' locks."""
    if not payment_ids:
        return []
    wanted = sorted(set(payment_ids))
    a = receipt_adoptions.c
    own = tx.any_of(receipts.c.payment_id, wanted, "own")
    adopted = receipts.c.id.in_(sa.select(a.receipt_id).where(tx.any_of(a.payment_id, wanted, "adopting")))
    statement = _RECEIVED.where(sa.or_(own, adopted))
    if not isinstance(who, System):
        statement = statement.where(receipts.c.merchant_id == who)
    return [_received(row) for row in tx.rows(statement.order_by(receipts.c.id))]


_GIVEN_BACK = (
    sa.select(sa.func.coalesce(sa.func.sum(refunds.c.amount), 0))
    .where(refunds.c.receipt_id == receipts.c.id, refunds.c.state != "FAILED")
    .correlate(receipts)
    .scalar_subquery()
)
_RECEIVED = sa.select(
    receipts.c.id,
    receipts.c.merchant_id,
    sa.func.coalesce(receipts.c.payment_id, receipt_adoptions.c.payment_id),
    receipts.c.payment_id.is_(None),
    *(receipts.c[n] for n in ("provider", "account", "live", "transaction_id", "amount", "currency")),
    *(receipts.c[n] for n in ("disposition", "reason", "provider_at")),
    _GIVEN_BACK,
).select_from(receipts.outerjoin(receipt_adoptions, receipt_adoptions.c.receipt_id == receipts.c.id))


def _received(row: Any) -> Received:
    values = list(row)
    values[3], values[6], values[13] = bool(values[3]), bool(values[6]), int(values[13])
    return Received(*values)


def adopt_receipts(tx: Tx, who: Who, rows: Sequence[Mapping[str, Any]]) -> None:
    """Give receipts that came without a payment to one, for ever; one that is adopted raises IntegrityError."""
    del who
    bulk_insert(tx, receipt_adoptions, list(rows))


def add_parts(tx: Tx, who: Who, rows: Sequence[Mapping[str, Any]]) -> None:
    """Name the earlier receipts that a proof counts; each is a part of one proof at most."""
    del who
    bulk_insert(tx, proof_parts, list(rows))


def add_receipts(tx: Tx, who: Who, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write receipts; a transaction that is known already raises IntegrityError."""
    del who
    bulk_insert(tx, receipts, list(rows))


def add_proofs(tx: Tx, who: Who, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write proofs; a payment or transaction that has one already raises IntegrityError (invariant 5)."""
    del who
    bulk_insert(tx, proofs, list(rows))


def proof_of(tx: Tx, who: Who, payment_id: str) -> Mapping[str, Any] | None:
    """The accepted proof of a payment."""
    statement = sa.select(proofs).where(proofs.c.payment_id == payment_id)
    if not isinstance(who, System):
        statement = statement.where(proofs.c.merchant_id == who)
    row = tx.first(statement)
    return None if row is None else dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it


def prepare_refunds(tx: Tx, who: Who, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write refunds as PREPARED: nothing is sent until a person or a policy says so."""
    del who
    bulk_insert(tx, refunds, list(rows))


def withdraw_refunds(tx: Tx, who: Who, receipt_ids: Sequence[str], reason: str) -> int:
    """End prepared refunds of which nothing was sent: their money was put to use after all."""
    c = refunds.c
    waiting = refunds.update().where(
        tx.any_of(c.receipt_id, sorted(receipt_ids), "receipts"), c.state == "PREPARED"
    )
    if not isinstance(who, System):
        waiting = waiting.where(c.merchant_id == who)
    return tx.execute(waiting.values(state="FAILED", reason=reason, updated_at=tx.now)).rowcount


def keep_intent(tx: Tx, who: Who, intent: Intent) -> None:
    """Keep a refused create."""
    del who
    tx.execute(payment_intents.insert(), [msgspec.structs.asdict(intent)])


def intent(tx: Tx, who: Who, intent_id: str, *, lock: bool = False) -> Intent:
    """A kept create by the random id in its action's URL. Raises NotFound."""
    columns = [payment_intents.c[name] for name in Intent.__struct_fields__]
    statement = sa.select(*columns).where(payment_intents.c.id == intent_id)
    if not isinstance(who, System):
        statement = statement.where(payment_intents.c.merchant_id == who)
    row = tx.first(statement.with_for_update() if lock else statement)
    if row is None:
        raise NotFound("This link is no longer valid.")
    return Intent(*row)


def finish_intent(tx: Tx, who: Who, intent_id: str, payment_id: str) -> None:
    """Remember what the kept create became, so that a second click leads to the same payment."""
    del who
    tx.execute(
        payment_intents.update().where(payment_intents.c.id == intent_id).values(payment_id=payment_id)
    )
