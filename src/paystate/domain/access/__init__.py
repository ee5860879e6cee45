"""Access to providers: the token of a connection, the breaker of one that is down, the turn of reading its list."""

from paystate.domain.access.rules import BREAKER_FAILURES, token_aad
from paystate.domain.access.store import (
    Breaker,
    Line,
    Listing,
    StoredToken,
    TokenState,
    begin_listing,
    begin_renewal,
    begin_try,
    breakers,
    close_breaker,
    down_since_before,
    end_listing,
    end_renewal,
    keep_listing,
    listings,
    token_of,
    trip,
)

__all__ = [
    "BREAKER_FAILURES",
    "Breaker",
    "Line",
    "Listing",
    "StoredToken",
    "TokenState",
    "begin_listing",
    "begin_renewal",
    "begin_try",
    "breakers",
    "close_breaker",
    "down_since_before",
    "end_listing",
    "end_renewal",
    "keep_listing",
    "listings",
    "token_aad",
    "token_of",
    "trip",
]
