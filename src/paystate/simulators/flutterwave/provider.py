"""The simulated Flutterwave put together: a till that speaks its dialect, serves its API and lends tokens."""

from collections.abc import Iterable

from aiohttp import web

from paystate.simulators.control import PREFIX
from paystate.simulators.fault_answers import send
from paystate.simulators.flutterwave.api import Api
from paystate.simulators.flutterwave.dialect import FlutterwaveDialect
from paystate.simulators.flutterwave.refunds import Refunds
from paystate.simulators.flutterwave.tokens import Tokens
from paystate.simulators.stage import Answer, Stage
from paystate.simulators.till import Till


class FlutterwaveTill(Till):
    """A till with one control route more: ``POST /_control/tokens/expire`` ends every access token at once."""

    def routes(self) -> Iterable[web.RouteDef]:
        return [*super().routes(), web.post(f"{PREFIX}/tokens/expire", self._expire)]

    async def _expire(self, _request: web.Request) -> web.Response:
        return send(Answer(200, {"expired": self.dialect.expire_tokens()}))


def create_simulator(stage: Stage) -> Till:
    """What the registry of simulators looks for."""
    till = FlutterwaveTill(stage, FlutterwaveDialect(stage))
    Api(till).serve()
    Refunds(till).serve()
    Tokens(till).serve()
    return till
