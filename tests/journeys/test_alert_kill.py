"""Killed between telling of an alert and noting it: it is told again under the same name, and noted once."""

import signal
from pathlib import Path

from tests.faults.processes import installation, until

from paystate.app import App
from paystate.domain import alerts
from paystate.domain.alerts import NewAlert, Severity
from paystate.kit.ids import System

WHO = System("kill between telling and noting")
DELIVERIES = (
    "SELECT d.id, d.state, d.sent_count FROM alert_deliveries d JOIN alerts a ON a.id = d.alert_id "
    "WHERE a.fingerprint = 'provider_down:test'"
)
NOTED_SECONDS = 30.0
LEASE_IS_OVER_SECONDS = 180


async def _raise(app: App) -> None:
    new = NewAlert("provider_down", "test", Severity.WARNING, "A provider does not answer")
    await app.db.write(lambda tx: alerts.raise_alert(tx, WHO, new, app.ctx.operators))


async def test_an_alert_told_and_not_noted_is_told_again(database_url: str, tmp_path: Path) -> None:
    async with installation(database_url, tmp_path) as shop:
        async with shop.opened() as app:
            await _raise(app)
        [planned] = shop.rows(DELIVERIES)
        victim = shop.add("serve" if shop.is_sqlite else "worker")
        victim.begin("alert.after_send=kill@1")
        assert (await victim.ended(), victim.fired()) == (-signal.SIGKILL, ["alert.after_send"])
        [after] = shop.rows(DELIVERIES)
        assert (after["id"], after["state"], after["sent_count"]) == (planned["id"], "PENDING", 0)
        await shop.advance(LEASE_IS_OVER_SECONDS)
        await victim.start()
        await until(
            lambda: shop.rows(DELIVERIES)[0]["state"] == "SENT", NOTED_SECONDS, "it is told and noted"
        )
        await shop.stop_all()
        [told] = shop.rows(DELIVERIES)
        assert (told["id"], told["sent_count"]) == (planned["id"], 1)
        assert (await shop.audit()).broken == []
