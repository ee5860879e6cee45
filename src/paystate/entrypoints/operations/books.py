"""Operations on the books: the audit of all invariants, and the trial balance."""

from paystate.app import App
from paystate.domain.ledger import trial_balance
from paystate.entrypoints.operations.declare import Answer, Order, operation
from paystate.flows.audit import run_audit
from paystate.flows.make_key import merchant_named
from paystate.kit.ids import MerchantId, System, Who
from paystate.kit.money import major_units

WHO = System("the owner of the installation")


class TrialBalance(Order, frozen=True, kw_only=True):
    """Without a merchant: all of them together."""

    merchant: str | None = None


@operation("audit", Order)
async def audit(app: App, order: Order) -> Answer:
    del order
    report = await run_audit(app.ctx)
    return {"ok": report.sound, **report.as_result()}


@operation("ledger.trial-balance", TrialBalance)
async def balance(app: App, order: TrialBalance) -> Answer:
    who: Who = WHO
    if order.merchant is not None:
        who = MerchantId((await merchant_named(app.ctx, order.merchant)).id)
    lines = await app.db.snapshot(lambda tx: trial_balance(tx, who))
    totals: dict[str, list[int]] = {}
    for line in lines:
        total = totals.setdefault(line.currency, [0, 0])
        total[0] += line.debit
        total[1] += line.credit
    return {
        "ok": all(debit == credit for debit, credit in totals.values()),
        "lines": [
            {
                "code": line.code,
                "name": line.name,
                "currency": line.currency,
                "debit": line.debit,
                "credit": line.credit,
                "debitDisplay": major_units(line.debit, line.currency),
                "creditDisplay": major_units(line.credit, line.currency),
            }
            for line in lines
        ],
        "totals": {
            currency: {
                "debit": debit,
                "credit": credit,
                "debitDisplay": major_units(debit, currency),
                "creditDisplay": major_units(credit, currency),
            }
            for currency, (debit, credit) in sorted(totals.items())
        },
    }
