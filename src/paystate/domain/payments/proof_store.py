"""All SQL of what providers said: verifications, receipts, proofs, prepared refunds, kept intents."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from paystate.domain.payments.proof_model import payment_intents, proofs, receipts, refunds, verifications
from paystate.kit.clock import Instant
from paystate.kit.errors import NotFound
from paystate.kit.ids import System, Who
from paystate.machinery.db import Tx, bulk_insert, bulk_update

VERIFICATIONS_SHOWN = 200
TransactionKey = tuple[str, str, bool, str]
"""(provider, account, live, provider's transaction id)"""


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


def owners_of_receipts(
    tx: Tx, who: System, keys: Sequence[TransactionKey]
) -> dict[TransactionKey, str | None]:
    """The payment each of these provider transactions was received for, where it is known already."""
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
    found = tx.rows(
        sa.select(c.provider, c.account, c.live, c.transaction_id, c.payment_id).where(sa.or_(*known))
    )
    return {(row.provider, row.account, bool(row.live), row.transaction_id): row.payment_id for row in found}


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
