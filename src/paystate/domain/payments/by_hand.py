"""What a person may decide about a payment, and what follows from it: pure rules."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from paystate.domain.payments.records import Payment, Received
from paystate.domain.payments.schedule import within_own_time
from paystate.domain.payments.states import State
from paystate.kit.clock import Instant
from paystate.kit.errors import Conflict, Refused, invalid

ENDS = (State.FAILED, State.CANCELED, State.EXPIRED)
"""Where a rejected payment may go."""


class Choice(StrEnum):
    """What a person says to a case."""

    ACCEPT = "ACCEPT"
    REJECT = "REJECT"
    REFUND = "REFUND"
    KEEP_WAITING = "KEEP_WAITING"
    NOTE = "NOTE"


@dataclass(frozen=True, slots=True)
class Ruling:
    """What to write: the moves in their order, which receipts settle the payment, which are to be given back.

    `matches`: the payment stays PAID as it is; what a person vouched for is now known as this receipt.
    """

    path: tuple[State, ...] = ()
    taken: tuple[Received, ...] = ()
    give_back: tuple[Received, ...] = ()
    matches: bool = False


def accept(payment: Payment, came: Sequence[Received], named: Sequence[str], own: str | None) -> Ruling:
    """The payment is paid: by the receipts that stand unapplied, or by a person's word where nothing came.

    `named` are the transactions the person chose, `own` the case's. Raises Refused `transaction_required`,
    `transaction_unknown`, `currencies_differ`, Conflict `invalid_state`.
    """
    usable = [r for r in came if r.disposition == "UNAPPLIED" and r.left > 0]
    taken = tuple(_chosen(payment, usable, named, own))
    if len({r.currency for r in taken}) > 1:
        raise Refused("These transactions are in different currencies.", code="currencies_differ")
    match payment.state:
        case State.REVIEW:
            return Ruling((State.PAID,), taken)
        case State.OPEN | State.PENDING_VERIFICATION | State.FAILED | State.EXPIRED | State.CANCELED:
            return Ruling((State.REVIEW, State.PAID), taken)
        case State.PAID if payment.resolved_by_hand and payment.transaction_id is None and taken:
            return Ruling(taken=_one_that_fits(payment, taken), matches=True)
        case State.PAID | State.DRAFT:
            raise Conflict(
                f"A payment that is {payment.state} cannot be accepted.", state=payment.state.value
            )


def reject(payment: Payment, before: State | None, to: State | None, now: Instant) -> Ruling:
    """The payment is not paid. Raises Conflict `invalid_state` unless it is in review."""
    if payment.state is not State.REVIEW:
        raise Conflict(
            "Only a payment in review can be rejected; cancel it instead.", state=payment.state.value
        )
    return Ruling((_end(payment, before, to, now),))


def give_back(
    payment: Payment,
    came: Sequence[Received],
    named: Sequence[str],
    own: str | None,
    end: tuple[State | None, State | None, Instant],
) -> Ruling:
    """Its money goes back, each receipt once; out of review it goes to `end` (before, asked for, now).

    A receipt whose refund is prepared already is left as it is. Raises Refused `nothing_to_refund`.
    """
    ours = [r for r in came if r.disposition != "FOREIGN"]
    chosen = _chosen(
        payment, ours if own or named else [r for r in ours if r.disposition == "UNAPPLIED"], named, own
    )
    if not chosen:
        raise Refused("Nothing was received that could be given back from here.", code="nothing_to_refund")
    path = (_end(payment, *end),) if payment.state is State.REVIEW else ()
    return Ruling(path, give_back=tuple(r for r in chosen if r.left > 0))


def note(payment: Payment | None, others_open: int) -> Ruling:
    """The case is answered and nothing moves. Raises Conflict where the payment would stay in review for ever."""
    if payment is not None and payment.state is State.REVIEW and not others_open:
        raise Conflict("The payment is in review: accept, reject or refund it.", state=payment.state.value)
    return Ruling()


def _chosen(
    payment: Payment, usable: Sequence[Received], named: Sequence[str], own: str | None
) -> list[Received]:
    """The named ones; else the case's own, all parts of one payment together; else the only one there is."""
    known = {r.transaction_id: r for r in usable}
    if named:
        if not set(named) <= set(known):
            raise Refused(
                "No such transaction stands unapplied for this payment.",
                code="transaction_unknown",
                available=sorted(known),
            )
        return [known[name] for name in dict.fromkeys(named)]
    if payment.partial and (own is None or own in known):
        return [r for r in usable if r.currency == payment.currency and r.disposition == "UNAPPLIED"]
    if own is not None:
        return [known[own]] if own in known else []
    if len(usable) > 1:
        raise Refused(
            "Several transactions came in: name those that are meant.",
            code="transaction_required",
            available=sorted(known),
        )
    return list(usable)


def _one_that_fits(payment: Payment, taken: tuple[Received, ...]) -> tuple[Received, ...]:
    if len(taken) > 1 or taken[0].currency != payment.currency or taken[0].left < payment.amount:
        raise Refused(
            "One transaction over at least this amount is needed in place of a person's word.",
            code="transaction_required",
        )
    return taken


def _end(payment: Payment, before: State | None, to: State | None, now: Instant) -> State:
    """As asked for; else where it came from, or what it would have become by itself."""
    if to is not None:
        if to not in ENDS:
            raise invalid("/to", "invalid_state", f"One of {', '.join(ENDS)} is expected.")
        return to
    if before in ENDS:
        return before
    if payment.cancel_requested_at is not None:
        return State.CANCELED
    return State.FAILED if within_own_time(payment, now) else State.EXPIRED
