"""The status of a payment link as the OpenAPI document shows it: its lane stands in front of the framework."""

from collections.abc import Mapping
from typing import Any

from paystate.entrypoints.api.guard import PUBLIC, SCOPE
from paystate.entrypoints.api.operation import PROBLEMS

STATUS_PATH = "/api/payment-links/{idOrCode}/status"

_TEXT: Mapping[str, Any] = {"type": "string"}
_MOMENT: Mapping[str, Any] = {"type": "string", "format": "date-time"}
_NULL: Mapping[str, Any] = {"type": "null"}


def _object(members: Mapping[str, Any]) -> dict[str, Any]:
    """Exactly these members, all of them."""
    return {
        "type": "object",
        "required": list(members),
        "additionalProperties": False,
        "properties": dict(members),
    }


_TRANSACTION = _object(
    {
        "transactionId": _TEXT,
        "paymentMethod": {"anyOf": [_TEXT, _NULL]},
        "timestamp": _MOMENT,
        "amount": {"type": "string", "examples": ["100.00"]},
        "currency": _TEXT,
    }
)
_STATUS = _object(
    {
        "id": _TEXT,
        "shortCode": _TEXT,
        "currentStatus": _TEXT,
        "statusMessage": _TEXT,
        "lastEventType": _TEXT,
        "lastEventTimestamp": _MOMENT,
        "paymentMethod": {"anyOf": [_TEXT, _NULL]},
        "validTransitions": {"type": "array", "items": _TEXT},
        "transactionInfo": {"anyOf": [_TRANSACTION, _NULL]},
        "expiresAt": {"anyOf": [_MOMENT, _NULL]},
        "isExpired": {"type": "boolean"},
        "updatedAt": _MOMENT,
    }
)
_EXAMPLE: Mapping[str, Any] = {
    "id": "pay_06d3p3zv4kqg8c5x2m7w9t1nre",
    "shortCode": "4b9m2x7k1q8z5w3t6r0y2c8v4h",
    "currentStatus": "OPEN",
    "statusMessage": "Awaiting payment.",
    "lastEventType": "CREATED",
    "lastEventTimestamp": "2026-11-20T10:00:00Z",
    "paymentMethod": None,
    "validTransitions": ["PENDING_VERIFICATION", "PAID", "FAILED", "EXPIRED", "CANCELED"],
    "transactionInfo": None,
    "expiresAt": None,
    "isExpired": False,
    "updatedAt": "2026-11-20T10:00:00Z",
}
STATUS_ITEM: Mapping[str, Any] = {
    "get": {
        "operationId": "getPaymentLinkStatus",
        "tags": ["Payment links"],
        "summary": "Get Payment Link Status",
        "description": "Made for polling: one indexed read, an ETag, a rate limit of its own.",
        "parameters": [{"name": "idOrCode", "in": "path", "required": True, "schema": _TEXT}],
        "responses": {
            "200": {
                "description": "The status",
                "content": {"application/json": {"schema": _STATUS, "example": _EXAMPLE}},
            },
            "304": {"description": "Nothing has changed since the ETag in If-None-Match"},
        },
        SCOPE: PUBLIC,
        PROBLEMS: ["not_found"],
    }
}
