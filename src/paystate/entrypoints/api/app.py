"""The API's application: the framework with its own doors shut, our routes, and our errors."""

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match

import paystate
from paystate.entrypoints.api import openapi, validation
from paystate.entrypoints.api.desk import Desk
from paystate.entrypoints.api.problems import problem
from paystate.entrypoints.incoming import incoming
from paystate.kit.errors import NotFound, PaystateError, Refused
from paystate.machinery.logs import get_logger

DOCUMENT_PATH = "/api/openapi.json"
UNSAFE_LOGGED = "request_failed"
Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]
log = get_logger(__name__)


def create_api(
    desk: Desk, routers: Iterable[APIRouter], pages: Iterable[BaseRoute], lifespan: Lifespan
) -> FastAPI:
    """The routes of the API, then those of pages and webhooks, behind one set of error handlers."""
    api = FastAPI(
        title="Paystate",
        version=paystate.__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    api.state.desk = desk
    # Not included but added: one flat list is matched faster, and can be asked which methods an address knows.
    api.router.routes.extend(route for router in routers for route in router.routes)
    described = openapi.document(list(api.routes), paystate.__version__)

    async def show_document(_request: Request) -> Response:
        return Response(described, media_type="application/json")

    api.add_route(DOCUMENT_PATH, show_document, methods=["GET"], include_in_schema=False)
    api.router.routes.extend(pages)
    api.add_exception_handler(PaystateError, _ours)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _frameworks)
    api.add_exception_handler(Exception, _unforeseen)
    return api


async def _ours(request: Request, error: Exception) -> Response:
    found = cast("PaystateError", error)
    answer = problem(found, incoming(request.scope))
    if answer.status_code == 500:
        log.error(
            UNSAFE_LOGGED, request_id=incoming(request.scope).request_id, code=found.code, exc_info=error
        )
    return answer


async def _invalid(request: Request, error: Exception) -> Response:
    return problem(
        validation.refusal(cast("RequestValidationError", error).errors()), incoming(request.scope)
    )


async def _frameworks(request: Request, error: Exception) -> Response:
    """What the router itself refuses: no such path, no such method."""
    found = cast("HTTPException", error)
    facts = incoming(request.scope)
    match found.status_code:
        case 404:
            return problem(NotFound("There is nothing at this address."), facts)
        case 405:
            return problem(method_not_allowed(request), facts)
        case 413:
            return problem(Refused("The body is too large.", code="payload_too_large"), facts)
        case _:
            return problem(Refused("The request cannot be read.", code="malformed_json"), facts)


def method_not_allowed(request: Request) -> Refused:
    """With every method that the path does know, whichever route has it."""
    allowed: set[str] = set()
    for route in request.app.routes:
        reached, _ = route.matches(request.scope)
        if reached is not Match.NONE:
            allowed |= set(getattr(route, "methods", None) or ())
    return Refused(
        "This address does not know that method.", code="method_not_allowed", allow=sorted(allowed)
    )


async def _unforeseen(request: Request, error: Exception) -> Response:
    """Our own mistake: logged with its traceback, told with the request id only."""
    facts = incoming(request.scope)
    log.error(UNSAFE_LOGGED, request_id=facts.request_id, exc_info=error)
    return problem(PaystateError("unforeseen"), facts)
