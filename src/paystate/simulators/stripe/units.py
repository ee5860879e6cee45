"""Stripe's units of money: the smallest unit of a currency, with the exceptions Stripe makes."""

from paystate.kit.money import EXPONENTS
from paystate.simulators.calls import refuse

LARGEST = 99_999_999_99
SMALLEST = {"usd": 50, "eur": 50, "gbp": 30}

_ZERO_DECIMAL = "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf"
_COUNTED_IN_HUNDREDTHS = "isk ugx"
_THREE_DECIMAL = "bhd jod kwd omr tnd"
_UNKNOWN = "hbar iqd lyd usdc"


def decimals(code: str) -> int:
    """Of a lower-case currency. Refuses one that Stripe does not know."""
    if code in _UNKNOWN.split() or code.upper() not in EXPONENTS or not code.islower():
        raise refuse("parameter_invalid", f"Invalid currency: {code}.", 400, param="currency")
    if code in _ZERO_DECIMAL.split():
        return 0
    return 3 if code in _THREE_DECIMAL.split() else 2


def to_minor(amount: int, code: str, smallest: int | None = None) -> int:
    """What a till counts. Refuses amounts that Stripe does; `smallest` in place of the published minimum."""
    places = decimals(code)
    least = SMALLEST.get(code, 1) if smallest is None else smallest
    if not least <= amount <= LARGEST:
        name = "amount_too_small" if amount < least else "amount_too_large"
        raise refuse(name, "The amount is outside of what can be charged.", 400, param="unit_amount")
    if places == 3 and amount % 10:
        raise refuse("parameter_invalid_integer", "The last digit must be 0.", 400, param="unit_amount")
    if code in _COUNTED_IN_HUNDREDTHS.split() and amount % 100:
        raise refuse("parameter_invalid_integer", "Whole units only.", 400, param="unit_amount")
    ours, theirs = _smallest_parts(code.upper(), places)
    return amount * ours // theirs


def from_minor(amount: int, currency: str) -> int:
    """What Stripe says of an amount that a till counts; a forced outcome may name a currency it does not take."""
    code = currency.lower()
    places = EXPONENTS[currency] if code in _UNKNOWN.split() else decimals(code)
    ours, theirs = _smallest_parts(currency, places)
    return amount * theirs // ours


def _smallest_parts(currency: str, places: int) -> tuple[int, int]:
    """How many of the till's units and how many of Stripe's make one whole unit."""
    ours: int = 10 ** EXPONENTS[currency]
    theirs: int = 10**places
    return ours, theirs
