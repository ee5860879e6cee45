"""Alerts: what somebody should know now, once for each cause, with a count instead of a flood."""

from paystate.domain.alerts import delivery_store
from paystate.domain.alerts.delivery_store import NEW_ALERTS, Delivery
from paystate.domain.alerts.port import Channel, Message, NotSent
from paystate.domain.alerts.rules import Address, AlertState, NewAlert, Severity
from paystate.domain.alerts.store import (
    Alert,
    acknowledge,
    count_standing,
    get_alert,
    list_alerts,
    raise_alert,
    remind,
    resolve,
    resolve_alert,
    standing,
)

__all__ = [
    "NEW_ALERTS",
    "Address",
    "Alert",
    "AlertState",
    "Channel",
    "Delivery",
    "Message",
    "NewAlert",
    "NotSent",
    "Severity",
    "acknowledge",
    "count_standing",
    "delivery_store",
    "get_alert",
    "list_alerts",
    "raise_alert",
    "remind",
    "resolve",
    "resolve_alert",
    "standing",
]
