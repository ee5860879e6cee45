"""Netcash Pay Now: the page that a form opens, unsigned postbacks, the question by trace, and a little SOAP."""

from paystate.simulators.netcash.provider import create_simulator

__all__ = ["create_simulator"]
