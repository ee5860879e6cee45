"""Payments: an amount a customer is asked to pay, once; its attempts, moves, verifications and proofs."""

from paystate.domain.payments import attempt_store, by_hand, moves, proof_store, rules, schedule, store
from paystate.domain.payments.moves import Step
from paystate.domain.payments.proof_store import Intent, Verification
from paystate.domain.payments.records import Attempt, Payment
from paystate.domain.payments.schedule import Patience
from paystate.domain.payments.situation import Decision, Situation
from paystate.domain.payments.states import AttemptState, Outcome, State, Trigger
from paystate.domain.payments.store import PaymentFilter

__all__ = [
    "Attempt",
    "AttemptState",
    "Decision",
    "Intent",
    "Outcome",
    "Patience",
    "Payment",
    "PaymentFilter",
    "Situation",
    "State",
    "Step",
    "Trigger",
    "Verification",
    "attempt_store",
    "by_hand",
    "moves",
    "proof_store",
    "rules",
    "schedule",
    "store",
]
