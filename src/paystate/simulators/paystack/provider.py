"""The simulated Paystack put together: a till that speaks its dialect and serves its API."""

from paystate.simulators.paystack.api import Api
from paystate.simulators.paystack.dialect import PaystackDialect
from paystate.simulators.stage import Stage
from paystate.simulators.till import Till


def create_simulator(stage: Stage) -> Till:
    """What the registry of simulators looks for."""
    till = Till(stage, PaystackDialect(stage))
    Api(till).serve()
    return till
