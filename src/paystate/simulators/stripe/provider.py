"""Stripe put together: a till that speaks its dialect and serves its API."""

from paystate.simulators.stage import Stage
from paystate.simulators.stripe.api import Api
from paystate.simulators.stripe.dialect import StripeDialect
from paystate.simulators.till import Till


def create_simulator(stage: Stage) -> Till:
    """What the registry of simulators looks for."""
    till = Till(stage, StripeDialect(stage))
    Api(till).serve()
    return till
