"""Puts the web together: the status lane in front, the edge around it, the API and the pages inside."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from starlette.types import ASGIApp

from paystate.app import App
from paystate.entrypoints import hooks, pay
from paystate.entrypoints.api import (
    alerts,
    api_keys,
    audit_log,
    cases,
    connections,
    customers,
    health,
    owner,
    payment_acts,
    payment_conflicts,
    payment_links,
    payments,
    provider_events,
)
from paystate.entrypoints.api import (
    jobs as job_routes,
)
from paystate.entrypoints.api.app import create_api
from paystate.entrypoints.api.desk import Desk, Limits
from paystate.entrypoints.api.known import Known
from paystate.entrypoints.middleware import (
    AddressLimit,
    LastResort,
    RequestId,
    SecurityHeaders,
    TrustedHost,
    TrustedProxy,
)
from paystate.entrypoints.middleware_limits import Limits as RequestLimits
from paystate.entrypoints.status_lane import StatusLane
from paystate.machinery.jobs import JobEngine

ROUTERS = (
    payment_conflicts.routes,
    payments.routes,
    payment_acts.routes,
    payment_links.routes,
    customers.routes,
    connections.routes,
    provider_events.routes,
    cases.routes,
    alerts.routes,
    api_keys.routes,
    audit_log.routes,
    job_routes.routes,
    health.routes,
    owner.routes,
)
"""In the order in which addresses are matched: fixed words of a resource before its ids."""


def create_web(
    app: App,
    *,
    jobs: JobEngine | None = None,
    operations: Mapping[str, Callable[..., Any]] | None = None,
    owner_key_hash: str | None = None,
) -> ASGIApp:
    """The whole web of an installation as one ASGI application.

    `jobs` lets the API start and show jobs; `operations` are what the owner's command line may ask this process
    for, with the credential whose fingerprint is `owner_key_hash`.
    """
    settings = app.settings
    desk = Desk(
        app=app,
        limits=Limits.of(settings),
        known=Known(app.db),
        jobs=jobs,
        operations=operations or {},
        owner_key_hash=owner_key_hash,
        cursor_key=settings.key_ring.derive("cursors"),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_api: Any) -> AsyncIterator[None]:
        yield
        await lane.close()

    api = create_api(desk, ROUTERS, [*pay.routes(app), *hooks.routes(app)], lifespan)
    limited: ASGIApp = AddressLimit(api, limiter=desk.limits.address)
    hosted = TrustedHost(limited, hosts=settings.trusted_hosts)
    proxied = TrustedProxy(hosted, trusted=settings.trusted_proxies)
    bounded = RequestLimits(proxied, settings)
    edge = RequestId(SecurityHeaders(LastResort(bounded)))
    lane = StatusLane(desk, edge)
    return lane
