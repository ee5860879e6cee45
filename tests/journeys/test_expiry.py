"""Expiry by sets: more links than one batch holds, one that the database refuses, and what a provider holds among them."""

import sqlalchemy as sa

from paystate.flows.expire_payments import BATCH, expire_payments
from paystate.kit.clock import HOUR, MINUTE, SECOND

REFUSED = {
    "sqlite": "CREATE TRIGGER refuses_one BEFORE UPDATE OF state ON payments WHEN NEW.reference = 'bad' "
    "BEGIN SELECT RAISE(ABORT, 'not this one'); END",
    "postgresql": "ALTER TABLE payments ADD CONSTRAINT refuses_one CHECK (reference IS DISTINCT FROM 'bad' OR state <> 'EXPIRED')",
}


async def test_one_bad_link_falls_out_alone(town) -> None:
    """A7: the database refuses one of them; the others expire in the same run, and the result names the bad one."""
    good = [await town.payment(expiresIn=60) for _ in range(6)]
    bad = await town.payment(expiresIn=60, reference="bad")
    good += [await town.payment(expiresIn=60) for _ in range(6)]
    await _refuse_the_bad_one(town)
    town.clock.advance(2 * MINUTE)
    result = await town.run("expired-links")
    assert (result["found"], result["expired"], result["failed"]) == (13, 12, 1)
    [error] = result["errors"]
    assert (error["id"], bool(error["error"])) == (bad["id"], True)
    assert {await town.state(p) for p in good} == {"EXPIRED"}
    assert await town.state(bad) == "OPEN"
    assert await town.path(bad) == ["OPEN"]
    again = await town.run("expired-links")
    assert (again["found"], again["expired"], again["failed"]) == (1, 0, 1)
    await town.audit()


async def test_links_that_end_at_the_same_moment_are_more_than_one_batch(town) -> None:
    """A7: a campaign's links end together, page after page, in one run."""
    model = await town.payment(expiresIn=60)
    await _copies(town, model, BATCH + 200)
    town.clock.advance(2 * MINUTE)
    result = await town.run("expired-links")
    assert (result["found"], result["expired"], result["failed"]) == (BATCH + 201, BATCH + 201, 0)
    rows = await town.web.shop.rows("SELECT DISTINCT state FROM payments")
    assert [row["state"] for row in rows] == ["EXPIRED"]
    [moves] = await town.web.shop.rows("SELECT count(*) AS n FROM payment_moves WHERE to_state = 'EXPIRED'")
    [told] = await town.web.shop.rows("SELECT count(*) AS n FROM events WHERE type = 'payment.expired'")
    [commits] = await town.web.shop.rows(
        "SELECT count(DISTINCT commit_id) AS n FROM payment_moves WHERE to_state = 'EXPIRED'"
    )
    assert (moves["n"], told["n"], commits["n"]) == (BATCH + 201, BATCH + 201, 2)


async def test_what_a_provider_holds_is_asked_about_on_every_page(town) -> None:
    """X2: with pages of two, each with one that is at the provider; all are asked in the first run, all end after it."""
    held = []
    for _ in range(3):
        held.append(await town.opened(expiresIn=3600))
        await town.payment(expiresIn=3600)
    await town.at_provider(held[1], "pay")
    town.clock.advance(HOUR + MINUTE)
    sweep = await expire_payments(town.web.shop.app.ctx, actor="job:test", batch=2)
    assert (sweep.expired, sweep.failed, sweep.found) == (3, 0, 3 + sweep.asked)
    assert [await town.state(p) for p in held] == ["OPEN"] * 3
    await town.pass_time(2 * SECOND)
    assert [await town.state(p) for p in held] == ["EXPIRED", "PAID", "EXPIRED"]
    await town.audit()


async def _refuse_the_bad_one(town) -> None:
    db = town.web.shop.app.db
    statement = REFUSED["sqlite" if await db.read(lambda tx: tx.on_sqlite) else "postgresql"]
    await db.write(lambda tx: tx.conn.exec_driver_sql(statement) and None)


async def _copies(town, model, count: int) -> None:
    """The same link many times over, as a campaign makes them."""
    [row] = await town.web.shop.rows(f"SELECT * FROM payments WHERE id = '{model['id']}'")
    names = sorted(row)
    own = {"id": "substr(p.id, 1, 24) || n.tail", "short_code": "substr(p.short_code, 1, 20) || n.tail"}
    picked = ", ".join(own.get(name, f"p.{name}") for name in names)
    series = "WITH RECURSIVE i(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM i WHERE k < :count), n AS (SELECT CAST(100000 + k AS TEXT) AS tail FROM i) "
    move = "INSERT INTO payment_moves (payment_id, seq, to_state, merchant_id, actor, reason, commit_id, at) "
    move += f"{series} SELECT {own['id']}, 1, p.state, p.merchant_id, 'key:test', 'created', 'cmt_copy', p.created_at FROM payments p, n WHERE p.id = :id"
    copy = f"INSERT INTO payments ({', '.join(names)}) {series} SELECT {picked} FROM payments p, n WHERE p.id = :id"

    def write(tx) -> None:
        for text in (move, copy):
            tx.execute(sa.text(text), {"count": count, "id": model["id"]})

    await town.web.shop.app.db.write(write)
