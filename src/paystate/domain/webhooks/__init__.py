"""Webhooks: the events of what happened, in the order in which feeds and outgoing webhooks tell them."""

from paystate.domain.webhooks.store import (
    EVENTS_LIMIT,
    NEW_EVENTS,
    NUMBERED_EVENTS,
    Event,
    NewEvent,
    events_after,
    get_event,
    last_position,
    number_events,
    record_events,
)

__all__ = [
    "EVENTS_LIMIT",
    "NEW_EVENTS",
    "NUMBERED_EVENTS",
    "Event",
    "NewEvent",
    "events_after",
    "get_event",
    "last_position",
    "number_events",
    "record_events",
]
