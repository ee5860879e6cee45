"""Everything a till remembers, by id, by reference and in order of time; every change goes to the record file."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from paystate.simulators.record_file import Line
from paystate.simulators.shelf import Shelf, Window
from paystate.simulators.stage import Stage
from paystate.simulators.till.objects import (
    ENDED_UNPAID,
    Account,
    Checkout,
    Event,
    PaidIn,
    Refund,
    RefundStatus,
    Transaction,
)

MAX_ACCOUNTS = 1_000


class TillState:
    """No rules in here: it keeps, finds and records."""

    def __init__(self, stage: Stage, accounts: Sequence[Account]) -> None:
        self._stage = stage
        self._first_accounts = tuple(accounts)
        self.past = False
        self.clear()

    def clear(self) -> None:
        """Back to the first accounts and nothing else."""
        self.accounts: dict[str, Account] = {}
        self._owner_of_key: dict[str, str] = {}
        self.checkouts: Shelf[Checkout] = Shelf(on_evict=self._forget_checkout)
        self.refunds: Shelf[Refund] = Shelf(on_evict=self._forget_refund)
        self.events: Shelf[Event] = Shelf()
        self._paid_in: Shelf[PaidIn] = Shelf(on_evict=self._forget_transaction)
        self._by_reference: dict[tuple[str, str], list[str]] = {}
        self._newest: dict[str, str] = {}
        self._by_transaction: dict[str, list[PaidIn]] = {}
        self._refunds_of: dict[tuple[str, str], list[str]] = {}
        for account in self._first_accounts:
            self._index_account(account)

    @contextmanager
    def in_the_past(self) -> Iterator[None]:
        """While it lasts, checkouts and refunds are found as they were before their last change. Nothing may be kept."""
        self.past = self.checkouts.recalls = self.refunds.recalls = True
        try:
            yield
        finally:
            self.past = self.checkouts.recalls = self.refunds.recalls = False

    # --- writing

    def keep_account(self, account: Account) -> None:
        """Raises ValueError when there are too many, or a key belongs to another account."""
        if account.id not in self.accounts and len(self.accounts) >= MAX_ACCOUNTS:
            raise ValueError("too many accounts")
        if any(self._owner_of_key.get(key, account.id) != account.id for key in account.keys):
            raise ValueError("this secret key belongs to another account")
        self._index_account(account)
        self._stage.record.write("account", account)

    def keep_checkout(self, checkout: Checkout) -> None:
        self._index_checkout(checkout)
        self._stage.record.write("checkout", checkout)

    def keep_refund(self, refund: Refund) -> None:
        self._index_refund(refund)
        self._stage.record.write("refund", refund)

    def keep_event(self, event: Event) -> None:
        self.events.put(event)
        self._stage.record.write("event", event)

    # --- finding

    def owner_of_key(self, key: str) -> str | None:
        return self._owner_of_key.get(key)

    def of_reference(self, owner: str, reference: str) -> list[Checkout]:
        """Oldest first."""
        ids = self._by_reference.get((owner, reference), ())
        return [checkout for i in ids if (checkout := self.checkouts.get(i)) is not None]

    def live_of_reference(self, owner: str, reference: str) -> Checkout | None:
        """The checkout that still holds, or has used up, this reference."""
        found = (c for c in self.of_reference(owner, reference) if c.status not in ENDED_UNPAID)
        return next(found, None)

    def newest_of_reference(self, reference: str) -> Checkout | None:
        """Of any account: for the control API, which belongs to none."""
        return self.checkouts.get(self._newest.get(reference, ""))

    def transaction(self, owner: str, transaction_id: str) -> tuple[Checkout, Transaction] | None:
        """A transaction of this owner and the checkout that holds it."""
        for place in self._by_transaction.get(transaction_id, ()):
            if place.owner == owner and (found := self._resolved(place)) is not None:
                return found
        return None

    def transactions(self, owner: str, window: Window) -> tuple[Sequence[Transaction], str | None]:
        """By the time they were paid, oldest first."""
        places, cursor = self._paid_in.page(owner, window)
        return [found[1] for place in places if (found := self._resolved(place)) is not None], cursor

    def newest_transactions(
        self, owner: str, window: Window, skip: int = 0
    ) -> tuple[list[tuple[Checkout, Transaction]], int]:
        """By the time they were paid, newest first, and how many there are; a cursor is a `PaidIn` id."""
        places, total = self._paid_in.newest(owner, window, skip)
        return [found for place in places if (found := self._resolved(place)) is not None], total

    def all_transactions(self) -> list[dict[str, Any]]:
        """Each with its checkout and the owner of it."""
        found = ((place, self._resolved(place)) for place in self._paid_in)
        return [
            {**pair[1].row(), "checkout": place.checkout, "owner": place.owner}
            for place, pair in found
            if pair is not None
        ]

    def refunds_of(self, checkout: str, transaction: str) -> list[Refund]:
        """Oldest first."""
        ids = self._refunds_of.get((checkout, transaction), ())
        return [refund for i in ids if (refund := self.refunds.get(i)) is not None]

    def refundable(self, checkout: Checkout, transaction: Transaction) -> int:
        """What is left; refunds under way count as gone."""
        of_it = self.refunds_of(checkout.id, transaction.id)
        return transaction.amount - sum(r.amount for r in of_it if r.status is not RefundStatus.FAILED)

    # --- starting again

    def reload(self, lines: Iterable[Line]) -> None:
        """The last line of each id wins; a reset forgets all before it."""
        for line in lines:
            match line.kind:
                case "account":
                    self._index_account(msgspec.json.decode(line.object, type=Account))
                case "checkout":
                    self._index_checkout(msgspec.json.decode(line.object, type=Checkout))
                case "refund":
                    self._index_refund(msgspec.json.decode(line.object, type=Refund))
                case "event":
                    self.events.put(msgspec.json.decode(line.object, type=Event))
                case "answer":
                    self._stage.reload_answer(msgspec.json.decode(line.object))
                case "reset":
                    self.clear()
                    self._stage.forget()
                case _:
                    raise ValueError(f"the record file has a line of unknown kind {line.kind!r}")

    # --- indexes

    def _index_account(self, account: Account) -> None:
        old = self.accounts.get(account.id)
        for key in old.keys if old is not None else ():
            self._owner_of_key.pop(key, None)
        self.accounts[account.id] = account
        self._owner_of_key.update(dict.fromkeys(account.keys, account.id))

    def _index_checkout(self, checkout: Checkout) -> None:
        if self.checkouts.get(checkout.id) is None:
            self._by_reference.setdefault((checkout.owner, checkout.reference), []).append(checkout.id)
            self._newest[checkout.reference] = checkout.id
        self.checkouts.put(checkout)
        for paid in checkout.transactions:
            self._index_transaction(
                PaidIn(checkout=checkout.id, transaction=paid.id, owner=checkout.owner, at=paid.paid_at)
            )

    def _index_transaction(self, place: PaidIn) -> None:
        if self._paid_in.get(place.id) is None:
            self._paid_in.put(place)
            self._by_transaction.setdefault(place.transaction, []).append(place)

    def _index_refund(self, refund: Refund) -> None:
        if self.refunds.get(refund.id) is None:
            self._refunds_of.setdefault((refund.checkout, refund.transaction), []).append(refund.id)
        self.refunds.put(refund)

    def _resolved(self, place: PaidIn) -> tuple[Checkout, Transaction] | None:
        checkout = self.checkouts.get(place.checkout)
        if checkout is None:
            return None
        return next(((checkout, t) for t in checkout.transactions if t.id == place.transaction), None)

    def _forget_checkout(self, checkout: Checkout) -> None:
        _remove(self._by_reference, (checkout.owner, checkout.reference), checkout.id)
        if self._newest.get(checkout.reference) == checkout.id:
            del self._newest[checkout.reference]

    def _forget_refund(self, refund: Refund) -> None:
        _remove(self._refunds_of, (refund.checkout, refund.transaction), refund.id)

    def _forget_transaction(self, place: PaidIn) -> None:
        _remove(self._by_transaction, place.transaction, place)


def _remove(index: dict[Any, list[Any]], key: Any, value: Any) -> None:
    """Take a value out of an index of lists; an empty list goes too."""
    index[key].remove(value)
    if not index[key]:
        del index[key]
