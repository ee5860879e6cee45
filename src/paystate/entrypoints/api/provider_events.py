"""What providers sent us: each message once, and the order to look at one again."""

from typing import Annotated, Any, Literal

from fastapi import Path, Query
from starlette.responses import Response

from paystate.domain.connections import EventState, ProviderEvent, inbox_store
from paystate.entrypoints.api.answers import PageOut, answer, page_answer, page_request, replayable, text_of
from paystate.entrypoints.api.fields import Out, PageQuery
from paystate.entrypoints.api.guard import Current
from paystate.entrypoints.api.operation import operation, router
from paystate.entrypoints.api.repeat import Finish, act_once
from paystate.flows.reprocess_event import reprocess_event
from paystate.kit.clock import rfc3339, rfc3339_or_none
from paystate.machinery.db import Tx
from paystate.machinery.idempotency import Answer

EventId = Annotated[str, Path(alias="eventId", pattern=r"^pev_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
routes = router("/api/provider-events", "Provider events")


class EventsQuery(PageQuery):
    """What a list of messages may be narrowed by."""

    state: Literal["RECEIVED", "HANDLED", "UNMATCHED", "IGNORED"] | None = None


class ProviderEventOut(Out):
    """A message without its body; `named` is what it is about, as the adapter read it."""

    id: str
    connection_id: str
    provider_event_id: str
    type: str
    state: str
    authentic: bool
    named: Any
    attempt_id: str | None
    deliveries: int
    received_at: str
    handled_at: str | None
    retry_at: str | None


@routes.get("", **operation("listProviderEvents", "admin", PageOut[ProviderEventOut]))
async def list_all(call: Current, query: Annotated[EventsQuery, Query()]) -> Response:
    """The messages, newest first."""
    page = page_request(call, "provider-events", query)
    state = None if query.state is None else EventState(query.state)
    found = await call.db.read(lambda tx: inbox_store.list_provider_events(tx, call.who, page, state=state))
    return page_answer(call, "provider-events", found, event_out)


@routes.get("/{eventId}", **operation("getProviderEvent", "admin", ProviderEventOut, "not_found"))
async def get_one(call: Current, event_id: EventId) -> Response:
    """One message."""
    return answer(
        event_out(await call.db.read(lambda tx: inbox_store.get_provider_event(tx, call.who, event_id)))
    )


@routes.post(
    "/{eventId}/reprocess", **operation("reprocessProviderEvent", "admin", ProviderEventOut, "not_found")
)
async def reprocess(call: Current, event_id: EventId) -> Response:
    """Match it again: what it names is asked about once more."""

    async def work() -> Finish:
        shown = text_of(event_out(await reprocess_event(call.ctx, call.who, event_id)))

        def finish(tx: Tx) -> Answer:
            call.note(tx, "provider_event.reprocess", event_id)
            return Answer(event_id, 200, shown)

        return finish

    return replayable(await act_once(call, work))


def event_out(event: ProviderEvent) -> ProviderEventOut:
    """The message as it is shown."""
    return ProviderEventOut(
        id=event.id,
        connection_id=event.connection_id,
        provider_event_id=event.provider_event_id,
        type=event.type,
        state=event.state.value,
        authentic=event.authentic,
        named=event.named,
        attempt_id=event.attempt_id,
        deliveries=event.deliveries,
        received_at=rfc3339(event.received_at),
        handled_at=rfc3339_or_none(event.handled_at),
        retry_at=rfc3339_or_none(event.retry_at),
    )
