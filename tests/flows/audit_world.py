"""A small installation in which something of every kind has happened: what the audit's tests look at and break."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa
from tests import a

from paystate.domain import audit, cases, connections, ledger, merchants
from paystate.domain.audit import AuditEntry
from paystate.domain.connections import NewConnection, secrets_aad
from paystate.domain.payments import Payment, State, Step, store
from paystate.flows.cancel_payment import cancel_payment
from paystate.flows.expire_payments import expire_payments
from paystate.flows.move_payment import move_payments
from paystate.flows.number_rows import number_rows
from paystate.flows.take_hint import ask_now, take_return
from paystate.kit.clock import DAY, HOUR, SECOND, FrozenClock, rfc3339
from paystate.kit.ids import MerchantId, new_id
from paystate.kit.money import Money
from paystate.machinery.db import Tx
from paystate.machinery.idempotency import Answer, Slot, once

OPERATOR = "operator:ann"
OWN_SECRET = "correct-horse-battery"
"""A connection's secret that looks like no credential."""


@dataclass
class World:
    """The shop, and the names under which its rows are known."""

    shop: a.Shop
    clock: FrozenClock
    names: dict[str, str]

    def know(self, **names: str) -> None:
        self.names |= names


async def build(shop: a.Shop, clock: FrozenClock) -> World:
    """Let everything happen once, and bring it to rest."""
    world = World(shop, clock, {"merchant": shop.id, "connection": shop.connection.id})
    await sell(world)
    await disappoint(world)
    await receive_too_much(world)
    await wait(world)
    await decide(world)
    await shop.app.db.write(partial(_furnish, world))
    await shop.app.db.write(partial(_keep_secrets, world))
    await number_rows(shop.app.ctx)
    clock.advance(SECOND)
    return world


async def pay(world: World, name: str, outcome: str = "pay", *, look: bool = True, **values: Any) -> None:
    """A payment of this name whose checkout comes to this outcome."""
    told = values.pop("told", {})
    payment, attempt = await world.shop.opened(**values)
    await world.shop.sandbox.outcome(attempt, outcome, **told)
    world.know(**{name: payment.id, f"{name}_attempt": attempt.id})
    if look:
        world.clock.advance(5 * SECOND)
        await world.shop.look()


async def _current(world: World, name: str) -> Payment:
    return await world.shop.app.db.read(lambda tx: store.get(tx, a.WHO, world.names[name]))


async def sell(world: World) -> None:
    """Three paid payments, and one that is being processed."""
    shop = world.shop
    await pay(world, "paid", customer="ann", bundle_id="gold")
    await pay(world, "ordered", amount=2000)
    await pay(world, "returned", look=False)
    returned = await _current(world, "returned")
    await take_return(shop.app.ctx, returned.short_code, from_cancel=False)
    world.clock.advance(5 * SECOND)
    await shop.look()
    await pay(world, "processing", "process")


async def wait(world: World) -> None:
    """One payment waits at the provider, one nobody has touched, one is not open yet."""
    shop = world.shop
    waiting, attempt = await shop.opened(customer="bob", bundle_id="gold")
    untouched = await shop.payment(reference="order-1", customer="cleo", bundle_id="gold")
    draft = await shop.payment(draft=True, reference="order-2")
    world.know(waiting=waiting.id, waiting_attempt=attempt.id, untouched=untouched.id, draft=draft.id)


async def disappoint(world: World) -> None:
    """Failed, cancelled, expired without and with a checkout."""
    shop = world.shop
    await pay(world, "failed", "fail")
    cancelled, _ = await shop.opened()
    await cancel_payment(shop.app.ctx, shop.id, cancelled.id, actor="key:test")
    short = await shop.payment(expires_in=HOUR)
    held, _ = await shop.opened(expires_in=HOUR)
    world.know(cancelled=cancelled.id, expired=short.id, expired_at_provider=held.id)
    world.clock.advance(HOUR + SECOND)
    await expire_payments(shop.app.ctx, actor="job:test")
    await shop.look()


async def receive_too_much(world: World) -> None:
    """Money that does not match, is foreign, comes late or twice, or is somebody else's."""
    shop, clock = world.shop, world.clock
    await pay(world, "short", told={"amount": 999})
    await pay(world, "foreign", told={"account": "acct_other"})
    await pay(world, "shared", told={"transaction": "txn_shared"})
    await pay(world, "reused", told={"transaction": "txn_shared"})
    for policy in ("accept", "review", "refund"):
        payment, attempt = await shop.opened(expires_in=HOUR, late_policy=policy)
        clock.advance(HOUR + SECOND)
        await expire_payments(shop.app.ctx, actor="job:test")
        await shop.look()
        await shop.sandbox.outcome(attempt, "pay", paidAt=rfc3339(clock.now()))
        clock.advance(DAY)
        await shop.look()
        world.know(**{f"late_{policy}": payment.id, f"late_{policy}_attempt": attempt.id})
    await _pay_twice(world)


async def _pay_twice(world: World) -> None:
    """The first checkout failed, the second is paid, and then the first one too."""
    shop, clock = world.shop, world.clock
    await pay(world, "twice", "fail")
    payment = await _current(world, "twice")
    first = (await shop.attempts(payment))[0]
    second = (await shop.checkout(payment)).attempt
    await shop.sandbox.outcome(second, "pay")
    clock.advance(5 * SECOND)
    await shop.look()
    await shop.sandbox.outcome(first, "pay")
    await ask_now(shop.app.ctx, shop.id, payment.id)
    clock.advance(5 * SECOND)
    await shop.look()


async def decide(world: World) -> None:
    """A person settles one payment by hand and resolves a case, and makes a key; each with its audit entry."""
    payment = await world.shop.payment(700)
    world.know(by_hand=payment.id)
    await world.shop.app.db.write(partial(_settle_by_hand, world, payment.id))
    await world.shop.app.db.write(partial(_resolve_a_case, world))
    await world.shop.app.db.write(partial(_make_a_key, world))


def _audited(world: World, tx: Tx, resource: str, action: str) -> None:
    entry = AuditEntry(MerchantId(world.shop.id), OPERATOR, action, resource, {}, {}, "paid in cash")
    audit.record(tx, a.WHO, [entry])


def _settle_by_hand(world: World, payment_id: str, tx: Tx) -> None:
    payment = store.get(tx, a.WHO, payment_id)
    patience = world.shop.app.ctx.patience
    opened = move_payments(tx, a.WHO, [Step(payment, State.REVIEW, OPERATOR, "asked by phone")], patience)[0]
    step = Step(opened, State.PAID, OPERATOR, "paid in cash", None, {"resolved_by_hand": True})
    move_payments(tx, a.WHO, [step], patience)
    booked = ledger.settled_by_hand(
        merchant_id=MerchantId(world.shop.id),
        payment_id=payment_id,
        money=Money(700, "EUR"),
        effective_at=tx.now,
    )
    ledger.post(tx, a.WHO, [booked])
    _audited(world, tx, payment_id, "payment.resolved")


def _resolve_a_case(world: World, tx: Tx) -> None:
    new = cases.NewCase(MerchantId(world.shop.id), world.names["untouched"], None, "question", {}, "answer")
    [case_id] = cases.open_cases(tx, a.WHO, [new])
    cases.resolve(tx, a.WHO, case_id, resolution="ANSWERED", actor=OPERATOR, reason="told them")
    _audited(world, tx, case_id, "case.resolved")


def _make_a_key(world: World, tx: Tx) -> None:
    key = merchants.create_api_key(
        tx,
        a.WHO,
        merchant_id=world.shop.id,
        name="shop",
        scopes=("payments:read",),
        expires_at=None,
        hash="0" * 64,
        prefix="psk_ab",
        last4="wxyz",
    )
    _audited(world, tx, key.id, "key.created")


def _keep_secrets(world: World, tx: Tx) -> None:
    connection_id, merchant = new_id("con", tx.now), MerchantId(world.shop.id)
    sealed = world.shop.app.ctx.keys.seal(
        json.dumps({"password": OWN_SECRET}).encode(), aad=secrets_aad(connection_id, merchant)
    )
    new = NewConnection(
        connection_id, merchant, "sandbox", "Other", "acct_two", live=False, settings={}, secrets=sealed
    )
    connections.create_connection(tx, a.WHO, new)


def _furnish(world: World, tx: Tx) -> None:
    """Orders, escrows and the like, as their flows leave them; and what repeats itself."""
    names = world.names
    names["other_merchant"] = merchants.create_merchant(tx, a.WHO, name="Other House").id
    names["order"], names["order_unpaid"] = new_id("ord", tx.now), new_id("ord", tx.now)
    names["escrow"], names["wallet"] = new_id("esc", tx.now), new_id("wal", tx.now)
    paid_commit = sa.text("SELECT commit_id FROM payment_moves WHERE payment_id = :id AND to_state = 'PAID'")
    for name in ("paid", "ordered"):
        names[f"{name}_commit"] = tx.execute(paid_commit, {"id": names[name]}).scalar_one()
    now = tx.now
    owned = {"merchant_id": names["merchant"], "created_at": now}
    for name, quantity in (("order", 2), ("order_unpaid", 1)):
        order = {
            "id": names[name],
            "state": "COMPLETED",
            "amount": 2000,
            "currency": "EUR",
            "quantity": quantity,
        }
        insert(tx, "orders", order | owned)
    tx.execute(
        sa.text("UPDATE payments SET order_id = :o WHERE id = :p"),
        {"o": names["order"], "p": names["ordered"]},
    )
    done = {"payment_id": names["ordered"], "order_id": names["order"], "state": "DONE", "done_at": now}
    insert(tx, "fulfilments", done | owned | {"commit_id": names["ordered_commit"]})
    for unit in (1, 2):
        ticket = {"id": f"tkt_{unit}", "order_id": names["order"], "unit": unit, "code": f"seat-{unit}"}
        insert(tx, "tickets", ticket | owned)
    held = {
        "id": names["escrow"],
        "payment_id": names["paid"],
        "state": "PARTIALLY_RELEASED",
        "currency": "EUR",
    }
    insert(tx, "escrows", held | owned | {"held": 1000, "released": 400, "refunded": 100, "remaining": 500})
    release = {"escrow_id": names["escrow"], "release_id": "rel_1", "merchant_id": names["merchant"]}
    insert(tx, "escrow_releases", release | {"amount": 400, "at": now})
    wallet = {
        "id": names["wallet"],
        "payee_id": "pye_1",
        "currency": "EUR",
        "balance": 400,
        "receivable": False,
    }
    insert(tx, "wallets", wallet | owned)
    _repeat(world, tx)


def _repeat(world: World, tx: Tx) -> None:
    """A kept answer, a message in the inbox, a run of a tick."""
    names, now = world.names, tx.now
    slot = Slot(MerchantId(names["merchant"]), "POST /api/payments", "key-1", "0" * 64)
    once(tx, slot, lambda _tx: Answer(names["paid"], 201, '{"id":"x"}'))
    message = {"id": "pev_1", "provider_event_id": "evt_1", "type": "checkout.completed", "body": "v1.k1.x"}
    message |= {"merchant_id": names["merchant"], "connection_id": names["connection"], "body_hash": "0" * 64}
    message |= {"authentic": True, "named": "[]", "state": "HANDLED", "deliveries": 2, "received_at": now}
    insert(tx, "provider_events", message)
    run = {"id": "run_1", "job": "expired-links", "tick_at": now, "trigger": "schedule", "state": "SUCCEEDED"}
    run |= {"owner": "w1", "claim_no": 1, "started_at": now, "finished_at": now, "created_at": now}
    insert(tx, "job_runs", run)


def insert(tx: Tx, table: str, row: Mapping[str, Any]) -> None:
    listed = ", ".join(f'"{column}"' for column in row)
    marks = ", ".join(f":{column}" for column in row)
    tx.execute(sa.text(f"INSERT INTO {table} ({listed}) VALUES ({marks})"), dict(row))


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
