"""Connections: a merchant's accounts at outside services, and the inbox of what those services sent us."""

from paystate.domain.connections import inbox_store
from paystate.domain.connections.inbox_store import NewProviderEvent, ProviderEvent, Receipt
from paystate.domain.connections.rules import ConnectionState, EventState, body_aad, secrets_aad
from paystate.domain.connections.store import (
    Connection,
    ConnectionChanges,
    NewConnection,
    active_for,
    active_ids,
    create_connection,
    get_connection,
    get_many,
    list_connections,
    park,
    unpark,
    update_connection,
)

__all__ = [
    "Connection",
    "ConnectionChanges",
    "ConnectionState",
    "EventState",
    "NewConnection",
    "NewProviderEvent",
    "ProviderEvent",
    "Receipt",
    "active_for",
    "active_ids",
    "body_aad",
    "create_connection",
    "get_connection",
    "get_many",
    "inbox_store",
    "list_connections",
    "park",
    "secrets_aad",
    "unpark",
    "update_connection",
]
