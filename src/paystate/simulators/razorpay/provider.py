"""The simulated Razorpay put together: a till that speaks its dialect and serves its API."""

from paystate.simulators.razorpay.api import Api
from paystate.simulators.razorpay.dialect import RazorpayDialect
from paystate.simulators.stage import Stage
from paystate.simulators.till import Till


def create_simulator(stage: Stage) -> Till:
    """What the registry of simulators looks for."""
    till = Till(stage, RazorpayDialect(stage))
    Api(till).serve()
    return till
