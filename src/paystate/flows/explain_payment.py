"""Explains a payment: one sentence why it is in its state, then the evidence that sentence stands on."""

from dataclasses import dataclass
from typing import Any

from paystate.domain import access, cases, connections
from paystate.domain.access import Breaker
from paystate.domain.cases import Case, CaseState
from paystate.domain.connections import Connection, ConnectionState
from paystate.domain.payments import Attempt, Payment, State, Verification, attempt_store, proof_store, store
from paystate.domain.payments.states import OFFERED, AttemptState, valid_transitions
from paystate.domain.payments.store import Move
from paystate.flows.context import Context
from paystate.kit.clock import Instant, rfc3339, rfc3339_or_none
from paystate.kit.ids import System, Who
from paystate.kit.money import major_units
from paystate.kit.paging import PageRequest
from paystate.machinery.db import Tx

SHOWN = 20
CASES_TOLD = 3
LINES = System("how the providers of an explained payment are doing")


@dataclass(frozen=True, slots=True)
class Line:
    """A connection at which a checkout of the payment may still be paid, and its breaker when it is down."""

    connection: Connection
    breaker: Breaker | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that is known about one payment: moves oldest first, verifications and cases newest first."""

    payment: Payment
    moves: list[Move]
    attempts: list[Attempt]
    verifications: list[Verification]
    cases: list[Case]
    lines: list[Line]
    now: Instant


async def explain_payment(ctx: Context, who: Who, id_or_code: str) -> dict[str, Any]:
    """`sentence`, `next` (what will happen by itself), and the evidence. Raises NotFound."""

    def gather(tx: Tx) -> Evidence:
        payment = store.find_link(tx, who, id_or_code)
        found = cases.list_cases(tx, who, PageRequest(limit=SHOWN), payment_id=payment.id)
        attempts = attempt_store.of_payments(tx, who, [payment.id])
        return Evidence(
            payment=payment,
            moves=store.moves_of(tx, who, payment.id),
            attempts=attempts,
            lines=_lines(tx, attempts),
            now=tx.now,
            verifications=proof_store.verifications_of(tx, who, payment.id)[:SHOWN],
            cases=list(found.rows),
        )

    evidence = await ctx.db.read(gather)
    return {
        "id": evidence.payment.id,
        "state": evidence.payment.state.value,
        "sentence": sentence_of(evidence),
        "next": next_of(evidence),
        "validTransitions": [state.value for state in valid_transitions(evidence.payment.state)],
        "evidence": _as_json(evidence),
    }


def _lines(tx: Tx, attempts: list[Attempt]) -> list[Line]:
    open_at = sorted({a.connection_id for a in attempts if a.next_check_at is not None})
    broken = access.breakers(tx, LINES)
    known = connections.get_many(tx, LINES, open_at)
    return [Line(known[i], broken.get(i)) for i in open_at]


def sentence_of(evidence: Evidence) -> str:
    """Why the payment is in its state."""
    payment, last = evidence.payment, evidence.moves[-1]
    since, why = rfc3339(last.at), _words(last.reason)
    match payment.state:
        case State.DRAFT:
            return "It is a draft; nobody can pay it until it is opened."
        case State.OPEN:
            amount = f"{payment.currency} {major_units(payment.amount, payment.currency)}"
            return f"It waits for {amount} since {since}; {_attempts_in_words(evidence)}."
        case State.PENDING_VERIFICATION:
            return (
                f"Since {since} ({why}) it waits for the provider's own word; {_last_answer(evidence)}. "
                "Nothing is issued before."
            )
        case State.PAID if _by_person(evidence):
            return f"It is PAID since {since} by the decision of {last.actor}: {_reason_given(evidence)}."
        case State.PAID:
            return (
                f"It is PAID since {since}: {payment.payment_method} proved transaction {payment.transaction_id} "
                f"over {_received(payment)}."
            )
        case State.FAILED | State.EXPIRED | State.CANCELED if _by_person(evidence):
            decided = _reason_given(evidence)
            return f"It is {payment.state.value} since {since} by the decision of {last.actor}: {decided}."
        case State.FAILED:
            return f"Its last checkout failed for good at {since}; a new checkout opens it again."
        case State.EXPIRED | State.CANCELED:
            ended = f"It is {payment.state.value} since {since} by {last.actor}: {why}"
            return f"{ended}; {_attempts_in_words(evidence)}."
        case State.REVIEW:
            return f"Since {since} a person has to decide: {_words(payment.review_reason or last.reason)}."


def _by_person(evidence: Evidence) -> bool:
    return evidence.payment.resolved_by_hand and evidence.moves[-1].reason.endswith("_by_hand")


def _reason_given(evidence: Evidence) -> str:
    """In the person's own words, which stand with the case."""
    actor = evidence.moves[-1].actor
    given = [c.resolution_reason for c in evidence.cases if c.resolved_by == actor and c.resolution_reason]
    return given[0] if given else _words(evidence.moves[-1].reason)


def next_of(evidence: Evidence) -> str:
    """What happens next without anybody doing anything."""
    waiting = [case for case in evidence.cases if case.state is CaseState.OPEN]
    if waiting:
        return " ".join(_case_in_words(case, evidence.now) for case in waiting[:CASES_TOLD])
    looks = [a.next_check_at for a in evidence.attempts if a.next_check_at is not None]
    parts = [f"the provider is asked next at {rfc3339(min(looks))}"] if looks else []
    if evidence.payment.due_at is not None:
        parts.append(f"its time is over at {rfc3339(evidence.payment.due_at)}")
    text = "; ".join(parts) or "nothing more happens by itself"
    told = [f"{text[0].upper()}{text[1:]}.", *(_line_in_words(line) for line in evidence.lines)]
    return " ".join(filter(None, told))


def _case_in_words(case: Case, now: Instant) -> str:
    if case.snoozed_until is not None and case.snoozed_until > now:
        return f"Case {case.id} ({_words(case.reason)}) was told to wait until {rfc3339(case.snoozed_until)}."
    suggested = _words(case.suggested_action)
    return f"Case {case.id} ({_words(case.reason)}) waits for a person; suggested: {suggested}."


def _line_in_words(line: Line) -> str:
    """What keeps us from asking, or how it is asked."""
    name = f"{line.connection.provider} ({line.connection.name})"
    if line.connection.state is ConnectionState.PARKED:
        return f"{name} refuses its credentials: it is not asked until they are put right."
    if line.connection.state is ConnectionState.DISABLED:
        return f"{name} is switched off: it is not asked."
    if line.breaker is not None:
        since, again = rfc3339(line.breaker.opened_at), rfc3339(line.breaker.open_until)
        return (
            f"{name} is down since {since} ({_words(line.breaker.reason)}): no patience is used up, "
            f"and it is tried again at {again}."
        )
    return ""


def _attempts_in_words(evidence: Evidence) -> str:
    offered = [a for a in evidence.attempts if a.state in OFFERED]
    watched = [a for a in evidence.attempts if a.state is AttemptState.WATCHED]
    if offered:
        last = offered[-1]
        return f"a checkout at {last.provider} is {last.state.value}, and {_last_answer(evidence)}"
    if watched:
        return f"a checkout at {watched[-1].provider} could not be closed and is watched"
    if evidence.attempts:
        last = evidence.attempts[-1]
        return f"its last checkout, at {last.provider}, is {last.state.value}"
    return "no checkout was ever started"


def _last_answer(evidence: Evidence) -> str:
    if not evidence.verifications:
        return "the provider was not asked yet"
    last = evidence.verifications[0]
    return f"the provider last said {last.outcome} at {rfc3339(last.last_at)} ({_words(last.decision)})"


def _received(payment: Payment) -> str:
    if payment.transaction_amount is None or payment.transaction_currency is None:
        return "the amount asked for"
    currency = payment.transaction_currency
    return f"{currency} {major_units(payment.transaction_amount, currency)}"


def _words(code: str) -> str:
    return code.replace("_", " ")


def _as_json(evidence: Evidence) -> dict[str, Any]:
    return {
        "moves": [_move(move) for move in evidence.moves],
        "attempts": [_attempt(attempt) for attempt in evidence.attempts],
        "verifications": [_verification(one) for one in evidence.verifications],
        "cases": [_case(case) for case in evidence.cases],
    }


def _move(move: Move) -> dict[str, Any]:
    before = None if move.from_state is None else move.from_state.value
    return {
        "at": rfc3339(move.at),
        "from": before,
        "to": move.to_state.value,
        "actor": move.actor,
        "reason": move.reason,
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "id": attempt.id,
        "provider": attempt.provider,
        "state": attempt.state.value,
        "checkoutId": attempt.checkout_id,
        "nextCheckAt": rfc3339_or_none(attempt.next_check_at),
    }


def _verification(one: Verification) -> dict[str, Any]:
    return {
        "at": rfc3339(one.last_at),
        "trigger": one.trigger,
        "outcome": one.outcome,
        "decision": one.decision,
        "detail": one.detail,
        "times": one.count,
    }


def _case(case: Case) -> dict[str, Any]:
    return {
        "id": case.id,
        "reason": case.reason,
        "state": case.state.value,
        "suggestedAction": case.suggested_action,
        "snoozedUntil": rfc3339_or_none(case.snoozed_until),
        "resolution": case.resolution,
        "resolutionReason": case.resolution_reason,
        "resolvedBy": case.resolved_by,
    }
