"""The double-entry ledger: what may be booked, how each event is booked, and what the books say."""

from paystate.domain.ledger.rules import Entry, Journal, credit, debit
from paystate.domain.ledger.store import post, reverse
from paystate.domain.ledger.templates import (
    hand_settlement_matched,
    payment_captured,
    payment_completed,
    receipt_unapplied,
    settled_by_hand,
)
from paystate.domain.ledger.views import (
    AccountBalance,
    PostedJournal,
    TrialLine,
    account_balance,
    accounts,
    drifted_accounts,
    journals,
    trial_balance,
    unsound_journals,
)

__all__ = [
    "AccountBalance",
    "Entry",
    "Journal",
    "PostedJournal",
    "TrialLine",
    "account_balance",
    "accounts",
    "credit",
    "debit",
    "drifted_accounts",
    "hand_settlement_matched",
    "journals",
    "payment_captured",
    "payment_completed",
    "post",
    "receipt_unapplied",
    "reverse",
    "settled_by_hand",
    "trial_balance",
    "unsound_journals",
]
