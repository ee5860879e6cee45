"""Stripe, as far as Checkout Sessions and what belongs to their money go: local, with test cards and every fault on order."""

from paystate.simulators.stripe.provider import create_simulator

__all__ = ["create_simulator"]
