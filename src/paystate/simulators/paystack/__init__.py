"""A simulated Paystack: hosted checkouts that never end, queued refunds, disputes, in hundredths of every currency."""

from paystate.simulators.paystack.provider import create_simulator

__all__ = ["create_simulator"]
