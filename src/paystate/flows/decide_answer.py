"""Decides what follows from one asking: the rules for answers, and those for refusals and silence."""

from dataclasses import replace

import msgspec

from paystate.domain.payments import AttemptState, Decision, Outcome, Situation, rules
from paystate.flows.settlement_rows import Asked
from paystate.kit.clock import MINUTE, Instant

NOT_THERE_GRACE = 10 * MINUTE
"""So long a provider may not know a checkout it has just made (F13)."""


def decide_answer(situation: Situation, asked: Asked) -> Decision:
    """What follows from what came back, be it the provider's word, its refusal or its silence."""
    if asked.refused is not None:
        return _refusal(situation)
    if asked.verdict is None:
        return _silence(situation, asked) if asked.down_since is None else _down(situation, asked.down_since)
    if asked.verdict.outcome is Outcome.UNKNOWN:
        return replace(rules.silence(situation), label="unknown_status")
    if asked.unclosable and asked.verdict.outcome is Outcome.PENDING:
        return rules.watch(situation)
    return _without_offer(situation, asked, rules.decide(situation, asked.verdict))


def _without_offer(situation: Situation, asked: Asked, decision: Decision) -> Decision:
    """A checkout found at the provider whose way in we never learnt helps no customer: end it, so that a new one starts."""
    attempt = situation.attempt
    lost = attempt.checkout is None and asked.started is None and decision.attempt_state is AttemptState.LIVE
    if lost and situation.now - attempt.created_at > situation.patience.start_deadline:
        return replace(decision, label="no_way_in", close_next=True)
    return decision


def _refusal(situation: Situation) -> Decision:
    """The provider refused the start for good: nothing was made there, the attempt is over."""
    if situation.attempt.state is not AttemptState.CREATED:
        return Decision("start_refused", situation.attempt.state)  # a resend that was overtaken says nothing
    after = [*situation.others, AttemptState.FAILED]
    move, reason = rules.conclude(situation.payment, after, situation.now)
    return Decision("start_refused", AttemptState.FAILED, move=move, reason=reason)


def _down(situation: Situation, opened: Instant) -> Decision:
    """A provider that is down uses up nobody's patience; after a day of it a person decides all the same."""
    attempt = situation.attempt
    since = min(opened, attempt.silent_since or opened)
    if situation.now - since < situation.patience.silent_limit:
        return Decision("provider_down", attempt.state)
    counted = msgspec.structs.replace(attempt, silent_since=since, last_asked_at=situation.now)
    return rules.silence(replace(situation, attempt=counted))


def _silence(situation: Situation, asked: Asked) -> Decision:
    attempt = situation.attempt
    age = situation.now - attempt.created_at
    unwanted = rules.must_close(situation.payment, attempt, situation.now) and age >= NOT_THERE_GRACE
    over = situation.now > attempt.start_until or unwanted
    if asked.not_there and attempt.state is AttemptState.CREATED and over:
        after = [*situation.others, AttemptState.EXPIRED]
        move, reason = rules.conclude(situation.payment, after, situation.now)
        return Decision("never_started", AttemptState.EXPIRED, move=move, reason=reason)
    if asked.not_there and age < NOT_THERE_GRACE:
        return Decision("not_yet", attempt.state)
    decision = rules.silence(situation)
    if asked.not_there and decision.case is None and attempt.checkout_id is not None:
        return Decision("not_there", attempt.state, case="checkout_not_found", suggest="keep_waiting")
    return decision
