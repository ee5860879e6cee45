"""Sandbox Pay put together: a till that speaks its dialect and serves its API."""

from paystate.simulators.sandbox.api import Api
from paystate.simulators.sandbox.dialect import SandboxDialect
from paystate.simulators.stage import Stage
from paystate.simulators.till import Till


def create_simulator(stage: Stage) -> Till:
    """What the registry of simulators looks for."""
    till = Till(stage, SandboxDialect(stage))
    Api(till).serve()
    return till
