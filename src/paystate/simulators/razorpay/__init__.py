"""Razorpay, as far as payment links and their money go: local, with a test card and every fault on order."""

from paystate.simulators.razorpay.provider import create_simulator

__all__ = ["create_simulator"]
