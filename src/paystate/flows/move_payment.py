"""Moves payments: the move rows, the new states, and one event row for each move, in one commit."""

from collections.abc import Sequence

from paystate.domain import webhooks
from paystate.domain.payments import Patience, Payment, State, Step, moves
from paystate.domain.payments.states import EVENT_OF_MOVE
from paystate.domain.webhooks import NewEvent
from paystate.kit.ids import MerchantId, Who
from paystate.machinery.db import Tx

WATCHERS = "payments"
"""The channel on which pages and streams hear that some payment changed."""


def move_payments(tx: Tx, who: Who, steps: Sequence[Step], patience: Patience) -> list[Payment]:
    """Make the steps in their order; answers each payment as it stands after its step.

    Raises Conflict `invalid_state` for a move that is not in the published table.
    """
    reached = moves.move(tx, who, steps, patience)
    _record_events(tx, who, [(s.payment.state, p) for s, p in zip(steps, reached, strict=True)])
    return reached


def sweep_payments(
    tx: Tx, who: Who, locked: Sequence[Payment], to: State, *, actor: str, reason: str
) -> None:
    """Move many locked payments to one final state, each with its event, in a handful of statements."""
    moves.sweep(tx, who, locked, to, actor=actor, reason=reason)
    kind = EVENT_OF_MOVE[to][1]
    webhooks.record_events(
        tx,
        who,
        [
            NewEvent(
                MerchantId(p.merchant_id),
                kind,
                p.id,
                p.seq + 1,
                {"previous": p.state.value, "state": to.value},
            )
            for p in locked
        ],
    )
    tx.wake(WATCHERS)


def record_creation(tx: Tx, who: Who, payment: Payment) -> None:
    """The event of a payment's first state."""
    _record_events(tx, who, [(None, payment)])


def _record_events(tx: Tx, who: Who, changed: Sequence[tuple[State | None, Payment]]) -> None:
    webhooks.record_events(
        tx,
        who,
        [
            NewEvent(
                MerchantId(after.merchant_id),
                "payment.created" if before is None else EVENT_OF_MOVE[after.state][1],
                after.id,
                after.seq,
                {"previous": before.value if before else None, "state": after.state.value},
            )
            for before, after in changed
        ],
    )
    tx.wake(WATCHERS)
