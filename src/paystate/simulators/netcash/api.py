"""The two addresses of Pay Now: the form that opens the page, and the question by RequestTrace."""

import re
from html import escape
from typing import Any

from paystate.kit.money import MAX_AMOUNT, parse_major
from paystate.simulators.calls import Call, Operation
from paystate.simulators.faults import Subject
from paystate.simulators.netcash.postback import CURRENCY, about, check_answer, checkout_of
from paystate.simulators.stage import Answer
from paystate.simulators.till import Account, Checkout, Status, Till
from paystate.simulators.till import about as subject_of

REFERENCE_LENGTH = 25
DESCRIPTION_LENGTH = 50
EXTRA_LENGTH = 50
_AMOUNT = re.compile(r"[0-9]{1,13}\.[0-9]{2}\Z")


class Api:
    """Neither call carries credentials: the form names its service key, the trace is a secret itself."""

    def __init__(self, till: Till) -> None:
        self._till = till

    def serve(self) -> None:
        start = Operation("start", self.open_page, _reference_in_form, public=True, raw=True)
        ask = Operation("ask", self.check, self._about_trace, public=True)
        self._till.serve("POST", "/site/paynow.aspx", start)
        self._till.serve("GET", "/PayNow/TransactionStatus/Check", ask)

    def open_page(self, call: Call) -> Answer:
        """A browser's form. Whatever is wrong with it is shown to the payer, as a page."""
        form = {name: value for name, value in (call.body or {}).items() if isinstance(value, str)}
        owner = self._till.state.owner_of_key(form.get("m1", "").lower())
        wrong = self._wrong(form, owner)
        if owner is None or wrong:
            return _told(wrong or "Invalid service key.")
        checkout = self._till.acts.opened(self._new_checkout(form, self._till.state.accounts[owner]))
        return Answer(
            303,
            b"",
            {"Location": self._till.dialect.page_url(checkout)},
            first=lambda: self._till.acts.tell_early(checkout),
            content_type="text/html",
        )

    def check(self, call: Call) -> Answer:
        """`null` for a trace that nobody has."""
        trace = call.request.query.get("RequestTrace", "").strip().lower()
        checkout = self._of_trace(trace)
        said = None if checkout is None else about(self._till.acts.look(checkout), trace)
        if checkout is None or said is None:
            return Answer(200, None)
        return Answer(200, check_answer(checkout, said))

    def _wrong(self, form: dict[str, str], owner: str | None) -> str:
        """What the page complains about; "" for a form in order."""
        reference, amount = form.get("p2", ""), form.get("p4", "")
        if owner is None:
            return "Invalid service key."
        if not 1 <= len(reference) <= REFERENCE_LENGTH:
            return "Invalid reference."
        if self._till.state.of_reference(owner, reference):
            return "Duplicate reference: this transaction was submitted before."
        if not 1 <= len(form.get("p3", "")) <= DESCRIPTION_LENGTH:
            return "Invalid description."
        if not _AMOUNT.match(amount) or not 0 < parse_major(amount, CURRENCY).amount <= MAX_AMOUNT:
            return "The amount is R0.00."
        if form.get("Budget") not in {"Y", "N"} or not form.get("m2"):
            return "A required field is missing."
        return (
            "An extra field is too long."
            if any(len(v) > EXTRA_LENGTH for v in _extras(form).values())
            else ""
        )

    def _new_checkout(self, form: dict[str, str], account: Account) -> Checkout:
        now = self._till.stage.now()
        return Checkout(
            id=self._till.dialect.new_id("checkout", account, now),
            owner=account.id,
            account=account.id,
            live=account.live,
            reference=form["p2"],
            amount=parse_major(form["p4"], CURRENCY).amount,
            currency=CURRENCY,
            description=form["p3"],
            status=Status.OPEN,
            return_url=account.extra.get("acceptUrl", ""),
            cancel_url=account.extra.get("declineUrl", ""),
            webhook_url=None,
            created_at=now,
            updated_at=now,
            expires_at=None,
            extra=_extras(form),
        )

    def _of_trace(self, trace: str) -> Checkout | None:
        """By its shape, or as the id of a transaction that somebody forced."""
        state = self._till.state
        checkout = state.checkouts.get(checkout_of(trace) or "")
        if checkout is not None:
            return checkout
        found = (state.transaction(owner, trace) for owner in state.accounts)
        return next((pair[0] for pair in found if pair is not None), None)

    def _about_trace(self, call: Call) -> Subject:
        return subject_of(self._of_trace(call.request.query.get("RequestTrace", "").strip().lower()))


def _extras(form: dict[str, str]) -> dict[str, Any]:
    return {name: form[name] for name in ("m4", "m5", "m6") if name in form}


def _reference_in_form(call: Call) -> Subject:
    reference = (call.body or {}).get("p2")
    return Subject(reference if isinstance(reference, str) else None)


def _told(wrong: str) -> Answer:
    head = '<!doctype html><title>Netcash Pay Now</title><link rel="icon" href="data:,">'
    page = f"{head}<h1>We cannot take this payment</h1><p>{escape(wrong)}</p>"
    return Answer(200, page.encode(), content_type="text/html")
