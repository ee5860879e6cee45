"""Cases: what only a person can decide, with evidence and a suggested action."""

from paystate.domain.cases.rules import CaseState, NewCase, fingerprint
from paystate.domain.cases.store import (
    Case,
    close_answered,
    count_open,
    get_case,
    list_cases,
    lock_open,
    open_about,
    open_cases,
    resolve,
    snooze,
    waiting_since,
)

__all__ = [
    "Case",
    "CaseState",
    "NewCase",
    "close_answered",
    "count_open",
    "fingerprint",
    "get_case",
    "list_cases",
    "lock_open",
    "open_about",
    "open_cases",
    "resolve",
    "snooze",
    "waiting_since",
]
