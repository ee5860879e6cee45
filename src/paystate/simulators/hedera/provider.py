"""Hedera put together: a till whose payments are transfers, read at a mirror node and made in a wallet."""

from paystate.simulators.hedera.dialect import HederaDialect
from paystate.simulators.hedera.entities import Entities
from paystate.simulators.hedera.mirror import Mirror
from paystate.simulators.hedera.wallet import Wallet
from paystate.simulators.stage import Stage
from paystate.simulators.till import Till


def create_simulator(stage: Stage) -> Till:
    """What the registry of simulators looks for."""
    till = Till(stage, HederaDialect(stage))
    Wallet(till).serve()
    Mirror(till).serve()
    Entities(till).serve()
    return till
