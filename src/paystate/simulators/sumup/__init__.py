"""A simulated SumUp: hosted checkouts, transactions and refunds at its real paths, in major units, with its test cards."""

from paystate.simulators.sumup.provider import create_simulator

__all__ = ["create_simulator"]
