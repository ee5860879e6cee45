"""Cases: what only a person can decide; read here."""

from typing import Annotated, Any, Literal

from fastapi import Path, Query
from starlette.responses import Response

from paystate.domain.cases import Case, CaseState, get_case, list_cases
from paystate.entrypoints.api.answers import PageOut, answer, page_answer, page_request
from paystate.entrypoints.api.fields import Out, PageQuery, QueryText
from paystate.entrypoints.api.guard import Current
from paystate.entrypoints.api.operation import operation, router
from paystate.kit.clock import rfc3339, rfc3339_or_none

CaseId = Annotated[str, Path(alias="caseId", pattern=r"^cas_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
routes = router("/api/cases", "Cases")


class CasesQuery(PageQuery):
    """What a list of cases may be narrowed by."""

    state: Literal["OPEN", "RESOLVED"] | None = None
    payment_id: QueryText | None = None


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
