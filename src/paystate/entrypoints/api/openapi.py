"""The OpenAPI 3.1 document: the framework's, with our problems, credentials and examples in place of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from paystate.entrypoints.api.guard import CRON, PUBLIC, SCOPE
from paystate.entrypoints.api.operation import PROBLEMS, STATUS, codes_of

PROBLEM = "#/components/schemas/Problem"
PROBLEM_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "requestId", "retryable"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "requestId": {"type": "string"},
        "retryable": {"type": "boolean"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "code", "detail"],
                "properties": {
                    "pointer": {"type": "string"},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}
IDEMPOTENCY_KEY: Mapping[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key with the same request gets the same answer, and the work is done once.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}
DESCRIPTION = (
    "Amounts are whole numbers of minor units; times are RFC 3339 in UTC. Errors are application/problem+json with a stable "
    "`code`. Another merchant's id answers exactly like an unknown one."
)
STATUS_PATH = "/api/payment-links/{idOrCode}/status"


def document(routes: Sequence[BaseRoute], version: str) -> bytes:
    """The document as it is served; made once."""
    raw = get_openapi(
        title="Paystate", version=version, openapi_version="3.1.0", description=DESCRIPTION, routes=routes
    )
    components = raw.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = dict(PROBLEM_SCHEMA)
    components["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "An API key: psk_…"},
        "cron": {"type": "apiKey", "in": "header", "name": "x-cron-secret"},
    }
    raw["paths"][STATUS_PATH] = _status_path()
    for item in raw["paths"].values():
        for method, operation in item.items():
            _finish(method, operation, schemas)
    return msgspec.json.encode(raw)


def _finish(method: str, operation: dict[str, Any], schemas: Mapping[str, Any]) -> None:
    writes = method in ("post", "patch")
    codes = codes_of(operation, writes=writes, posts=method == "post")
    responses = operation["responses"]
    responses.pop("422", None)
    by_status: dict[str, list[str]] = {}
    for code in codes:
        by_status.setdefault(str(STATUS[code]), []).append(code)
    for status, listed in sorted(by_status.items()):
        responses[status] = {
            "description": ", ".join(listed),
            "content": {"application/problem+json": {"schema": {"$ref": PROBLEM}}},
        }
    if method == "get":
        operation.pop("requestBody", None)
    if method == "post":
        operation.setdefault("parameters", []).append(dict(IDEMPOTENCY_KEY))
    operation["security"] = _security(operation[SCOPE])
    operation.pop(PROBLEMS)
    operation.pop("x-headers", None)
    _add_examples(operation, schemas)


def _security(scope: str) -> list[dict[str, list[str]]]:
    if scope == PUBLIC:
        return []
    return [{"key": []}, {"cron": []}] if scope == CRON else [{"key": []}]


def _add_examples(operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> None:
    """Each body shows the example of its model."""
    bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
    for body in bodies:
        for kind, media in body.get("content", {}).items():
            found = _example(media.get("schema", {}), schemas) if kind == "application/json" else None
            if found is not None:
                media["example"] = found


def _example(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Any:
    named = schemas.get(str(schema.get("$ref", "")).rpartition("/")[2], schema)
    if named.get("examples"):
        return named["examples"][0]
    data = named.get("properties", {}).get("data")
    if data is None or "items" not in data:
        return None
    item = _example(data["items"], schemas)
    return None if item is None else {"data": [item], "hasMore": False, "nextCursor": None}


def _status_path() -> dict[str, Any]:
    """The status lane stands in front of the framework, so it is described by hand."""
    text, none = {"type": "string"}, {"type": "null"}
    moment = {"type": "string", "format": "date-time"}
    properties: dict[str, Any] = {
        "id": text,
        "shortCode": text,
        "currentStatus": text,
        "statusMessage": text,
        "lastEventType": text,
        "lastEventTimestamp": moment,
        "paymentMethod": {"anyOf": [text, none]},
        "validTransitions": {"type": "array", "items": text},
        "transactionInfo": {
            "anyOf": [
                {
                    "type": "object",
                    "required": ["transactionId", "paymentMethod", "timestamp", "amount", "currency"],
                    "additionalProperties": False,
                    "properties": {
                        "transactionId": {"anyOf": [text, none]},
                        "paymentMethod": {"anyOf": [text, none]},
                        "timestamp": moment,
                        "amount": {"type": "string", "examples": ["100.00"]},
                        "currency": text,
                    },
                },
                none,
            ]
        },
        "expiresAt": {"anyOf": [moment, none]},
        "isExpired": {"type": "boolean"},
        "updatedAt": moment,
    }
    schema = {
        "type": "object",
        "required": list(properties),
        "additionalProperties": False,
        "properties": properties,
    }
    example = {
        "id": "pay_06d3p3zv4kqg8c5x2m7w9t1nre",
        "shortCode": "4b9m2x7k1q8z5w3t6r0y2c8v4h",
        "currentStatus": "OPEN",
        "statusMessage": "Awaiting payment.",
        "lastEventType": "CREATED",
        "lastEventTimestamp": "2026-11-20T10:00:00Z",
        "paymentMethod": None,
        "validTransitions": [
            "PENDING_VERIFICATION",
            "PAID",
            "FAILED",
            "EXPIRED",
            "CANCELED",
            "REQUIRES_MANUAL_REVIEW",
        ],
        "transactionInfo": None,
        "expiresAt": None,
        "isExpired": False,
        "updatedAt": "2026-11-20T10:00:00Z",
    }
    return {
        "get": {
            "operationId": "getPaymentLinkStatus",
            "tags": ["Payment links"],
            "summary": "Get Payment Link Status",
            "description": "Made for polling: one indexed read, an ETag, a rate limit of its own.",
            "parameters": [
                {"name": "idOrCode", "in": "path", "required": True, "schema": {"type": "string"}}
            ],
            "responses": {
                "200": {
                    "description": "The status",
                    "content": {"application/json": {"schema": schema, "example": example}},
                },
                "304": {"description": "Nothing has changed since the ETag in If-None-Match"},
            },
            SCOPE: PUBLIC,
            PROBLEMS: ["not_found"],
        }
    }
