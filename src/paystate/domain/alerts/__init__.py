"""Alerts: what somebody should know now, once for each cause, with a count instead of a flood."""

from paystate.domain.alerts.rules import AlertState, NewAlert, Severity
from paystate.domain.alerts.store import Alert, list_alerts, raise_alert, resolve_alert

__all__ = [
    "Alert",
    "AlertState",
    "NewAlert",
    "Severity",
    "list_alerts",
    "raise_alert",
    "resolve_alert",
]
