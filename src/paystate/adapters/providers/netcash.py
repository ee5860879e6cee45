"""Netcash Pay Now (South Africa): a form that the customer posts, and a question that only a RequestTrace can ask.

Nothing is signed and nothing can be asked by our reference. A RequestTrace that a message named is a claim; it counts
when Netcash answers for it with our own reference. It opens the answer to anybody, so it is kept out of errors and logs.

The answer names no merchant. A payer who is a Netcash merchant too could copy every field of our form into one of their
own and pay themselves; `Extra2` only keeps honest forms apart. Whether the money came to us, the statement says.
"""

import hashlib
import html
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

import msgspec

from paystate.adapters.provider_calls import (
    ASK_SECONDS,
    base_url,
    call,
    expect,
    key_mark,
    parsed,
    refuse_currency,
    text_or_none,
)
from paystate.domain.payments import Outcome
from paystate.domain.payments.port import (
    Account,
    CheckoutOrder,
    CredentialsRefused,
    Identity,
    Message,
    Named,
    NoAnswer,
    NotThere,
    Offer,
    Started,
    Subject,
    Verdict,
)
from paystate.kit.clock import Instant
from paystate.kit.errors import Refused
from paystate.kit.money import Money, parse_major
from paystate.machinery.http import Answer, Http

PAY_URL = "https://paynow.netcash.co.za/site/paynow.aspx"
BASE_URL = "https://ws.netcash.co.za"
CURRENCY = "ZAR"
VENDOR_KEY = "24ade73c-98cf-47b3-99be-cc7b867b3080"
"""The software vendor key that Netcash publishes for whoever has none of their own."""

DESCRIPTION_LIMIT = 50
TRACES_ASKED = 3
TRACE_LIMIT = 100
POSTBACK_FIELDS = 100
DETAIL_LIMIT = 40
OTHER_ACCOUNT = "other"
"""Verdict.account for money whose Extra2 does not carry this connection's id: the form was not ours."""

METHODS = {
    "1": "card",
    "2": "bank_eft",
    "3": "retail",
    "4": "instant_eft",
    "5": "masterpass",
    "6": "visa_click_to_pay",
    "7": "scan_to_pay",
    "8": "mobicred",
    "9": "payflex",
    "10": "flash_1voucher",
}
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", re.IGNORECASE)
_REFUSED = re.compile(rb">\s*100\s*</[^>]*(?:Result|ErrorCode)\s*>")
_BALANCE = re.compile(rb"<(?:\w+:)?AvailableBalance>\s*-?[0-9]+(?:\.[0-9]+)?\s*</")
_BALANCE_ACTION = "http://tempuri.org/INIWS_NIF/GetAvailableBalance"
_BALANCE_CALL = (
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
    '<GetAvailableBalance xmlns="http://tempuri.org/"><serviceKey>{}</serviceKey></GetAvailableBalance>'
    "</s:Body></s:Envelope>"
)


class _Check(msgspec.Struct, rename="pascal"):
    transaction_accepted: bool | str
    reference: str
    request_trace: str
    amount: msgspec.Raw
    extra2: str | None = None
    method: int | str | None = None
    reason: str | None = None


_read_check = msgspec.json.Decoder(_Check).decode
_read_amount = msgspec.json.Decoder(str).decode
_read_form = msgspec.json.Decoder(dict[str, str]).decode


class Netcash:
    """Starts without a call and asks by trace; it can neither close, list nor refund."""

    name = "netcash"
    fields: Mapping[str, str] = {
        "serviceKey": "The Pay Now service key (a GUID from NetConnector). Every payer's browser sees it.",
        "accountServiceKey": "The Account service key, to have Netcash itself confirm the connection.",
        "mode": "`live`, or `test` when the test flag of the service profile is on; no answer of Netcash tells.",
        "payUrl": "Where the payment form is posted to.",
        "baseUrl": "Where the web services are.",
    }
    secret_fields = frozenset({"accountServiceKey"})
    optional_fields: Mapping[str, str] = {
        "accountServiceKey": "",
        "mode": "live",
        "payUrl": PAY_URL,
        "baseUrl": BASE_URL,
    }
    calls_per_second = 1
    """No limit is published; one question may take several calls."""

    traces_asked = TRACES_ASKED

    def __init__(self, http: Http) -> None:
        self._http = http

    def budget_key(self, account: Account) -> str:
        """Each account has its own."""
        return account.connection_id

    def check(self, money: Money) -> None:
        """Rand only; no least amount is published."""
        if money.currency != CURRENCY:
            raise refuse_currency("Netcash", money)
        if money.amount < 1:
            raise Refused("Netcash takes one cent or more.", code="amount_below_minimum")

    def prepare(self, account: Account, order: CheckoutOrder) -> bytes:
        """The form's fields as JSON. The addresses to come back to are fixed in the service profile."""
        self.check(order.money)
        return msgspec.json.encode(
            {
                "m1": account.settings["serviceKey"],
                "m2": VENDOR_KEY,
                "p2": order.reference,
                "p3": order.description.strip()[:DESCRIPTION_LIMIT] or order.reference,
                "p4": order.money.major,
                "Budget": "Y",
                "m5": account.connection_id,
            }
        )

    async def start(self, account: Account, request: bytes, *, idempotency_key: str) -> Started:
        """No call: the customer's browser posts these very fields. A second post of the same `p2` is refused there."""
        del idempotency_key
        url = account.settings.get("payUrl") or PAY_URL
        return Started(None, Offer("form", url, _read_form(request)))

    async def ask(self, account: Account, subject: Subject) -> Verdict:
        """GET TransactionStatus/Check for each trace. Only an answer that carries our reference counts.

        Of several: money first, then what may still become money, then the newest end. A trace without an answer
        may be the one that was paid, so then nothing weaker than money is concluded.
        """
        traces = _traces(subject)
        heard: dict[str, Verdict] = {}
        silence: NoAnswer | None = None
        for trace in traces:
            try:
                found = await self._check(account, subject, trace, ASK_SECONDS / len(traces))
            except NotThere as unknown:
                if _canonical(trace) == subject.checkout_id:
                    silence = unknown  # this one was known there before; a claim may just be false
            except NoAnswer as no:
                silence = no
            else:
                if found is not None and found.checkout_id is not None:
                    heard.setdefault(found.checkout_id, found)
        return _concluded(list(heard.values()), silence) or _nothing_heard(account, subject)

    async def identify(self, account: Account) -> Identity:
        """No call exists that knows the Pay Now key: its shape is checked, and the account's name derives from it.

        With an `accountServiceKey`, GetAvailableBalance proves that one; it does not say whose Pay Now key this is.
        """
        key = account.settings.get("serviceKey", "").strip()
        mode = account.settings.get("mode") or "live"
        if not _GUID.match(key):
            raise CredentialsRefused(field="serviceKey", answered="A service key is a GUID.")
        if mode not in ("live", "test"):
            raise CredentialsRefused(field="mode", answered="The mode is live or test.")
        account_key = account.secrets.get("accountServiceKey", "")
        if account_key:
            await self._prove(account, account_key)
        return Identity(f"netcash_{key_mark(key.lower())}", mode == "live", "Netcash Pay Now")

    def read_webhook(
        self, account: Account, headers: Mapping[str, str], body: bytes, *, now: Instant
    ) -> Message:
        """A form, signed by nobody: it only says which trace to ask with."""
        del headers, now
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=POSTBACK_FIELDS
        )
        return self.read_return(account, dict(pairs))

    def read_return(self, account: Account, fields: Mapping[str, str]) -> Message:
        """The browser brings the same fields as the notification."""
        del account
        if not {"Reference", "RequestTrace"} & fields.keys():
            raise ValueError("not a postback of Netcash")
        reference = _short(fields.get("Reference"))
        trace = _short(fields.get("RequestTrace"))
        accepted = fields.get("TransactionAccepted", "").lower() == "true"
        kind = _short(fields.get("type")) or ("accepted" if accepted else "not_accepted")
        named = [Named(reference=reference, trace=trace)] if reference or trace else []
        gave_up = not accepted and "cancel" in fields.get("Reason", "").lower()
        return Message("", kind, named, authentic=False, gave_up=gave_up)

    async def _check(self, account: Account, subject: Subject, trace: str, seconds: float) -> Verdict | None:
        """What Netcash says of a trace; None when it is another payment's. Raises NotThere for a trace it denies."""
        url = f"{base_url(account.settings, BASE_URL)}/PayNow/TransactionStatus/Check"
        answer = await call(
            self._http, "GET", f"{url}?{urlencode({'RequestTrace': trace})}", headers={}, seconds=seconds
        )
        body = _expected(answer, "serviceKey")
        if body.strip() == b"null":
            raise NotThere
        check = parsed(_read_check, body)
        if _canonical(check.request_trace).lower() != _canonical(trace).lower():
            raise NoAnswer("unreadable")
        if check.reference != subject.reference:
            return None
        return _verdict(account, check, body)

    async def _prove(self, account: Account, key: str) -> None:
        answer = await call(
            self._http,
            "POST",
            f"{base_url(account.settings, BASE_URL)}/NIWS/NIWS_NIF.svc",
            headers={"Content-Type": "text/xml; charset=utf-8", "SOAPAction": f'"{_BALANCE_ACTION}"'},
            body=_BALANCE_CALL.format(html.escape(key)).encode(),
        )
        body = _expected(answer, "accountServiceKey")
        if _REFUSED.search(body):
            raise CredentialsRefused(field="accountServiceKey", answered="100 authentication failure")
        if not _BALANCE.search(body):
            raise NoAnswer("unreadable")


def make(http: Http) -> Netcash:
    """The adapter as `load_providers` finds it."""
    return Netcash(http)


def _expected(answer: Answer, credential: str) -> bytes:
    """As `expect`, but nothing that was answered is quoted: it could repeat a trace."""
    if answer.status in (401, 403):
        raise CredentialsRefused(field=credential, answered=str(answer.status))
    return expect(answer, 200)


def _traces(subject: Subject) -> list[str]:
    """What to ask with, newest first; the one that answered with our reference before is always among them."""
    asked = {_canonical(trace): trace for trace in reversed(subject.traces[:TRACES_ASKED])}
    if subject.checkout_id is not None:
        asked = {subject.checkout_id: subject.checkout_id} | asked
    return list(reversed(asked.values()))


def _verdict(account: Account, check: _Check, raw: bytes) -> Verdict:
    outcome, detail = _outcome(check)
    trace = _canonical(check.request_trace)
    amount = _amount(check.amount)
    if outcome is Outcome.SUCCEEDED and (amount is None or not trace):
        raise NoAnswer("unreadable")
    return Verdict(
        outcome=outcome,
        reference=check.reference,
        account=account.account if check.extra2 == account.connection_id else OTHER_ACCOUNT,
        live=account.live,
        detail=detail,
        raw_digest=hashlib.sha256(raw).hexdigest(),
        checkout_id=trace,
        amount=amount,
        currency=None if amount is None else CURRENCY,
        transaction_id=trace,
        method=None
        if check.method is None
        else METHODS.get(str(check.method), str(check.method)[:DETAIL_LIMIT]),
    )


def _outcome(check: _Check) -> tuple[Outcome, str]:
    """Accepted or not; a word that is neither is no answer to that. The reason decides what "not" means."""
    accepted = str(check.transaction_accepted).strip().lower()
    reason = (check.reason or "").strip()
    if accepted == "true":
        return Outcome.SUCCEEDED, "accepted"
    if accepted != "false":
        return Outcome.UNKNOWN, str(check.transaction_accepted)[:DETAIL_LIMIT]
    if "pending" in reason.lower():
        return Outcome.PROCESSING, reason[:DETAIL_LIMIT]
    if "cancel" in reason.lower():
        return Outcome.CANCELED, reason[:DETAIL_LIMIT]
    return Outcome.FAILED, reason[:DETAIL_LIMIT] or "not_accepted"


def _amount(raw: msgspec.Raw) -> int | None:
    """Rand as a number or a string, to cents; the text is read as it was written, never through a float."""
    text = bytes(raw)
    if text == b"null":
        return None
    try:
        return parse_major(_read_amount(text) if text[:1] == b'"' else text.decode(), CURRENCY).amount
    except (ValueError, msgspec.DecodeError):
        raise NoAnswer("unreadable") from None


def _concluded(heard: list[Verdict], silence: NoAnswer | None) -> Verdict | None:
    paid = [verdict for verdict in heard if verdict.outcome is Outcome.SUCCEEDED]
    if paid:
        return replace(paid[0], further=tuple(paid[1:]))
    moving = [verdict for verdict in heard if verdict.outcome is Outcome.PROCESSING]
    if moving:
        return moving[0]
    if silence is not None:
        raise silence
    unclear = [verdict for verdict in heard if verdict.outcome is Outcome.UNKNOWN]
    return next(iter([*unclear, *heard]), None)


def _nothing_heard(account: Account, subject: Subject) -> Verdict:
    """No trace of this reference yet. Not that nothing was paid: a postback may be lost, then only a statement knows."""
    return Verdict(
        outcome=Outcome.PENDING,
        reference=subject.reference,
        account=account.account,
        live=account.live,
        detail="nothing_heard",
        raw_digest=hashlib.sha256(b"").hexdigest(),
    )


def _canonical(trace: str) -> str:
    """One spelling per trace, so that one payment never is two transactions: GUIDs differ in case, braces, hyphens."""
    try:
        return str(UUID(trace.strip()))
    except ValueError:
        return trace.strip()


def _short(value: Any) -> str | None:
    text = text_or_none(value)
    return text if text is not None and len(text) <= TRACE_LIMIT and text.isprintable() else None
