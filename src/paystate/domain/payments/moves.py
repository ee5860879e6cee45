"""The one place where a payment's state changes: a move row and the new state, in one commit."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from paystate.domain.payments.model import payment_moves, payments
from paystate.domain.payments.records import Payment
from paystate.domain.payments.schedule import Patience, due_at
from paystate.domain.payments.states import EVENT_OF_MOVE, MOVES, SLOTLESS, State
from paystate.kit.errors import Conflict
from paystate.kit.ids import Who
from paystate.machinery.db import Tx, bulk_insert, bulk_update

_MUTABLE = (
    "state", "seq", "version", "slot_key", "expires_at", "stale_at", "due_at", "opened_at", "pending_since",
    "cancel_requested_at", "review_reason", "late", "partial", "over", "duplicate", "resolved_by_hand",
    "payment_method", "transaction_id", "transaction_at", "transaction_amount", "transaction_currency",
    "last_event_type", "last_event_at", "updated_at",
)  # fmt: skip


class Step(msgspec.Struct, frozen=True):
    """A move to make: on a payment read under its lock, to a state, with other columns that change along."""

    payment: Payment
    to: State
    actor: str
    reason: str
    attempt_id: str | None = None
    changes: Mapping[str, Any] = {}


def refuse_unpublished(payment: Payment, to: State) -> None:
    """Raise Conflict `invalid_state` unless the table of moves has this one."""
    if (payment.state, to) not in MOVES:
        raise Conflict(f"A payment that is {payment.state} cannot become {to}.")


def after(step: Step, now: int, patience: Patience) -> Payment:
    """The payment as it stands after the step; pure."""
    refuse_unpublished(step.payment, step.to)
    return _after(step, now, patience)


def _after(step: Step, now: int, patience: Patience) -> Payment:
    payment = step.payment
    pending_since = now if step.to is State.PENDING_VERIFICATION else None
    changed = msgspec.structs.replace(
        payment,
        state=step.to,
        seq=payment.seq + 1,
        version=payment.version + 1,
        pending_since=pending_since,
        last_event_type=EVENT_OF_MOVE[step.to][0],
        last_event_at=now,
        updated_at=now,
        **step.changes,
    )
    return msgspec.structs.replace(
        changed,
        slot_key=_slot_after(payment, changed),
        due_at=due_at(changed, step.to, changed.pending_since, patience),
    )


def _slot_after(before: Payment, changed: Payment) -> str | None:
    """Taken at open and retry, kept in review when it was held, never taken by late moves."""
    if changed.state in SLOTLESS or changed.cancel_requested_at is not None:
        return None
    if changed.state is State.OPEN:
        return before.slot
    return before.slot_key


def move(tx: Tx, who: Who, steps: Sequence[Step], patience: Patience) -> list[Payment]:
    """Make the steps as one set, in their order; several steps of one payment follow each other.

    Answers the payments as they stand after each step. Raises Conflict for a move that is not published.
    """
    del who
    done = [after(step, tx.now, patience) for step in steps]
    bulk_insert(tx, payment_moves, [_move_row(tx, s, p) for s, p in zip(steps, done, strict=True)])
    last = {p.id: p for p in done}
    bulk_update(tx, payments, [_state_row(p) for p in last.values()], keys=["id"])
    return done


def _move_row(tx: Tx, step: Step, reached: Payment) -> dict[str, Any]:
    before = step.payment
    return {
        "payment_id": before.id,
        "seq": reached.seq,
        "prev_seq": before.seq,
        "from_state": before.state.value,
        "to_state": reached.state.value,
        "merchant_id": before.merchant_id,
        "actor": step.actor,
        "reason": step.reason,
        "attempt_id": step.attempt_id,
        "commit_id": tx.id,
        "at": tx.now,
    }


def _state_row(payment: Payment) -> dict[str, Any]:
    row = {name: getattr(payment, name) for name in _MUTABLE}
    row["state"] = payment.state.value
    row["id"] = payment.id
    return row


def insert(tx: Tx, who: Who, payment: Payment, *, actor: str) -> None:
    """Write a new payment with its first move. A slot or reference that is taken raises IntegrityError."""
    del who
    bulk_insert(
        tx,
        payment_moves,
        [
            {
                "payment_id": payment.id,
                "seq": 1,
                "prev_seq": None,
                "from_state": None,
                "to_state": payment.state.value,
                "merchant_id": payment.merchant_id,
                "actor": actor,
                "reason": "created",
                "attempt_id": None,
                "commit_id": tx.id,
                "at": tx.now,
            }
        ],
    )
    tx.execute(payments.insert(), [msgspec.structs.asdict(payment) | {"state": payment.state.value}])


_SWEPT = sa.text(
    "INSERT INTO payment_moves "
    "(payment_id, seq, prev_seq, from_state, to_state, merchant_id, actor, reason, attempt_id, commit_id, at) "
    "SELECT id, seq + 1, seq, state, :to, merchant_id, :actor, :reason, NULL, :commit, :now "
    "FROM payments WHERE id {match}"
)
_SWEPT_STATE = (
    "UPDATE payments SET state = :to, seq = seq + 1, version = version + 1, slot_key = NULL, due_at = NULL, "
    "pending_since = NULL, last_event_type = :word, last_event_at = :now, updated_at = :now WHERE id {match}"
)


def sweep(tx: Tx, who: Who, locked: Sequence[Payment], to: State, *, actor: str, reason: str) -> None:
    """Move many locked payments to one slotless final state in two statements (A7: ten thousands at a time)."""
    del who
    for payment in locked:
        refuse_unpublished(payment, to)
    if to not in SLOTLESS:
        raise AssertionError("only for states that hold no slot and run no clock")
    values = {
        "to": to.value,
        "actor": actor,
        "reason": reason,
        "commit": tx.id,
        "now": tx.now,
        "word": EVENT_OF_MOVE[to][0],
        "ids": [p.id for p in locked],
    }
    match = "IN :ids" if tx.on_sqlite else "= ANY(:ids)"
    for statement in (_SWEPT.text, _SWEPT_STATE):
        text = sa.text(statement.format(match=match))
        tx.execute(text.bindparams(sa.bindparam("ids", expanding=True)) if tx.on_sqlite else text, values)
