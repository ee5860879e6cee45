"""The simulated SumUp put together: a till that speaks its dialect and serves its API."""

from paystate.simulators.stage import Stage
from paystate.simulators.sumup.api import Api
from paystate.simulators.sumup.dialect import SumUpDialect
from paystate.simulators.sumup.history import History
from paystate.simulators.till import Till


def create_simulator(stage: Stage) -> Till:
    """What the registry of simulators looks for."""
    till = Till(stage, SumUpDialect(stage))
    Api(till).serve()
    History(till).serve()
    return till
