"""The little of NIWS_NIF that there is: the balance that proves a key, and statements of a day."""

import re
from collections.abc import Callable, Iterator
from html import escape, unescape

from paystate.kit.clock import HOUR, as_datetime
from paystate.kit.money import major_units
from paystate.simulators.calls import Call, Operation
from paystate.simulators.netcash.postback import CURRENCY
from paystate.simulators.shelf import Window
from paystate.simulators.stage import Answer
from paystate.simulators.till import Refund, RefundStatus, Till, Transaction

AUTHENTICATION_FAILURE, DATE_FORMAT, INVALID_PARAMETER = "100", "101", "102"
SAST = 2 * HOUR
PAGES_LIMIT = 1_000
_ELEMENT = re.compile(r"<(?:\w+:)?(\w+)(?:\s[^>]*)?>([^<]*)</")
_DAY = re.compile(r"20[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])\Z")
_ENVELOPE = (
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
    '<{0}Response xmlns="http://tempuri.org/"><{0}Result>{1}</{0}Result></{0}Response>'
    "</s:Body></s:Envelope>"
)


class Soap:
    """Each method gets the account's id and the elements of the body, and answers a result or an error code."""

    def __init__(self, till: Till) -> None:
        self._till = till
        self._acts: dict[str, Callable[[str, dict[str, str]], str]] = {
            "GetAvailableBalance": self.balance,
            "RequestMerchantStatement": self.request_statement,
            "RequestInterimMerchantStatement": self.request_today,
            "RetrieveMerchantStatement": self.statement,
        }

    def serve(self) -> None:
        self._till.serve(
            "POST", "/NIWS/NIWS_NIF.svc", Operation("account", self.answer, public=True, raw=True)
        )

    def answer(self, call: Call) -> Answer:
        name = call.request.headers.get("SOAPAction", "").strip('"').rpartition("/")[2]
        act = self._acts.get(name)
        if act is None:
            return Answer(
                500, b"<s:Fault><faultcode>ActionNotSupported</faultcode></s:Fault>", content_type="text/xml"
            )
        given = {key: unescape(value) for key, value in _ELEMENT.findall(call.raw.decode("utf-8", "replace"))}
        owner = self._owner(given.get("ServiceKey") or given.get("serviceKey") or "")
        result = AUTHENTICATION_FAILURE if owner is None else act(owner, given)
        return Answer(200, _ENVELOPE.format(name, result).encode(), content_type="text/xml")

    def balance(self, owner: str, given: dict[str, str]) -> str:
        del given
        received = sum(paid.amount - paid.amount_refunded for paid in self._transactions(owner, None))
        rand = major_units(received, CURRENCY)
        return f"<AvailableBalance>{rand}</AvailableBalance><CurrentBalance>{rand}</CurrentBalance>"

    def request_statement(self, owner: str, given: dict[str, str]) -> str:
        """The polling id, which names the day."""
        del owner
        day = given.get("FromActionDate", "")
        return f"{day}.1" if _DAY.match(day) else DATE_FORMAT

    def request_today(self, owner: str, given: dict[str, str]) -> str:
        del owner, given
        return f"{_day(self._till.stage.now())}.0"

    def statement(self, owner: str, given: dict[str, str]) -> str:
        """One line per entry of the day, between tabs."""
        day = given.get("PollingId", "").partition(".")[0]
        if not _DAY.match(day):
            return INVALID_PARAMETER
        payments = [_payment_line(paid) for paid in self._transactions(owner, day)]
        lines = ["OBL\t0\tOpening Balance\t0.0000\t+\t0", *payments, *self._refund_lines(owner, day)]
        date = f"{day[:4]}-{day[4:6]}-{day[6:]}"
        return escape("\n".join(f"{date}\t{line}" for line in lines))

    def _owner(self, key: str) -> str | None:
        accounts = self._till.state.accounts.values()
        found = (
            a.id for a in accounts if key and a.extra.get("accountServiceKey", "").lower() == key.lower()
        )
        return next(found, None)

    def _transactions(self, owner: str, day: str | None) -> Iterator[Transaction]:
        cursor: str | None = None
        for _ in range(PAGES_LIMIT):
            rows, cursor = self._till.state.transactions(owner, Window(cursor=cursor))
            yield from (paid for paid in rows if day is None or _day(paid.paid_at) == day)
            if cursor is None:
                return

    def _refund_lines(self, owner: str, day: str) -> list[str]:
        mine = [r for r in self._till.state.refunds if r.owner == owner and _day(r.created_at) == day]
        return [_refund_line(refund) for refund in mine if refund.status is RefundStatus.SUCCEEDED]


def _payment_line(paid: Transaction) -> str:
    name = f"PayNow payment {paid.reference}"
    return f"PNC\t{paid.id}\t{name}\t{_rand(paid.amount)}\t+\t0\t{paid.reference}\t\t\tDebtors/Sales"


def _refund_line(refund: Refund) -> str:
    return f"PNR\t{refund.transaction}\tPayNow refund\t{_rand(refund.amount)}\t-\t0\t\t\t\tDebtors/Sales"


def _rand(amount: int) -> str:
    return f"{major_units(amount, CURRENCY)}00"


def _day(at: int) -> str:
    """The day in South Africa."""
    return as_datetime(at + SAST).strftime("%Y%m%d")
