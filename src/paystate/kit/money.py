"""Money as whole minor units of one currency, with the table of exponents that gives them their meaning."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

MAX_AMOUNT = 10**15

_TWO = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP "
    "CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR "
    "JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN "
    "NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP "
    "SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG"
)
_ZERO = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_THREE = "BHD IQD JOD KWD LYD OMR TND"

EXPONENTS: dict[str, int] = {
    **dict.fromkeys(_TWO.split(), 2),
    **dict.fromkeys(_ZERO.split(), 0),
    **dict.fromkeys(_THREE.split(), 3),
    "HBAR": 8,
    "USDC": 6,
}
"""Decimal places of each currency: ISO 4217, plus HBAR (tinybars) and USDC."""


_PLAIN = re.compile(r"(-?)(?=\.?[0-9])([0-9]{0,18})(?:\.([0-9]{0,18}))?\Z")


class UnknownCurrency(ValueError):
    """The currency is not in the table of exponents."""


class TooManyDecimals(ValueError):
    """A major-unit text carries more decimals than its currency has."""


def exponent(currency: str) -> int:
    """Decimal places of the currency. Raises UnknownCurrency."""
    try:
        return EXPONENTS[currency]
    except KeyError:
        raise UnknownCurrency("unknown currency") from None


@dataclass(frozen=True, slots=True)
class Money:
    """``Money(1500, "ZAR")``: fifteen rand. Sums and comparisons never mix currencies."""

    amount: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.amount) is not int:
            raise TypeError("an amount is a whole number of minor units")
        exponent(self.currency)

    def __add__(self, other: "Money") -> "Money":
        self._same(other)
        return Money(self.amount + other.amount, self.currency)

    def __sub__(self, other: "Money") -> "Money":
        self._same(other)
        return Money(self.amount - other.amount, self.currency)

    def _same(self, other: "Money") -> None:
        if self.currency != other.currency:
            raise ValueError(f"{self.currency} and {other.currency} do not add up")

    @property
    def major(self) -> str:
        """Major units as text with the currency's own decimals: ``"15.00"``."""
        return major_units(self.amount, self.currency)


def major_units(amount: int, currency: str) -> str:
    """``(1500, "ZAR")`` → ``"15.00"``; ``(1500, "JPY")`` → ``"1500"``."""
    places = exponent(currency)
    if places == 0:
        return str(amount)
    sign, digits = ("-", -amount) if amount < 0 else ("", amount)
    whole, rest = divmod(digits, 10**places)
    return f"{sign}{whole}.{rest:0{places}d}"


def parse_major(text: str, currency: str) -> Money:
    """Money from a provider's or person's major units, exactly.

    Raises TooManyDecimals, UnknownCurrency, or ValueError for what is no plain decimal number.
    """
    places = exponent(currency)
    match = _PLAIN.match(text)
    if match is None:
        raise ValueError("not a plain decimal number")
    sign, whole, decimals = match.group(1), match.group(2), (match.group(3) or "").rstrip("0")
    if len(decimals) > places:
        raise TooManyDecimals(f"{currency} has {places} decimal places")
    return Money(int(f"{sign}{whole}{decimals:0<{places}}"), currency)


def split(amount: int, weights: Sequence[int]) -> list[int]:
    """Parts in proportion to the weights that sum to the amount exactly, by largest remainder.

    Raises ValueError for negative amounts or weights, or when all weights are zero.
    """
    total = sum(weights)
    if amount < 0 or total <= 0 or any(w < 0 for w in weights):
        raise ValueError(
            "a split needs an amount and weights that are not negative, and one weight above zero"
        )
    parts = [amount * w // total for w in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(amount * weights[i] % total), i))
    for i in by_remainder[: amount - sum(parts)]:
        parts[i] += 1
    return parts
