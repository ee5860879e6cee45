"""How each event of a payment is booked: one plain function per journal of the chart, balanced by construction.

A provider transaction debits its clearing account once: it is either captured at once (`payment_captured`) or
received (`receipt_unapplied`) and perhaps accepted later, which moves it on without touching the clearing account.
Capture, acceptance and settlement by hand share one key, so a payment is booked by at most one of them.
"""

from collections.abc import Callable, Mapping, Sequence

from paystate.domain.ledger.rules import Entry, Journal, credit, debit
from paystate.kit.clock import Instant
from paystate.kit.ids import MerchantId
from paystate.kit.money import Money

PROVIDER_CLEARING = "1100"
RECONCILIATION_SUSPENSE = "1990"
UNAPPLIED_CASH = "2300"
UNIDENTIFIED_RECEIPTS = "2305"
SALES = "4000"


def payment_captured(
    *, merchant_id: MerchantId, payment_id: str, connection_id: str, money: Money, effective_at: Instant
) -> Journal:
    """A direct sale was paid: the provider owes us the money."""
    return _settled(
        merchant_id=merchant_id,
        payment_id=payment_id,
        kind="payment_captured",
        description="Payment captured",
        tags={"paymentId": payment_id, "connectionId": connection_id},
        entries=(debit(PROVIDER_CLEARING, money, owner=connection_id), credit(SALES, money)),
        effective_at=effective_at,
    )


def receipt_unapplied(
    *,
    merchant_id: MerchantId,
    connection_id: str,
    provider: str,
    account: str,
    live: bool,
    transaction_id: str,
    owner: str | None,
    money: Money,
    effective_at: Instant,
) -> Journal:
    """Money came that does not settle its payment now; the owner is the customer, else the payment, else nobody.

    `money` is what was received, in its own currency.
    """
    return Journal(
        merchant_id=merchant_id,
        kind="receipt_unapplied",
        key=receipt_key(provider=provider, account=account, live=live, transaction_id=transaction_id),
        description="Receipt not applied",
        tags={"connectionId": connection_id, "transactionId": transaction_id},
        effective_at=effective_at,
        entries=(debit(PROVIDER_CLEARING, money, owner=connection_id), _unapplied(credit, money, owner)),
    )


def payment_completed(
    *,
    merchant_id: MerchantId,
    payment_id: str,
    came: tuple[str, Money] | None,
    held: Sequence[tuple[str | None, Money]],
    asked: Money,
    owner: str,
    effective_at: Instant,
) -> Journal:
    """Several receipts together settle a direct sale: what stood unapplied under its owners, and what `came` just now.

    `came` names the connection. What exceeds `asked` stays unapplied under the payment's owner; when it is less, all
    of it is the sale: a person accepted it.
    """
    total = sum(money.amount for _, money in held) + (came[1].amount if came is not None else 0)
    sale = Money(min(total, asked.amount), asked.currency)
    entries = [] if came is None else [debit(PROVIDER_CLEARING, came[1], owner=came[0])]
    entries += [_unapplied(debit, money, whose) for whose, money in _by_owner(held)]
    entries.append(credit(SALES, sale))
    if total > sale.amount:
        entries.append(_unapplied(credit, Money(total - sale.amount, asked.currency), owner))
    return _settled(
        merchant_id=merchant_id,
        payment_id=payment_id,
        kind="payment_completed",
        description="Payment completed from receipts",
        tags={"paymentId": payment_id},
        entries=tuple(entries),
        effective_at=effective_at,
    )


def hand_settlement_matched(
    *,
    merchant_id: MerchantId,
    payment_id: str,
    transaction_id: str,
    owner: str | None,
    money: Money,
    effective_at: Instant,
) -> Journal:
    """The transaction behind a settlement by hand was found: its receipt leaves 2300 or 2305, suspense is cleared."""
    return Journal(
        merchant_id=merchant_id,
        kind="hand_settlement_matched",
        key=f"payment:{payment_id}:matched",
        description="Settlement by hand matched",
        tags={"paymentId": payment_id, "transactionId": transaction_id},
        effective_at=effective_at,
        entries=(_unapplied(debit, money, owner), credit(RECONCILIATION_SUSPENSE, money)),
    )


def settled_by_hand(
    *, merchant_id: MerchantId, payment_id: str, money: Money, effective_at: Instant
) -> Journal:
    """A person decided that a direct sale is paid without a provider transaction; suspense until one is matched."""
    return _settled(
        merchant_id=merchant_id,
        payment_id=payment_id,
        kind="settled_by_hand",
        description="Payment settled by hand",
        tags={"paymentId": payment_id},
        entries=(debit(RECONCILIATION_SUSPENSE, money), credit(SALES, money)),
        effective_at=effective_at,
    )


def receipt_key(*, provider: str, account: str, live: bool, transaction_id: str) -> str:
    """The key of a receipt's journal: two transactions never share one, whatever characters a provider uses."""
    escaped = account.replace("%", "%25").replace(":", "%3A")
    return f"receipt:{provider}:{escaped}:{'live' if live else 'test'}:{transaction_id}"


def _unapplied(side: Callable[..., Entry], money: Money, owner: str | None) -> Entry:
    if owner is None:
        return side(UNIDENTIFIED_RECEIPTS, money)
    return side(UNAPPLIED_CASH, money, owner=owner)


def _by_owner(held: Sequence[tuple[str | None, Money]]) -> list[tuple[str | None, Money]]:
    sums: dict[str | None, Money] = {}
    for owner, money in held:
        before = sums.get(owner)
        sums[owner] = money if before is None else Money(before.amount + money.amount, money.currency)
    return list(sums.items())


def _settled(
    *,
    merchant_id: MerchantId,
    payment_id: str,
    kind: str,
    description: str,
    tags: Mapping[str, str],
    entries: tuple[Entry, ...],
    effective_at: Instant,
) -> Journal:
    return Journal(
        merchant_id=merchant_id,
        kind=kind,
        key=f"payment:{payment_id}:captured",
        description=description,
        tags=tags,
        effective_at=effective_at,
        entries=entries,
    )
