"""Forces what a person, a bank or the provider would do, lies about the money included."""

from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web
from msgspec.structs import replace

from paystate.kit.clock import MILLISECOND, parse_rfc3339
from paystate.kit.ids import new_id
from paystate.kit.money import EXPONENTS, MAX_AMOUNT
from paystate.simulators.control import PREFIX, read_as, refusal
from paystate.simulators.fault_answers import send
from paystate.simulators.faults import MAX_SECONDS
from paystate.simulators.stage import Answer, Stage
from paystate.simulators.till.acts import Acts, Payment
from paystate.simulators.till.dialect import Dialect
from paystate.simulators.till.objects import Account, Checkout, Refund, RefundStatus, Status
from paystate.simulators.till.state import TillState

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Url = Annotated[str, msgspec.Meta(max_length=2_048, pattern=r"^(https?://[!-~]+)?$")]


class OutcomeRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The body of ``POST /_control/outcomes``.

    `afterSeconds`: the outcome comes then; but `process` is at once, and paid then. `close` and `refund` are the
    merchant's own, in the provider's dashboard; `dispute` is the cardholder's.
    """

    outcome: Literal["pay", "decline", "fail", "process", "expire", "close", "refund", "dispute", "succeed"]
    checkout: str | None = None
    reference: str | None = None
    refund: str | None = None
    after_seconds: Annotated[float, msgspec.Meta(ge=0, le=MAX_SECONDS)] | None = None
    amount: Annotated[int, msgspec.Meta(ge=0, le=MAX_AMOUNT)] | None = None
    currency: str | None = None
    transaction_reference: _Name | None = None
    account: _Name | None = None
    live: bool | None = None
    transaction: _Name | None = None
    paid_at: str | None = None


class AccountRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The body of ``POST /_control/accounts``: makes an account, or adds a key to one, or takes keys away.

    `webhookUrl`: where all its webhooks go, for providers with one address per account; "" takes it away. `extra`: what
    only this provider has; given names replace, others stay.
    """

    account: _Name
    secret_key: _Name | None = None
    webhook_secret: _Name | None = None
    webhook_url: _Url | None = None
    live: bool | None = None
    revoke: tuple[_Name, ...] = ()
    extra: dict[str, str] = {}


class RefundModeRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /_control/refund_mode``: how new refunds begin."""

    status: RefundStatus


class Outcomes:
    """Control routes of every till."""

    def __init__(self, stage: Stage, state: TillState, acts: Acts, dialect: Dialect) -> None:
        self._stage = stage
        self._state = state
        self._acts = acts
        self._dialect = dialect

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(f"{PREFIX}/outcomes", self.outcome),
            web.post(f"{PREFIX}/accounts", self.account),
            web.get(f"{PREFIX}/connection", self.connection),
            web.post(f"{PREFIX}/refund_mode", self.refund_mode),
        ]

    async def outcome(self, request: web.Request) -> web.Response:
        wanted = await read_as(request, OutcomeRequest)
        if wanted.refund is not None:
            return self._refund_outcome(wanted.refund, wanted)
        checkout = self._named(wanted)
        if checkout is None:
            return send(refusal("not_found", "There is no such checkout.", 404))
        payment = _payment(wanted)
        if wanted.after_seconds is None or wanted.outcome == "process":
            self._force(checkout.id, wanted, payment)
            return send(Answer(200, self._row(checkout.id)))
        self._stage.later(wanted.after_seconds, lambda: self._force(checkout.id, wanted, payment))
        return send(Answer(202, self._row(checkout.id)))

    async def account(self, request: web.Request) -> web.Response:
        wanted = await read_as(request, AccountRequest)
        old = self._state.accounts.get(wanted.account)
        if old is None:
            if wanted.secret_key is None:
                raise ValueError("a new account needs a secretKey")
            old = Account(id=wanted.account, live=False, webhook_secret=f"whsec_{wanted.account}")
        self._state.keep_account(_changed(old, wanted))
        return send(Answer(200, self._state.accounts[wanted.account].row(self._dialect.brand)))

    async def connection(self, request: web.Request) -> web.Response:
        """What to type in to connect an account, by default the first."""
        account = self._state.accounts.get(request.query.get("account", self._dialect.accounts[0].id))
        if account is None:
            return send(refusal("not_found", "There is no such account.", 404))
        return send(Answer(200, {"fields": self._dialect.connection_fields(account)}))

    async def refund_mode(self, request: web.Request) -> web.Response:
        self._acts.refund_status = (await read_as(request, RefundModeRequest)).status
        return send(Answer(200, {"status": self._acts.refund_status}))

    def _named(self, wanted: OutcomeRequest) -> Checkout | None:
        if wanted.checkout is not None:
            return self._acts.found(wanted.checkout)
        of_it = self._state.newest_of_reference(wanted.reference or "")
        return None if of_it is None else self._acts.look(of_it)

    def _refund_outcome(self, refund_id: str, wanted: OutcomeRequest) -> web.Response:
        refund = self._state.refunds.get(refund_id)
        if refund is None:
            return send(refusal("not_found", "There is no such refund.", 404))
        status = {"succeed": RefundStatus.SUCCEEDED, "fail": RefundStatus.FAILED}.get(wanted.outcome)
        if status is None:
            raise ValueError("the outcome of a refund is succeed or fail")
        return send(Answer(200, self._acts.settle_refund(refund, status).row()))

    def _force(self, checkout_id: str, wanted: OutcomeRequest, payment: Payment) -> None:
        checkout = self._state.checkouts.get(checkout_id)
        if checkout is None:
            return
        match wanted.outcome:
            case "pay":
                self._acts.pay(checkout, payment)
            case "decline":
                self._acts.decline(checkout)
            case "fail":
                self._acts.end(checkout, Status.FAILED)
            case "process":
                self._acts.process(checkout, wanted.after_seconds)
            case "expire":
                self._acts.end(checkout, Status.EXPIRED)
            case "close":
                self._acts.end(checkout, Status.CLOSED)
            case "dispute":
                self._acts.dispute(checkout)
            case _:
                self._refund_at_provider(checkout, wanted)

    def _refund_at_provider(self, checkout: Checkout, wanted: OutcomeRequest) -> Refund:
        """Made by the merchant in the provider's own dashboard; may exceed what came in."""
        paid = checkout.transaction
        if wanted.outcome != "refund" or paid is None:
            raise ValueError("only what was paid can be refunded")
        amount = self._state.refundable(checkout, paid) if wanted.amount is None else wanted.amount
        return self._acts.refund(checkout, paid, amount, new_id("rfx", self._stage.now()))

    def _row(self, checkout_id: str) -> dict[str, Any]:
        checkout = self._state.checkouts.get(checkout_id)
        return {} if checkout is None else checkout.row(self._dialect.page_url(checkout))


def _payment(wanted: OutcomeRequest) -> Payment:
    if wanted.currency is not None and wanted.currency not in EXPONENTS:
        raise ValueError("this currency is not known")
    paid_at = None if wanted.paid_at is None else parse_rfc3339(wanted.paid_at) // MILLISECOND * MILLISECOND
    return Payment(
        amount=wanted.amount,
        currency=wanted.currency,
        reference=wanted.transaction_reference,
        account=wanted.account,
        live=wanted.live,
        transaction=wanted.transaction,
        paid_at=paid_at,
    )


def _changed(old: Account, wanted: AccountRequest) -> Account:
    added = () if wanted.secret_key is None else (wanted.secret_key,)
    keys = dict.fromkeys((*old.keys, *added))
    return replace(
        old,
        keys=tuple(key for key in keys if key not in wanted.revoke),
        webhook_secret=wanted.webhook_secret or old.webhook_secret,
        webhook_url=old.webhook_url if wanted.webhook_url is None else wanted.webhook_url or None,
        live=old.live if wanted.live is None else wanted.live,
        extra={**old.extra, **wanted.extra},
    )
