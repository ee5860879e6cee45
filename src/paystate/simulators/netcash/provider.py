"""Netcash put together: a till that speaks its dialect and serves its form, its question and its SOAP."""

from paystate.simulators.netcash.api import Api
from paystate.simulators.netcash.dialect import NetcashDialect
from paystate.simulators.netcash.soap import Soap
from paystate.simulators.stage import Stage
from paystate.simulators.till import Till


def create_simulator(stage: Stage) -> Till:
    """What the registry of simulators looks for."""
    till = Till(stage, NetcashDialect(stage))
    Api(till).serve()
    Soap(till).serve()
    return till
