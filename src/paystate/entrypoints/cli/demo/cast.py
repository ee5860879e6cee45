"""Who plays in a demo: a provider's money, and the published test cards that its page knows."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Cast:
    """What is sold for how much, and how a customer pays. Without a card the money is sent from a wallet."""

    currency: str
    price: int
    card: str | None = None
    declined_card: str | None = None
    asks_by_itself: bool = True
    """Whether the provider answers to our own reference, or only to what a message of its own has named."""


CASTS: Mapping[str, Cast] = MappingProxyType(
    {
        "sandbox": Cast("EUR", 14_900, "4242424242424242", "4000000000000002"),
        "stripe": Cast("EUR", 14_900, "4242424242424242", "4000000000000002"),
        "sumup": Cast("EUR", 14_900, "5555444433331111", "4000000000000002"),
        "paystack": Cast("NGN", 14_900_00, "4084084084084081", "4084080000005408"),
        "flutterwave": Cast("NGN", 14_900_00, "5531886652142950", "5258585922666506"),
        "netcash": Cast("ZAR", 149_900, "4111111111111111", "4000000000000002", asks_by_itself=False),
        "hedera": Cast("USDC", 149_000_000),
    }
)


ANYBODY = Cast("EUR", 14_900, "4242424242424242")
"""A provider without a line of its own: the page of every till takes any card."""


def cast_of(provider: str) -> Cast:
    """What is played with this provider."""
    return CASTS.get(provider, ANYBODY)
