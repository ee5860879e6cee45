"""Sandbox Pay: a payment provider that exists only here, with a page to pay on and every fault on order."""

from paystate.simulators.sandbox.provider import create_simulator

__all__ = ["create_simulator"]
