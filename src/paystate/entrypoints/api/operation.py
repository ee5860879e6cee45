"""Declares an operation: its id, what a caller needs, what it answers, and which problems it may answer instead."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter

from paystate.entrypoints.api.guard import PUBLIC, SCOPE, GuardedRoute
from paystate.entrypoints.api.problems import STATUS_OF_CODE

PROBLEMS = "x-problems"
REPLAYS = "x-idempotent"

STATUS: Mapping[str, int] = {
    **STATUS_OF_CODE,
    "insufficient_scope": 403,
    "address_not_allowed": 403,
    "not_found": 404,
    "rate_limited": 429,
    "validation_failed": 422,
    "idempotency_key_reused": 422,
    "provider_not_configured": 422,
    "provider_refused": 422,
    "currency_not_supported_by_provider": 422,
    "amount_below_minimum": 422,
    "credentials_refused": 422,
    "transaction_required": 422,
    "transaction_unknown": 422,
    "currencies_differ": 422,
    "nothing_to_refund": 422,
    "idempotency_in_progress": 409,
    "duplicate_reference": 409,
    "PENDING_SAME_BUNDLE": 409,
    "customer_conflict": 409,
    "invalid_state": 409,
    "limit_reached": 409,
    "account_connected": 409,
    "job_disabled": 409,
    "job_already_running": 409,
    "internal_error": 500,
    "database_unavailable": 503,
    "provider_unavailable": 503,
    "jobs_unavailable": 503,
    "overloaded": 503,
}
"""The status under which each code appears in the document."""

ALWAYS = (
    "invalid_host",
    "validation_failed",
    "rate_limited",
    "internal_error",
    "database_unavailable",
    "overloaded",
)
KEYED = ("unauthenticated", "insufficient_scope", "address_not_allowed")
BODY = ("malformed_json", "unsupported_media_type", "payload_too_large", "request_timeout")
IDEMPOTENT = ("idempotency_key_reused", "idempotency_in_progress")


def operation(
    name: str,
    scope: str,
    shows: Any,
    *problems: str,
    status: int = 200,
    also: Sequence[int] = (),
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What the router needs to know of an operation; `also` are further statuses with the same body."""
    unknown = set(problems) - set(STATUS)
    assert not unknown, unknown
    return {
        "operation_id": name,
        "response_model": shows,
        "status_code": status,
        "responses": {code: {"model": shows} for code in also},
        "openapi_extra": {SCOPE: scope, PROBLEMS: list(problems), "x-headers": dict(headers or {})},
    }


def codes_of(extra: Mapping[str, Any], *, writes: bool, posts: bool) -> list[str]:
    """Every problem code an operation may answer."""
    codes = [*ALWAYS, *extra[PROBLEMS]]
    if extra[SCOPE] != PUBLIC:
        codes += KEYED
    if writes:
        codes += BODY
    if posts:
        codes += IDEMPOTENT
    return list(dict.fromkeys(codes))


def router(prefix: str, tag: str) -> APIRouter:
    """A router whose routes are all guarded."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=GuardedRoute)
