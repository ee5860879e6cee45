"""A simulated Flutterwave v3: hosted links, several transactions under one reference, and access tokens that expire."""

from paystate.simulators.flutterwave.provider import create_simulator

__all__ = ["create_simulator"]
