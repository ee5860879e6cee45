"""The transactions of the mirror node: filters, order, limit and the link to the next page."""

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from urllib.parse import urlencode

from paystate.simulators.calls import Call, Operation, RefusedCallError, refuse
from paystate.simulators.hedera.dialect import TRANSACTIONS
from paystate.simulators.hedera.transfers import (
    NANOSECONDS,
    STARTED_BEFORE,
    Span,
    Transfer,
    row,
    timestamp,
    transfers,
)
from paystate.simulators.stage import Answer
from paystate.simulators.till import Account, Till

DEFAULT_LIMIT, MAX_LIMIT = 25, 100
_ENTITY = re.compile(r"[0-9]{1,10}\.[0-9]{1,10}\.[0-9]{1,19}\Z")
_TIME = re.compile(r"(?:(eq|gt|gte|lt|lte):)?([0-9]{1,10})(?:\.([0-9]{1,9}))?\Z")
_NAME = re.compile(r"([0-9.]{5,40})-([0-9]{1,10})-([0-9]{1,9})\Z")
_LOWER = frozenset({"gt", "gte", "eq"})


class Mirror:
    """Everybody may read everything."""

    def __init__(self, till: Till) -> None:
        self._till = till

    def serve(self) -> None:
        self._till.serve("GET", TRANSACTIONS, Operation("ask", self.page, public=True))
        self._till.serve("GET", f"{TRANSACTIONS}/{{id}}", Operation("ask", self.one, public=True))

    def page(self, call: Call) -> Answer:
        """As the real node, a full page always links to a next one, even if that is empty."""
        query = call.request.query
        limit, order = _limit(query.get("limit")), query.get("order", "desc")
        if order not in {"asc", "desc"}:
            raise _invalid("order")
        span = _span(query.getall("timestamp", []))
        found = self._filtered(call, span)
        rows = list(islice(found if order == "asc" else reversed(list(found)), limit))
        following = _next(call, rows[-1].at, order) if len(rows) == limit else None
        return Answer(200, {"transactions": [row(t) for t in rows], "links": {"next": following}})

    def one(self, call: Call) -> Answer:
        match = _NAME.match(call.request.match_info["id"])
        if match is None:
            raise _invalid("transactionId")
        at = int(match[2]) * NANOSECONDS + int(match[3]) + STARTED_BEFORE
        found = [
            t for account in self._accounts(None) for t in transfers(self._till, account, Span(at, at + 1))
        ]
        rows = [row(t) for t in found if t.name == match[0]]
        if not rows:
            raise refuse("not_found", "Not found", 404)
        return Answer(200, {"transactions": rows})

    def _filtered(self, call: Call, span: Span) -> Iterator[Transfer]:
        query = call.request.query
        result, side = query.get("result", "success"), query.get("type", "")
        if result not in {"success", "fail"}:
            raise _invalid("result")
        if side not in {"", "credit", "debit"}:
            raise _invalid("type")
        other_kind = query.get("transactiontype", "CRYPTOTRANSFER").upper() != "CRYPTOTRANSFER"
        if result == "fail" or other_kind:
            return iter(())
        accounts = self._accounts(query.get("account.id"))
        found = (t for account in accounts for t in transfers(self._till, account, span))
        in_order = found if len(accounts) == 1 else iter(sorted(found, key=lambda t: t.at))
        return (t for t in in_order if side == "" or (side == "credit") == (t.amount > 0))

    def _accounts(self, account_id: str | None) -> Sequence[Account]:
        if account_id is None:
            return list(self._till.state.accounts.values())
        if not _ENTITY.match(account_id):
            raise _invalid("account.id")
        account = self._till.state.accounts.get(account_id)
        return [] if account is None else [account]


def _invalid(name: str) -> RefusedCallError:
    return refuse("invalid_parameter", f"Invalid parameter: {name}", 400)


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MAX_LIMIT):
        raise _invalid("limit")
    return int(text)


def _span(times: Sequence[str]) -> Span:
    span = Span()
    for time in times:
        operator, at = _time(time)
        if operator in _LOWER:
            span = Span(max(span.start, at + (operator == "gt")), span.end)
        if operator not in {"gt", "gte"}:
            span = Span(span.start, min(span.end, at + (operator != "lt")))
    return span


def _time(text: str) -> tuple[str, int]:
    match = _TIME.match(text)
    if match is None:
        raise _invalid("timestamp")
    return match[1] or "eq", int(match[2]) * NANOSECONDS + int((match[3] or "").ljust(9, "0"))


def _next(call: Call, last: int, order: str) -> str:
    """The same question, from the last row on."""
    mine = _LOWER if order == "asc" else {"lt", "lte", "eq"}
    kept = [
        (name, value)
        for name, value in call.request.query.items()
        if name != "timestamp" or _time(value)[0] not in mine
    ]
    after = ("timestamp", f"{'gt' if order == 'asc' else 'lt'}:{timestamp(last)}")
    return f"{TRANSACTIONS}?{urlencode([*kept, after], safe=':')}"
