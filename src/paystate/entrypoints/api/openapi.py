"""The OpenAPI 3.1 document: the framework's, with our problems, credentials and examples in place of its own."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from paystate.entrypoints.api.guard import CRON, PUBLIC, SCOPE
from paystate.entrypoints.api.operation import PROBLEMS, STATUS, codes_of
from paystate.entrypoints.api.status_document import STATUS_ITEM, STATUS_PATH

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
EXAMPLES: Mapping[str, Any] = {
    "string": "…",
    "integer": 1,
    "number": 1,
    "boolean": True,
    "array": [],
    "object": {},
}
EXAMPLE_DEPTH = 6


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
    raw["paths"][STATUS_PATH] = copy.deepcopy(STATUS_ITEM)
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
    """Each JSON body shows the example of its model, or one made from its schema."""
    bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
    for body in bodies:
        media = body.get("content", {}).get("application/json")
        if media is not None and "example" not in media:
            media["example"] = _example(media.get("schema", {}), schemas)


def _example(schema: Mapping[str, Any], schemas: Mapping[str, Any], depth: int = 0) -> Any:
    schema = schemas.get(str(schema.get("$ref", "")).rpartition("/")[2], schema)
    for given in ("examples", "enum"):
        if schema.get(given):
            return schema[given][0]
    if "anyOf" in schema:
        return _example(schema["anyOf"][0], schemas, depth + 1)
    match schema.get("type"):
        case "object" if depth < EXAMPLE_DEPTH:
            members = schema.get("properties", {})
            return {name: _example(member, schemas, depth + 1) for name, member in members.items()}
        case "array" if depth < EXAMPLE_DEPTH:
            return [_example(schema.get("items", {}), schemas, depth + 1)]
        case plain:
            return EXAMPLES.get(str(plain))
