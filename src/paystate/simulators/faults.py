"""Which calls and webhooks of a simulator go wrong, and how often they did."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from paystate.kit.clock import SECOND, Instant
from paystate.kit.ids import new_id

MAX_FAULTS = 10_000
MAX_SECONDS = 86_400
ANY_CALL = "any"
WEBHOOK = "webhook"


class FaultKind(StrEnum):
    """Every way to misbehave; the words of the control API."""

    OUTAGE = "outage"
    ERROR500 = "error500"
    ERROR502 = "error502"
    ERROR503 = "error503"
    RATE_LIMIT429 = "rate_limit429"
    UNAUTHORIZED401 = "unauthorized401"
    NOT_FOUND404 = "not_found404"
    ACT_THEN_DROP = "act_then_drop"
    SLOW = "slow"
    DRIP = "drip"
    HTML = "html"
    TRUNCATED = "truncated"
    EMPTY = "empty"
    HUGE = "huge"
    WRONG_TYPE = "wrong_type"
    INVALID_UTF8 = "invalid_utf8"
    GZIP_BOMB = "gzip_bomb"
    STALE = "stale"
    UNKNOWN_STATUS = "unknown_status"
    DROP = "drop"
    DELAY = "delay"
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    BAD_SIGNATURE = "bad_signature"
    EARLY = "early"


EARLY_KINDS = frozenset({FaultKind.EARLY})
DELIVERY_KINDS = frozenset(
    {FaultKind.DROP, FaultKind.DELAY, FaultKind.DUPLICATE, FaultKind.REORDER, FaultKind.BAD_SIGNATURE}
)
CALL_KINDS = frozenset(FaultKind) - DELIVERY_KINDS - EARLY_KINDS


class FaultRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The body of ``POST /_control/faults``."""

    operation: str
    kind: FaultKind
    reference: str | None = None
    times: Annotated[int, msgspec.Meta(ge=1)] | None = None
    after_calls: Annotated[int, msgspec.Meta(ge=0)] = 0
    seconds: Annotated[float, msgspec.Meta(ge=0, le=MAX_SECONDS)] | None = None
    retry_after: int | str | None = None
    count: Annotated[int, msgspec.Meta(ge=2, le=1_000)] = 2
    """How often `duplicate` sends in all."""
    acts: bool = False
    """The call takes effect before it goes wrong, whatever the kind."""
    stored: bool = False
    """An error answer is kept under the Idempotency-Key and replayed, as Stripe does with a 500."""
    outcome: str | None = None
    """``pay``: an `early` webhook tells of a checkout that really is paid already."""
    chance: Annotated[int, msgspec.Meta(ge=1, le=100)] = 100
    """Percent of the matching calls that are hit, drawn from `seed`."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Subject:
    """What a call is about, as far as a fault asks."""

    reference: str | None = None
    created_at: Instant | None = None


@dataclass(slots=True)
class Fault:
    """One planned fault with its counts."""

    id: str
    plan: FaultRequest
    seen: int = 0
    hits: int = 0
    dice: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.plan.seed)

    @property
    def kind(self) -> FaultKind:
        return self.plan.kind

    def strikes(self, subject: Subject, now: Instant) -> bool:
        """Whether this matching call is hit; counts it as seen, and as a hit if so."""
        if not self._in_window(subject, now):
            return False
        self.seen += 1
        if self.seen <= self.plan.after_calls or self.hits == self.plan.times:
            return False
        if self.dice.randrange(100) >= self.plan.chance:
            return False
        self.hits += 1
        return True

    def give_back(self) -> None:
        """A hit that could change nothing does not count."""
        self.hits -= 1

    def wire(self) -> dict[str, Any]:
        plan: dict[str, Any] = msgspec.to_builtins(self.plan)
        return {"id": self.id, "seen": self.seen, "hits": self.hits, **plan}

    def _in_window(self, subject: Subject, now: Instant) -> bool:
        if self.kind is not FaultKind.NOT_FOUND404 or self.plan.seconds is None:
            return True
        return subject.created_at is not None and now - subject.created_at < self.plan.seconds * SECOND


class FaultPlan:
    """All faults in force, found by operation and reference without a scan."""

    def __init__(self) -> None:
        self._faults: dict[str, Fault] = {}
        self._places: dict[tuple[str, str | None], list[Fault]] = {}

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._faults.values())

    def add(self, plan: FaultRequest, now: Instant) -> Fault:
        """Raises ValueError when the kind does not fit the operation or the plan is full."""
        if (plan.operation == WEBHOOK) == (plan.kind in CALL_KINDS):
            raise ValueError("this kind of fault does not fit this operation")
        if len(self._faults) >= MAX_FAULTS:
            raise ValueError("too many faults are planned")
        fault = Fault(new_id("flt", now), plan)
        self._faults[fault.id] = fault
        self._places.setdefault((plan.operation, plan.reference), []).append(fault)
        return fault

    def remove(self, fault_id: str) -> bool:
        fault = self._faults.pop(fault_id, None)
        if fault is None:
            return False
        place = (fault.plan.operation, fault.plan.reference)
        self._places[place].remove(fault)
        if not self._places[place]:
            del self._places[place]
        return True

    def clear(self) -> None:
        self._faults.clear()
        self._places.clear()

    def take(
        self, operation: str, kinds: frozenset[FaultKind], subject: Subject, now: Instant
    ) -> Fault | None:
        """The fault that hits this call: those for its reference first, then the oldest."""
        if not self._faults:
            return None
        names = (operation,) if operation == WEBHOOK else (operation, ANY_CALL)
        references = (None,) if subject.reference is None else (subject.reference, None)
        for place in ((name, reference) for reference in references for name in names):
            for fault in self._places.get(place, ()):
                if fault.kind in kinds and fault.strikes(subject, now):
                    return fault
        return None
