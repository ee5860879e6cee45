"""Alerts over HTTP and on the command line: read, looked after, ended with a reason, tried."""

import pytest
from tests import a
from tests.entrypoints.command import environment, paystate
from tests.entrypoints.running_web import OWNER_KEY

from paystate.domain import alerts
from paystate.domain.alerts import NewAlert, Severity
from paystate.flows.deliver_alerts import deliver_alerts

DONE, FOUND_WRONG, WRONG_USE = 0, 1, 2


async def raised(shop, merchant_id=None, subject="x") -> str:
    new = NewAlert("stuck_payments", subject, Severity.CRITICAL, "Stuck", {"count": 1}, merchant_id)
    await shop.app.db.write(lambda tx: alerts.raise_alert(tx, a.WHO, new, shop.app.ctx.operators))
    rows = await shop.rows(f"SELECT id FROM alerts WHERE fingerprint = '{new.fingerprint}'")
    return str(rows[0]["id"])


async def test_an_alert_is_looked_after_and_ended(web, shop) -> None:
    alert = await raised(shop, shop.id)
    listed = await web.get("/api/alerts?state=OPEN")
    assert [(one["id"], one["count"], one["severity"]) for one in listed.json["data"]] == [
        (alert, 1, "CRITICAL")
    ]
    await deliver_alerts(shop.app.ctx)
    shown = (await web.get(f"/api/alerts/{alert}")).json
    assert [(d["channel"], d["state"], d["sentCount"]) for d in shown["deliveries"]] == [("log", "SENT", 1)]
    for _ in range(2):
        seen = await web.post(f"/api/alerts/{alert}/acknowledge")
        assert (seen.status, seen.json["state"]) == (200, "ACKNOWLEDGED")
    assert seen.json["acknowledgedBy"].startswith("key:")
    assert (await web.get("/api/alerts?state=OPEN")).json["data"] == []
    assert (await web.post(f"/api/alerts/{alert}/resolve", {})).status == 422
    done = await web.post(
        f"/api/alerts/{alert}/resolve", {"reason": "called"}, headers={"Idempotency-Key": "k1"}
    )
    assert (done.json["state"], done.json["endedReason"]) == ("RESOLVED", "called")
    again = await web.post(
        f"/api/alerts/{alert}/resolve", {"reason": "called"}, headers={"Idempotency-Key": "k1"}
    )
    assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")
    twice = await web.post(f"/api/alerts/{alert}/resolve", {"reason": "called"})
    assert (twice.status, twice.code) == (409, "invalid_state")
    log = (await web.get(f"/api/audit-log?resourceId={alert}")).json["data"]
    assert sorted(entry["action"] for entry in log) == ["alert.acknowledged", "alert.resolved"]


async def test_the_owner_sees_those_of_the_installation_too(web, shop) -> None:
    mine, ours = await raised(shop, shop.id, "mine"), await raised(shop, None, "ours")
    assert [one["id"] for one in (await web.get("/api/alerts")).json["data"]] == [mine]
    assert (await web.get(f"/api/alerts/{ours}")).status == 404
    seen = (await web.get("/api/alerts", key=OWNER_KEY)).json["data"]
    assert {one["id"] for one in seen} == {mine, ours}
    assert (await web.post(f"/api/alerts/{ours}/acknowledge", key=OWNER_KEY)).json[
        "acknowledgedBy"
    ] == "operator:owner"
    assert (await web.post("/api/alerts/test")).code == "insufficient_scope"
    for _ in range(2):
        assert (await web.post("/api/alerts/test", key=OWNER_KEY)).json == {"addresses": 0}
    assert len(await shop.rows("SELECT id FROM alert_deliveries WHERE state = 'PENDING'")) == 4


@pytest.fixture
def env(tmp_path):
    return environment(data_dir=tmp_path / "data", allow_private_addresses="127.0.0.0/8")


async def test_commands_list_show_ack_and_resolve(env, tmp_path) -> None:
    assert (await paystate("alerts", "list", env=env)).out.strip() == "There is nothing to tell."
    url = f"sqlite:///{tmp_path / 'data' / 'paystate.db'}"
    async with a.shop(url, tmp_path / "data") as shop:
        alert = await raised(shop)
    assert alert in (await paystate("alerts", "list", env=env)).out
    doctor = (await paystate("doctor", "--json", env=env)).document
    assert {c["name"]: c["level"] for c in doctor["checks"]}["alerts"] == "PROBLEM"
    assert "log" in (await paystate("alerts", "show", alert, env=env)).out
    assert (await paystate("alerts", "ack", alert, env=env)).code == DONE
    assert (await paystate("alerts", "resolve", alert, env=env)).code == WRONG_USE
    ended = await paystate("alerts", "resolve", alert, "--reason", "called", "--json", env=env)
    assert (ended.document["state"], ended.document["endedBy"]) == ("RESOLVED", "owner")
    assert (await paystate("alerts", "ack", alert, env=env)).code == FOUND_WRONG
    assert (await paystate("alerts", "ack", "alt_none", env=env)).code == WRONG_USE
    assert (await paystate("alerts", "list", "--json", env=env)).document["data"] == []
    every = (await paystate("alerts", "list", "--all", "--json", env=env)).document["data"]
    assert [one["id"] for one in every] == [alert]
    assert (await paystate("doctor", "--json", env=env)).code == DONE


async def test_a_trial_says_what_became_of_it(env) -> None:
    tried = await paystate("alerts", "test", "--json", env=env)
    assert tried.code == DONE, tried.err
    assert [(d["channel"], d["state"]) for d in tried.document["deliveries"]] == [("log", "SENT")]
    nobody = env | {"PAYSTATE_SMTP_URL": "smtp://127.0.0.1:9", "PAYSTATE_ALERT_EMAILS": "ann@shop.test"}
    failed = await paystate("alerts", "test", "--json", env=nobody)
    assert failed.code == FOUND_WRONG
    told = {d["channel"]: (d["state"], d["lastError"]) for d in failed.document["deliveries"]}
    assert told["log"][0] == "SENT"
    assert told["email"][0] == "PENDING"


async def test_jobs_are_set_and_their_history_cleared_by_command(env) -> None:
    ran = await paystate("jobs", "run", "check-alerts", "--json", env=env)
    assert (ran.code, ran.document["progress"]) == (DONE, {"done": 9, "total": 9}), ran.err
    changed = await paystate(
        "jobs", "set", "check-alerts", "--schedule", "1 2 * * *", "--time-zone", "Europe/Berlin", env=env
    )
    assert changed.out.strip() == "check-alerts runs at 1 2 * * * (Europe/Berlin)."
    assert (await paystate("jobs", "set", "check-alerts", "--schedule", "never", env=env)).code == WRONG_USE
    assert (await paystate("jobs", "clear", "check-alerts", env=env)).code == DONE
    [stats] = (await paystate("jobs", "stats", "check-alerts", "--json", env=env)).document["data"]
    assert stats["totalExecutions"] == 0
