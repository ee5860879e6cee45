"""How a provider may be called: when it counts as down, for how long nobody calls, where its token belongs."""

from paystate.kit.clock import SECOND

BREAKER_FAILURES = 5
"""So many questions in a row without an answer say that the provider is down, not a payment."""

FIRST_PAUSE = 5 * SECOND
LONGEST_PAUSE = 60 * SECOND


def breaker_pause(trips: int) -> int:
    """How long nobody calls after the breaker opened for the `trips`-th time in a row; microseconds."""
    return min(LONGEST_PAUSE, FIRST_PAUSE << min(trips - 1, 8))


def token_aad(connection_id: str, merchant_id: str) -> str:
    """Where a connection's sealed access token belongs."""
    return f"connection_tokens,token,{connection_id},{merchant_id}"
