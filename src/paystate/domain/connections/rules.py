"""The words of connections and their inbox, and where their sealed texts belong."""

from enum import StrEnum


class ConnectionState(StrEnum):
    """PARKED: the provider refused our credentials; it works again when they are replaced. DISABLED: by a person."""

    ACTIVE = "ACTIVE"
    PARKED = "PARKED"
    DISABLED = "DISABLED"


class EventState(StrEnum):
    """What became of a provider's message."""

    RECEIVED = "RECEIVED"
    HANDLED = "HANDLED"
    UNMATCHED = "UNMATCHED"
    IGNORED = "IGNORED"


DEFAULT_RATE_PER_SECOND = 20


def secrets_aad(connection_id: str, merchant_id: str) -> str:
    """Where a connection's sealed secrets belong: they open nowhere else (T36)."""
    return f"connections,secrets,{connection_id},{merchant_id}"


def body_aad(event_id: str, merchant_id: str) -> str:
    """Where the sealed body of a provider's message belongs."""
    return f"provider_events,body,{event_id},{merchant_id}"
