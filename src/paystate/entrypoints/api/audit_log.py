"""The audit log: who did what and why."""

from typing import Annotated, Any

from fastapi import Query
from starlette.responses import Response

from paystate.domain.audit import AuditRecord, list_entries
from paystate.entrypoints.api.answers import PageOut, page_answer, page_request
from paystate.entrypoints.api.fields import Out, PageQuery, QueryText
from paystate.entrypoints.api.guard import Current
from paystate.entrypoints.api.operation import operation, router
from paystate.kit.clock import rfc3339

routes = router("/api/audit-log", "Audit log")


class AuditQuery(PageQuery):
    """What the log may be narrowed by."""

    resource_id: QueryText | None = None
    actor: QueryText | None = None


class AuditOut(Out):
    """One act. `position` is its place in the sealed chain; null for the moment before it has one."""

    id: str
    position: int | None
    actor: str
    action: str
    resource_id: str
    before: dict[str, Any]
    after: dict[str, Any]
    reason: str
    address: str | None
    request_id: str | None
    at: str


@routes.get("", **operation("listAuditLog", "admin", PageOut[AuditOut]))
async def list_all(call: Current, query: Annotated[AuditQuery, Query()]) -> Response:
    """The merchant's entries, newest first."""
    page = page_request(call, "audit-log", query)
    found = await call.db.read(
        lambda tx: list_entries(tx, call.who, page, resource_id=query.resource_id, actor=query.actor)
    )
    return page_answer(call, "audit-log", found, audit_out)


def audit_out(entry: AuditRecord) -> AuditOut:
    """The entry as it is shown."""
    return AuditOut(
        id=entry.id,
        position=entry.position,
        actor=entry.actor,
        action=entry.action,
        resource_id=entry.resource_id,
        before=dict(entry.before),
        after=dict(entry.after),
        reason=entry.reason,
        address=entry.address,
        request_id=entry.request_id,
        at=rfc3339(entry.at),
    )
