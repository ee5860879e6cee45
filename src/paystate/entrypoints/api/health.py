"""Whether this process is alive, whether it is ready, and its figures."""

from collections.abc import Awaitable, Callable, Mapping

from pydantic import ConfigDict
from starlette.responses import Response

from paystate.entrypoints.api.answers import answer
from paystate.entrypoints.api.fields import Out
from paystate.entrypoints.api.guard import PUBLIC, Call, Current
from paystate.entrypoints.api.operation import operation, router
from paystate.kit.clock import MILLISECOND, SECOND, monotonic
from paystate.machinery import metrics
from paystate.machinery.logs import get_logger

routes = router("", "Operations")
log = get_logger(__name__)


class AliveOut(Out):
    """The process answers."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok"}]})

    status: str


class CheckOut(Out):
    """One thing that must work, and how long it took."""

    ok: bool
    duration_ms: int


class ReadyOut(Out):
    """Whether requests can be served; each check by its name."""

    status: str
    checks: dict[str, CheckOut]


@routes.get("/healthz", **operation("getHealth", PUBLIC, AliveOut))
async def alive(_call: Current) -> Response:
    """200 as long as the process answers at all."""
    return answer(AliveOut(status="ok"))


@routes.get("/readyz", **operation("getReadiness", PUBLIC, ReadyOut, also=(503,)))
async def ready(call: Current) -> Response:
    """200 when every check passes, else 503."""
    checks = {name: await _checked(name, check) for name, check in _checks(call).items()}
    fine = all(check.ok for check in checks.values())
    return answer(ReadyOut(status="ok" if fine else "unavailable", checks=checks), 200 if fine else 503)


@routes.get("/metrics", **operation("getMetrics", PUBLIC, None), response_class=Response)
async def figures(_call: Current) -> Response:
    """Figures of this process for Prometheus."""
    return Response(metrics.render(), headers={"Content-Type": metrics.CONTENT_TYPE})


def _checks(call: Call) -> Mapping[str, Callable[[], Awaitable[object]]]:
    return {
        "databaseRead": lambda: call.db.read(lambda tx: tx.now),
        "databaseWrite": lambda: call.db.write(lambda tx: tx.now),
    }


async def _checked(name: str, check: Callable[[], Awaitable[object]]) -> CheckOut:
    began = monotonic()
    try:
        await check()
        fine = True
    except Exception:
        log.exception("not_ready", component=name)
        fine = False
    return CheckOut(ok=fine, duration_ms=int((monotonic() - began) * SECOND) // MILLISECOND)
