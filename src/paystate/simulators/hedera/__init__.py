"""Hedera: a mirror node's REST API, and a wallet page that sends HBAR and USDC with a memo."""

from paystate.simulators.hedera.provider import create_simulator

__all__ = ["create_simulator"]
