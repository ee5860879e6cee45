"""Cases: what only a person can decide: read, and resolved with a reason."""

from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import ConfigDict, Field
from starlette.responses import Response

from paystate.domain.cases import Case, CaseState, get_case, list_cases
from paystate.domain.payments import State
from paystate.domain.payments.by_hand import Choice
from paystate.entrypoints.api.answers import PageOut, answer, page_answer, page_request, replayable, text_of
from paystate.entrypoints.api.fields import Description, In, Out, PageQuery, QueryText, Reference
from paystate.entrypoints.api.guard import Call, Current
from paystate.entrypoints.api.operation import operation, router
from paystate.entrypoints.api.repeat import write_once
from paystate.flows.resolve_case import KEEP_HOURS, KEEP_HOURS_MAX, Order, Person, resolve_case
from paystate.kit.clock import rfc3339, rfc3339_or_none
from paystate.machinery.db import Tx
from paystate.machinery.idempotency import Answer

MAX_TRANSACTIONS = 50

CaseId = Annotated[str, Path(alias="caseId", pattern=r"^cas_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
routes = router("/api/cases", "Cases")


class CasesQuery(PageQuery):
    """What a list of cases may be narrowed by."""

    state: Literal["OPEN", "RESOLVED"] | None = None
    payment_id: QueryText | None = None


class DecisionIn(In):
    """A person's decision. `to` is for REJECT and REFUND, `transactionIds` for ACCEPT and REFUND, `hours` for KEEP_WAITING."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"action": "ACCEPT", "reason": "The customer sent the rest by bank transfer, seen today."}
            ]
        }
    )

    action: Literal["ACCEPT", "REJECT", "REFUND", "KEEP_WAITING", "NOTE"]
    reason: Description
    to: Literal["FAILED", "CANCELED", "EXPIRED"] | None = None
    transaction_ids: list[Reference] = Field(default_factory=list, max_length=MAX_TRANSACTIONS)
    hours: int = Field(KEEP_HOURS, ge=1, le=KEEP_HOURS_MAX)
    again: bool = Field(default=False, description="Overrule what a person decided about this payment before")

    def order(self) -> Order:
        """The same in the words of the flow."""
        to = None if self.to is None else State(self.to)
        return Order(
            Choice(self.action), self.reason, to, tuple(self.transaction_ids), self.hours, self.again
        )


class CaseOut(Out):
    """A case with its evidence and what we would do."""

    id: str
    payment_id: str | None
    attempt_id: str | None
    reason: str
    evidence: dict[str, Any]
    suggested_action: str
    state: str
    snoozed_until: str | None
    resolution: str | None
    resolution_reason: str | None
    resolved_by: str | None
    created_at: str
    resolved_at: str | None


@routes.get("", **operation("listCases", "payments:read", PageOut[CaseOut]))
async def list_all(call: Current, query: Annotated[CasesQuery, Query()]) -> Response:
    """The merchant's cases, newest first."""
    page = page_request(call, "cases", query)
    state = None if query.state is None else CaseState(query.state)
    found = await call.db.read(
        lambda tx: list_cases(tx, call.who, page, state=state, payment_id=query.payment_id)
    )
    return page_answer(call, "cases", found, case_out)


@routes.get("/{caseId}", **operation("getCase", "payments:read", CaseOut, "not_found"))
async def get_one(call: Current, case_id: CaseId) -> Response:
    """One case."""
    return answer(case_out(await call.db.read(lambda tx: get_case(tx, call.who, case_id))))


@routes.post(
    "/{caseId}/resolve",
    **operation(
        "resolveCase",
        "admin",
        CaseOut,
        "not_found",
        "invalid_state",
        "transaction_required",
        "transaction_unknown",
        "nothing_to_refund",
        "currencies_differ",
    ),
)
async def resolve(call: Current, case_id: CaseId, body: DecisionIn) -> Response:
    """Decide, once; of two people at the same time the second one gets 409."""

    def work(tx: Tx) -> Answer:
        resolved = resolve_case(person(call), case_id, body.order(), tx)
        return Answer(case_id, 200, text_of(case_out(resolved.case)))

    return replayable(await write_once(call, work))


def person(call: Call) -> Person:
    """Who asks, as one who decides."""
    facts = call.facts
    return Person(call.who, call.caller.actor, call.ctx.patience, facts.address, facts.request_id)


def case_out(case: Case) -> CaseOut:
    """The case as it is shown."""
    return CaseOut(
        id=case.id,
        payment_id=case.payment_id,
        attempt_id=case.attempt_id,
        reason=case.reason,
        evidence=dict(case.evidence),
        suggested_action=case.suggested_action,
        state=case.state.value,
        snoozed_until=rfc3339_or_none(case.snoozed_until),
        resolution=case.resolution,
        resolution_reason=case.resolution_reason,
        resolved_by=case.resolved_by,
        created_at=rfc3339(case.created_at),
        resolved_at=rfc3339_or_none(case.resolved_at),
    )
