"""When to look at an attempt again, and when a payment's clock runs out: pure rules of time."""

from dataclasses import dataclass

from paystate.domain.payments.records import Attempt, Payment
from paystate.domain.payments.states import ENDED, AttemptState, State
from paystate.kit.clock import DAY, HOUR, MINUTE, SECOND, Instant

MIN_GAP = 1 * SECOND
"""No attempt is asked about more often, whatever hints come (docs/reference/payment-states.md)."""

UNPAID_GAP = 60 * SECOND
"""Two PENDING answers so far apart since the last hint say that the customer went away."""

UNPAID_ANSWERS = 2
TAIL = (1 * DAY, 3 * DAY, 7 * DAY)
"""Looks after the local end of a checkout, counted from it: money may still come."""

WATCH_FOR = 30 * DAY
"""How long an attempt that cannot be closed is watched, where the provider names no limit of its own."""

SILENT_STEPS = (
    2 * SECOND,
    4 * SECOND,
    8 * SECOND,
    15 * SECOND,
    30 * SECOND,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
)
OWN_GAP = 3 * HOUR
"""More between two questions than any schedule, budget or Retry-After explains: we were away ourselves."""

FRESH, OLDER, LONG_TAIL = 0, 1, 2
"""Bands in which due attempts are claimed, freshest first."""


@dataclass(frozen=True, slots=True)
class Patience:
    """The settings of time; microseconds."""

    dense_gap: int = 3 * SECOND
    dense_for: int = 15 * MINUTE
    pending_limit: int = 2 * HOUR
    silent_limit: int = 24 * HOUR
    start_deadline: int = 30 * SECOND
    start_key_life: int = 23 * HOUR
    lease: int = 60 * SECOND


@dataclass(frozen=True, slots=True)
class Look:
    """The next look at an attempt: when (None: never again by itself) and in which band."""

    at: Instant | None
    band: int


def first_look(now: Instant, patience: Patience) -> Look:
    """At CREATED: after the start's own deadline and 5 s, so that a crash in the middle is noticed."""
    return Look(Instant(now + patience.start_deadline + 5 * SECOND), FRESH)


def look_after_hint(attempt: Attempt, now: Instant) -> Look:
    """Now, or at the end of the minimum gap since the last question."""
    return Look(_after_gap(attempt, now), FRESH)


def _after_gap(attempt: Attempt, now: Instant) -> Instant:
    return Instant(now if attempt.last_asked_at is None else max(now, attempt.last_asked_at + MIN_GAP))


def is_hinted(attempt: Attempt, now: Instant) -> bool:
    """Whether a hint waits already and nobody is asking: the question to come answers one more hint as well."""
    earliest = _after_gap(attempt, now)
    return (
        attempt.lease_until is None
        and attempt.check_band == FRESH
        and (attempt.hinted_at or 0) > (attempt.last_asked_at or 0)
        and attempt.next_check_at is not None
        and attempt.next_check_at <= earliest
    )


def look_after_answer(attempt: Attempt, state: AttemptState, now: Instant, patience: Patience) -> Look:
    """Dense just after the start or the last hint, then ever thinner; after its end only the long tail.

    One that succeeded has its tail too: the same checkout may be paid once more.
    """
    if state in ENDED or state is AttemptState.WATCHED:
        return _tail_look(attempt, state, now)
    age = now - max(attempt.created_at, attempt.hinted_at or 0)
    if age < patience.dense_for:
        return Look(Instant(now + patience.dense_gap), FRESH)
    return Look(Instant(now + _thin_gap(age)), OLDER)


def _thin_gap(age: int) -> int:
    for limit, gap in (
        (30 * MINUTE, 10 * SECOND),
        (HOUR, 30 * SECOND),
        (6 * HOUR, 5 * MINUTE),
        (DAY, 30 * MINUTE),
    ):
        if age < limit:
            return gap
    return 3 * HOUR


def _tail_look(attempt: Attempt, state: AttemptState, now: Instant) -> Look:
    ended = attempt.ended_at or now
    for step in TAIL:
        if ended + step > now:
            return Look(Instant(ended + step), LONG_TAIL)
    if state is AttemptState.WATCHED and attempt.watched_until is not None and now < attempt.watched_until:
        return Look(Instant(min(now + 7 * DAY, attempt.watched_until)), LONG_TAIL)
    return Look(None, LONG_TAIL)


def silent_since(attempt: Attempt, now: Instant) -> Instant:
    """Since when the provider has not answered; a gap in our own asking is not its silence and starts it anew."""
    asked = attempt.last_asked_at
    if attempt.silent_since is None or asked is None or now - asked > OWN_GAP:
        return now
    return attempt.silent_since


def look_after_silence(attempt: Attempt, now: Instant, retry_after: int | None) -> Look:
    """Backs off while the provider is silent; its own Retry-After, clamped by the adapter, comes first."""
    step = SILENT_STEPS[min(attempt.silent_count, len(SILENT_STEPS) - 1)]
    return Look(Instant(now + max(step, retry_after or 0)), attempt.check_band)


def due_at(
    payment: Payment, state: State, pending_since: Instant | None, patience: Patience
) -> Instant | None:
    """When the clock of the state runs out (docs/reference/payment-states.md); None: never."""
    if state is State.PENDING_VERIFICATION and pending_since is not None:
        return Instant(pending_since + patience.pending_limit)
    if state in (State.OPEN, State.FAILED):
        return payment.own_deadline
    return None


def within_own_time(payment: Payment, now: Instant) -> bool:
    """Whether the payment's own time (not the two hours of a verification) lies ahead."""
    return payment.own_deadline is None or now < payment.own_deadline


def ends_at(payment: Payment) -> Instant | None:
    """When a payment of which nothing is left at a provider is over; None: never by itself.

    Once the customer returned, a bundle's staleness no longer counts; without `expiresAt` its two hours do.
    """
    if payment.state is State.PENDING_VERIFICATION:
        return payment.expires_at if payment.expires_at is not None else payment.due_at
    return payment.own_deadline


def closes_at(payment: Payment) -> Instant | None:
    """When its checkout is ended at the provider: as `ends_at`, but who returned has two hours in any case."""
    ends = ends_at(payment)
    if payment.state is State.PENDING_VERIFICATION and ends is not None and payment.due_at is not None:
        return max(ends, payment.due_at)
    return ends


def is_past(at: Instant | None, now: Instant) -> bool:
    """Whether that moment has come; what has none never comes."""
    return at is not None and at <= now
