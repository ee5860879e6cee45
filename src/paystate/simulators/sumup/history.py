"""SumUp's calls about transactions: one by a name it goes by, and the history in pages."""

from typing import Any
from urllib.parse import urlencode

from paystate.kit.clock import parse_rfc3339
from paystate.simulators.calls import Call, Operation, refuse
from paystate.simulators.faults import Subject
from paystate.simulators.shelf import MAX_PAGE, Window
from paystate.simulators.stage import Answer
from paystate.simulators.sumup.api import invalid, own_merchant
from paystate.simulators.sumup.wire import history_row, transaction_code, transaction_wire
from paystate.simulators.till import Checkout, Till, Transaction

DEFAULT_LIMIT = 10
Row = tuple[Checkout, Transaction]


class History:
    """Both stand under the merchant's own path."""

    def __init__(self, till: Till) -> None:
        self._till = till

    def serve(self) -> None:
        """Reading one transaction is how a refund is asked about, so faults of `ask_refund` are aimed at it."""
        path = "/v2.1/merchants/{code}/transactions"
        one = Operation("ask_refund", self.transaction, self._about_transaction)
        self._till.serve("GET", path, one)
        self._till.serve("GET", f"{path}/history", Operation("list", self.history))

    def transaction(self, call: Call) -> Answer:
        own_merchant(call)
        found = self._found(call)
        if found is None:
            raise refuse("not_found", "Resource not found")
        checkout, paid = found
        refunds = self._till.state.refunds_of(checkout.id, paid.id)
        return Answer(200, transaction_wire(checkout, paid, refunds))

    def history(self, call: Call) -> Answer:
        own_merchant(call)
        query = call.request.query
        order = query.get("order", "ascending")
        if order not in ("ascending", "descending"):
            raise invalid("order")
        limit, descending = _limit(query.get("limit")), order == "descending"
        ref = "newest_ref" if descending else "oldest_ref"
        window = _window(call, limit, query.get(ref))
        try:
            rows, cursor = self._newest(call, window) if descending else self._oldest(call, window)
        except ValueError:
            raise invalid(ref) from None
        items = [history_row(checkout, paid) for checkout, paid in rows if _wanted(call, checkout, paid)]
        kept = {name: value for name, value in query.items() if name not in ("oldest_ref", "newest_ref")}
        next_ = urlencode({**kept, "limit": limit, "order": order, ref: cursor or ""})
        links = [] if cursor is None else [{"rel": "next", "href": next_}]
        return Answer(200, {"items": items, "links": links})

    def _oldest(self, call: Call, window: Window) -> tuple[list[Row], str | None]:
        found, cursor = self._till.state.transactions(call.owner, window)
        rows = [self._till.state.transaction(call.owner, paid.id) for paid in found]
        return [row for row in rows if row is not None], cursor

    def _newest(self, call: Call, window: Window) -> tuple[list[Row], str | None]:
        rows, _ = self._till.state.newest_transactions(call.owner, window)
        if len(rows) < window.limit:
            return rows, None
        checkout, paid = rows[-1]
        return rows, f"{checkout.id}/{paid.id}"

    def _found(self, call: Call) -> Row | None:
        query, state = call.request.query, self._till.state
        if "id" in query:
            return state.transaction(call.owner, query["id"])
        if "foreign_transaction_id" in query:
            of_it = state.of_reference(call.owner, query["foreign_transaction_id"])
            return next(((c, paid) for c in of_it for paid in c.transactions), None)
        if "transaction_code" in query:
            mine = (c for c in state.checkouts if c.owner == call.owner)
            paid_in = ((c, paid) for c in mine for paid in c.transactions)
            return next((r for r in paid_in if transaction_code(r[1].id) == query["transaction_code"]), None)
        raise invalid("id")

    def _about_transaction(self, call: Call) -> Subject:
        return self._till.about_transaction(call, call.request.query.get("id"))


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:4]) <= MAX_PAGE):
        raise invalid("limit")
    return int(text)


def _window(call: Call, limit: int, cursor: str | None) -> Window:
    """Rows of ``oldest_time ≤ time < newest_time``."""
    whole = Window()
    start, end = _time(call, "oldest_time"), _time(call, "newest_time")
    return Window(
        whole.start if start is None else start, whole.end if end is None else end, limit, cursor or None
    )


def _wanted(call: Call, checkout: Checkout, paid: Transaction) -> bool:
    """The filters, taken from a page that is there already: pages may come back short."""
    query = call.request.query
    row: dict[str, Any] = history_row(checkout, paid)
    named = {"statuses[]": row["status"], "types[]": row["type"], "payment_types[]": row["payment_type"]}
    if any(name in query and value not in query.getall(name) for name, value in named.items()):
        return False
    if query.get("transaction_code", row["transaction_code"]) != row["transaction_code"]:
        return False
    since = _time(call, "changes_since")
    return since is None or checkout.updated_at >= since


def _time(call: Call, name: str) -> int | None:
    text = call.request.query.get(name)
    try:
        return None if text is None else parse_rfc3339(text)
    except ValueError:
        raise invalid(name) from None
