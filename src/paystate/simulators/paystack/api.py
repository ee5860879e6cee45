"""The merchant's API of the simulated Paystack: initialize, verify, list, refund, disputes, balance."""

import re
from typing import Any

import msgspec

from paystate.kit.clock import Instant, parse_rfc3339
from paystate.kit.money import MAX_AMOUNT
from paystate.simulators.calls import Call, Operation, refuse
from paystate.simulators.faults import Subject
from paystate.simulators.paystack.wire import dispute_row, minor, refund_row, subunits, transaction_row
from paystate.simulators.shelf import Window
from paystate.simulators.stage import Answer
from paystate.simulators.till import Checkout, Refund, Status, Till, Transaction

CURRENCIES = frozenset({"NGN", "GHS", "ZAR", "KES", "USD", "XOF"})
DEFAULT_PAGE, MAX_PAGE = 50, 100
_REFERENCE = re.compile(r"[A-Za-z0-9.=-]{1,100}\Z")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+\Z")
_URL = re.compile(r"https?://[!-~]+\Z")


class Api:
    """One method per call; who asks sees only what belongs to its account."""

    def __init__(self, till: Till) -> None:
        self._till = till
        self._state = till.state
        self._acts = till.acts

    def serve(self) -> None:
        """Every call of the API, at its path."""
        till = self._till
        till.serve("POST", "/transaction/initialize", Operation("start", self.start, self._about_body))
        verify = Operation("ask", self.verify, self._about_path)
        till.serve("GET", "/transaction/verify/{reference}", verify)
        till.serve("GET", "/transaction", Operation("list", self.list_transactions))
        till.serve("GET", "/transaction/{id}", Operation("ask", self.transaction))
        till.serve("POST", "/refund", Operation("refund", self.refund, self._about_transaction))
        of_it = Operation("ask_refund", self.refunds, self._about_transaction)
        till.serve("GET", "/refund", of_it)
        till.serve("GET", "/refund/{id}", Operation("ask_refund", self.one_refund, till.about_refund))
        till.serve("GET", "/dispute", Operation("ask_refund", self.disputes, self._about_transaction))
        till.serve("GET", "/balance", Operation("account", self.balance))

    def start(self, call: Call) -> Answer:
        body = call.body or {}
        currency = body.get("currency", "NGN")
        if currency not in CURRENCIES:
            raise refuse("unsupported_currency", "Currency not supported by merchant", 400)
        reference = body.get("reference") or f"T{self._till.stage.now()}"
        if not isinstance(reference, str) or _REFERENCE.match(reference) is None:
            raise refuse("invalid_params", "Invalid transaction reference", 400)
        amount = _amount(body.get("amount"), currency)
        if not isinstance(body.get("email"), str) or _EMAIL.match(body["email"]) is None:
            raise refuse("invalid_params", "Invalid Email Address Passed", 400)
        if self._state.of_reference(call.owner, reference):
            raise refuse("duplicate_reference", "Duplicate Transaction Reference", 400)
        checkout = self._acts.opened(self._new_checkout(call, reference, amount, currency))
        url = self._till.dialect.page_url(checkout)
        offered = {"authorization_url": url, "access_code": checkout.id, "reference": reference}
        answer = _good("Authorization URL created", offered)
        return Answer(200, answer.body, first=lambda: self._acts.tell_early(checkout))

    def verify(self, call: Call) -> Answer:
        found = self._state.of_reference(call.owner, call.request.match_info["reference"])
        if not found:
            raise refuse("transaction_not_found", "Transaction reference not found.", 400)
        return _good("Verification successful", transaction_row(self._acts.look(found[-1])))

    def transaction(self, call: Call) -> Answer:
        wanted = call.request.match_info["id"]
        found = self._state.transaction(call.owner, wanted)
        checkout = found[0] if found else self._till.own_checkout(call, wanted)
        return _good("Transaction retrieved", transaction_row(checkout, found[1] if found else None))

    def list_transactions(self, call: Call) -> Answer:
        start, end = _time(call, "from"), _time(call, "to")
        page, size = _page(call), _size(call)
        whole = Window()
        cursor = call.request.query.get("next")
        window = Window(start or whole.start, whole.end if end is None else end + 1, size, cursor)
        by_cursor = call.request.query.get("use_cursor") == "true"
        try:
            rows, total = self._state.checkouts.newest(
                call.owner, window, 0 if by_cursor else (page - 1) * size
            )
        except ValueError:
            raise refuse("invalid_params", "Invalid cursor", 400) from None
        shown = [transaction_row(self._acts.look(row), paid) for row in rows for paid in _payments(row)]
        if by_cursor:
            following = rows[-1].id if len(rows) == size else None
            meta: dict[str, Any] = {"next": following, "previous": None, "perPage": str(size)}
        else:
            meta = _meta(total, page, size)
        return _good("Transactions retrieved", shown, meta)

    def refund(self, call: Call) -> Answer:
        body = call.body or {}
        checkout, paid = self._paid(call, str(body.get("transaction", "")))
        left = self._state.refundable(checkout, paid)
        amount = left if body.get("amount") is None else _amount(body["amount"], paid.currency)
        if not 0 < amount <= left:
            raise refuse("invalid_amount", "Refund amount is more than what is left of the transaction", 400)
        notes = {n: body[n] for n in ("merchant_note", "customer_note") if isinstance(body.get(n), str)}
        extra = {**notes, "domain": "live" if checkout.live else "test"}
        refund = self._acts.refund(checkout, paid, amount, checkout.reference, extra)
        # Queued: what became of it is only told by webhook and when asked.
        row = {**refund_row(refund), "status": "pending", "transaction": transaction_row(checkout, paid)}
        return _good("Refund has been queued for processing", row)

    def refunds(self, call: Call) -> Answer:
        named = call.request.query.get("transaction")
        if named is None:
            rows, total = self._state.refunds.newest(
                call.owner, Window(limit=_size(call)), (_page(call) - 1) * _size(call)
            )
            return _listed(call, [refund_row(refund) for refund in rows], total)
        found = self._found(call, named)
        refunds = [] if found is None else self._state.refunds_of(found[0].id, found[1].id)
        return _cut(call, [refund_row(refund) for refund in reversed(refunds)])

    def one_refund(self, call: Call) -> Answer:
        refund: Refund | None = self._state.refunds.get(call.request.match_info["id"])
        if refund is None or refund.owner != call.owner:
            raise refuse("not_found", "Refund not found", 404)
        return _good("Refund retrieved", refund_row(refund))

    def disputes(self, call: Call) -> Answer:
        found = self._found(call, call.request.query.get("transaction", ""))
        rows = [dispute_row(*found)] if found is not None and found[1].disputed else []
        return _cut(call, rows)

    def balance(self, call: Call) -> Answer:
        sums: dict[str, int] = {}
        for checkout in self._state.checkouts:
            for paid in checkout.transactions if checkout.owner == call.owner else ():
                left = paid.amount - paid.amount_refunded - paid.fee
                sums[paid.currency] = sums.get(paid.currency, 0) + subunits(left, paid.currency)
        rows = [{"currency": currency, "balance": sums[currency]} for currency in sorted(sums)]
        return _good("Balances retrieved", rows or [{"currency": "NGN", "balance": 0}])

    def _new_checkout(self, call: Call, reference: str, amount: int, currency: str) -> Checkout:
        now = self._till.stage.now()
        account = self._till.account(call)
        body = call.body or {}
        metadata = _metadata(body.get("metadata"))
        callback = _url(body.get("callback_url"), self._till.stage.base_url)
        return Checkout(
            id=self._till.dialect.new_id("checkout", account, now),
            owner=account.id,
            account=account.id,
            live=account.live,
            reference=reference,
            amount=amount,
            currency=currency,
            description="",
            status=Status.OPEN,
            return_url=callback,
            cancel_url=_url(metadata.get("cancel_action"), callback),
            webhook_url=None,
            created_at=now,
            updated_at=now,
            expires_at=None,
            extra={"email": body["email"], "metadata": metadata or ""},
        )

    def _found(self, call: Call, named: str) -> tuple[Checkout, Transaction] | None:
        """By the transaction's number or by reference."""
        for checkout in self._state.of_reference(call.owner, named):
            if checkout.transaction is not None:
                return checkout, checkout.transaction
        return self._state.transaction(call.owner, named)

    def _paid(self, call: Call, named: str) -> tuple[Checkout, Transaction]:
        found = self._found(call, named)
        if found is None:
            raise refuse("transaction_not_found", "Transaction not found", 404)
        return found

    def _about_body(self, call: Call) -> Subject:
        reference = (call.body or {}).get("reference")
        return Subject(reference if isinstance(reference, str) else None)

    def _about_path(self, call: Call) -> Subject:
        return self._till.about_reference(call, call.request.match_info["reference"])

    def _about_transaction(self, call: Call) -> Subject:
        named = call.request.query.get("transaction") or str((call.body or {}).get("transaction", ""))
        return self._till.about_transaction(call, named)


def _good(message: str, data: Any, meta: dict[str, Any] | None = None) -> Answer:
    body = {"status": True, "message": message, "data": data}
    return Answer(200, body if meta is None else {**body, "meta": meta})


def _meta(total: int, page: int, size: int) -> dict[str, Any]:
    counts = {"total": total, "skipped": (page - 1) * size, "perPage": size, "page": page}
    return {**counts, "pageCount": -(-total // size)}


def _listed(call: Call, rows: list[dict[str, Any]], total: int) -> Answer:
    return _good("Retrieved", rows, _meta(total, _page(call), _size(call)))


def _cut(call: Call, rows: list[dict[str, Any]]) -> Answer:
    start = (_page(call) - 1) * _size(call)
    return _listed(call, rows[start : start + _size(call)], len(rows))


def _payments(checkout: Checkout) -> list[Transaction | None]:
    """A row for each payment, the newest first, and one where there is none yet."""
    return [*reversed(checkout.transactions)] or [None]


def _amount(given: Any, currency: str) -> int:
    """In minor units, from hundredths; a text of digits is taken too."""
    number = int(given) if isinstance(given, str) and given.isascii() and given.isdigit() else given
    amount = minor(number, currency) if type(number) is int and 0 < number <= MAX_AMOUNT else None
    if not amount:
        raise refuse("invalid_params", "Invalid Amount Sent", 400)
    return amount


def _metadata(given: Any) -> dict[str, Any]:
    """An object, or one written as a text."""
    if isinstance(given, str):
        try:
            given = msgspec.json.decode(given.encode() or b"{}")
        except msgspec.DecodeError:
            return {}
    return given if isinstance(given, dict) else {}


def _url(given: Any, otherwise: str) -> str:
    return given if isinstance(given, str) and _URL.match(given) else otherwise


def _number(call: Call, name: str, otherwise: int) -> int:
    text = call.request.query.get(name, str(otherwise))
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text) > 0):
        raise refuse("invalid_params", f"{name} is a number from 1 on", 400)
    return int(text)


def _page(call: Call) -> int:
    return _number(call, "page", 1)


def _size(call: Call) -> int:
    return min(MAX_PAGE, _number(call, "perPage", DEFAULT_PAGE))


def _time(call: Call, name: str) -> Instant | None:
    try:
        return parse_rfc3339(call.request.query[name]) if name in call.request.query else None
    except ValueError:
        raise refuse("invalid_params", f"{name} is not a time", 400) from None
