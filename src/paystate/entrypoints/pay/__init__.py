"""The hosted payment page: what a customer sees and clicks."""

from starlette.routing import Route

from paystate.app import App
from paystate.entrypoints.pay import choices, pages, returns
from paystate.entrypoints.pay.answers import Desk, Page


def routes(app: App) -> list[Route]:
    """Every path under ``/pay``."""
    desk = Desk(app)
    return [
        Route("/pay/static/{name}", Page(desk, desk.static.get)),
        *returns.routes(desk),
        *choices.routes(desk),
        *pages.routes(desk),
    ]
