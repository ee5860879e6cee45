"""Paystate: the software that knows the true state of every payment."""

__version__ = "0.1.0"
