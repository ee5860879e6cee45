"""Operations on cases: list, show, resolve; and settling a payment by hand."""

from typing import Any, Literal

from paystate.app import App
from paystate.domain import cases
from paystate.domain.cases import Case, CaseState
from paystate.domain.payments import State
from paystate.domain.payments.by_hand import Choice
from paystate.entrypoints.operations.declare import Answer, Order, operation
from paystate.flows import resolve_case as flow
from paystate.flows.make_key import merchant_named
from paystate.kit.clock import rfc3339, rfc3339_or_none
from paystate.kit.ids import MerchantId, System, Who, is_id
from paystate.kit.paging import MAX_LIMIT, PageRequest

WHO = System("the owner of the installation")
ACTOR = "operator:owner"


class ListCases(Order, frozen=True, kw_only=True):
    """Without a merchant: everybody's. Without a state: those that wait."""

    merchant: str | None = None
    payment: str | None = None
    state: Literal["OPEN", "RESOLVED"] = "OPEN"


class ShowCase(Order, frozen=True, kw_only=True):
    case: str


class ResolveCase(Order, frozen=True, kw_only=True):
    """`subject` is a case, or a payment by its id or short code."""

    subject: str
    action: Choice
    reason: str
    to: State | None = None
    transactions: tuple[str, ...] = ()
    hours: int = flow.KEEP_HOURS
    again: bool = False


@operation("cases.list", ListCases)
async def list_(app: App, order: ListCases) -> Answer:
    who: Who = WHO
    if order.merchant is not None:
        who = MerchantId((await merchant_named(app.ctx, order.merchant)).id)
    page, state = PageRequest(limit=MAX_LIMIT), CaseState(order.state)
    found = await app.db.read(
        lambda tx: cases.list_cases(tx, who, page, state=state, payment_id=order.payment)
    )
    return {"data": [_told(case) for case in found.rows], "hasMore": found.next_position is not None}


@operation("cases.show", ShowCase)
async def show(app: App, order: ShowCase) -> Answer:
    return _told(await app.db.read(lambda tx: cases.get_case(tx, WHO, order.case)))


@operation("cases.resolve", ResolveCase)
async def resolve(app: App, order: ResolveCase) -> Answer:
    by = flow.Person(WHO, ACTOR, app.ctx.patience)
    decision = flow.Order(order.action, order.reason, order.to, order.transactions, order.hours, order.again)
    act = flow.resolve_case if is_id("cas", order.subject) else flow.resolve_payment
    done = await app.db.write(lambda tx: act(by, order.subject, decision, tx))
    state = None if done.payment is None else done.payment.state.value
    return _told(done.case) | {"paymentState": state}


def _told(case: Case) -> dict[str, Any]:
    return {
        "id": case.id,
        "merchantId": case.merchant_id,
        "paymentId": case.payment_id,
        "attemptId": case.attempt_id,
        "reason": case.reason,
        "evidence": dict(case.evidence),
        "suggestedAction": case.suggested_action,
        "state": case.state.value,
        "snoozedUntil": rfc3339_or_none(case.snoozed_until),
        "resolution": case.resolution,
        "resolutionReason": case.resolution_reason,
        "resolvedBy": case.resolved_by,
        "createdAt": rfc3339(case.created_at),
        "resolvedAt": rfc3339_or_none(case.resolved_at),
    }
