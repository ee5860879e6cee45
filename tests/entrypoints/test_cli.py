"""The command line on an installation that no server holds: what it prints, and with which code it ends."""

import sqlite3
import subprocess
import sys

import pytest
from tests import a
from tests.entrypoints.command import environment, paystate

from paystate.domain.payments import Trigger
from paystate.entrypoints.cli.operate import parse_duration
from paystate.flows.verify_payments import verify_now
from paystate.kit.clock import DAY, HOUR, MINUTE, SECOND
from paystate.kit.errors import Refused
from paystate.machinery.settings import Settings
from paystate.migrations import run as migrations
from paystate.simulators import start_simulator

DONE, FOUND_WRONG, WRONG_USE = 0, 1, 2


@pytest.fixture
def env(tmp_path):
    return environment(data_dir=tmp_path / "data", allow_private_addresses="127.0.0.0/8")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """A fresh database with its history of migrations, as the commands want it."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'data' / 'paystate.db'}"
        migrations.migrate(url)
        yield url
        return
    cluster = request.getfixturevalue("postgres_cluster")
    url = cluster.empty()
    migrations.migrate(url)
    yield url
    cluster.drop(url)


@pytest.fixture
async def shop(database_url, tmp_path):
    async with a.shop(database_url, tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def shop_env(shop):
    """The environment of commands that see the same installation as the shop."""
    settings = shop.app.settings
    return environment(
        env="test",
        data_dir=settings.data_dir,
        database_url=settings.database_url.reveal(),
        secret_key=settings.secret_key.reveal(),
        allow_private_addresses="127.0.0.0/8",
    )


async def _change(shop, sql: str) -> None:
    """What no code of ours would ever do."""
    await shop.app.db.write(lambda tx: tx.conn.exec_driver_sql(sql))


def test_help_imports_nothing_heavy() -> None:
    heavy = "{'sqlalchemy', 'fastapi', 'pydantic', 'aiohttp', 'structlog', 'cryptography', 'babel'}"
    code = f"import sys, paystate.__main__; found = {heavy} & set(sys.modules); assert not found, found"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


async def test_a_new_key_stands_alone_on_the_last_line(env) -> None:
    made = await paystate(
        "keys", "create", "--merchant", "Tea House", "--scopes", "payments:read,jobs", env=env
    )
    assert made.code == DONE, made.err
    last = made.out.splitlines()[-1]
    assert last.startswith("psk_")
    assert " " not in last
    assert made.out.count("psk_") == 1


async def test_keys_as_json_and_their_end(env) -> None:
    made = (await paystate("keys", "create", "--merchant", "Tea House", "--json", env=env)).document
    assert made["key"].startswith("psk_")
    assert "admin" in made["scopes"]
    again = (await paystate("keys", "create", "--merchant", "Tea House", "--json", env=env)).document
    assert again["merchant"] == made["merchant"]
    listed = await paystate("keys", "list", "--merchant", "Tea House", "--json", env=env)
    assert made["key"] not in listed.out
    assert {key["id"] for key in listed.document["data"]} == {made["id"], again["id"]}
    revoked = (await paystate("keys", "revoke", made["id"], "--json", env=env)).document
    assert revoked["revokedAt"] is not None
    shown = await paystate("keys", "list", env=env)
    assert sorted(line.split()[-1] for line in shown.out.splitlines()[1:]) == ["active", "revoked"]


async def test_wrong_use_ends_with_two_and_says_what_is_right(env) -> None:
    scope = await paystate("keys", "create", "--merchant", "Tea House", "--scopes", "everything", env=env)
    assert (scope.code, scope.out) == (WRONG_USE, "")
    assert "payments:write" in scope.err
    told = await paystate("keys", "create", "--merchant", "Tea", "--scopes", "x", "--json", env=env)
    assert (told.code, told.err) == (WRONG_USE, "")
    assert told.document["error"]["errors"][0]["code"] == "invalid_scope"
    assert (await paystate("keys", "create", env=env)).code == WRONG_USE
    unknown = await paystate("keys", "list", "--merchant", "Nobody", env=env)
    assert unknown.code == WRONG_USE
    assert "paystate keys create --merchant" in unknown.err
    assert (await paystate("jobs", "run", "no-such-job", env=env)).code == WRONG_USE
    assert (await paystate("explain", "pay_nothing", env=env)).code == WRONG_USE
    assert (await paystate("no-such-command", env=env)).code == WRONG_USE
    misspelled = await paystate("keys", "list", env=env | {"PAYSTATE_PUBLIC_ULR": "https://pay.example.com"})
    assert misspelled.code == WRONG_USE
    assert "did you mean PAYSTATE_PUBLIC_URL?" in misspelled.err


async def test_a_connection_is_added_only_with_credentials_that_work(env, tmp_path) -> None:
    await paystate("keys", "create", "--merchant", "Tea House", env=env)
    secret = tmp_path / "secret"
    secret.write_text("sk_sandbox_paystate\n")
    simulator = await start_simulator("sandbox")
    try:
        add = (
            "connections",
            "add",
            "sandbox",
            "--merchant",
            "Tea House",
            "--set",
            f"baseUrl={simulator.base_url}",
        )
        missing = await paystate(*add, env=env)
        assert missing.code == WRONG_USE
        assert "secretKey: The account's secret key." in missing.err
        wrong = await paystate(*add, "--set", "secretKey=sk_wrong", "--set", "webhookSecret=w", env=env)
        assert wrong.code == WRONG_USE
        assert "does not accept these credentials" in wrong.err
        assert (await paystate("connections", "list", "--json", env=env)).document["data"] == []
        both = ("--set", f"secretKey=@{secret}", "--set", "webhookSecret=whsec_sandbox_paystate")
        made = (await paystate(*add, *both, "--json", env=env)).document
        assert (made["account"], made["live"], made["state"]) == ("acct_sandbox", False, "ACTIVE")
        assert "sk_sandbox_paystate" not in str(made)
        assert (await paystate(*add, *both, env=env)).code == FOUND_WRONG
        tested = await paystate("connections", "test", made["id"], env=env)
        assert tested.code == DONE
        assert "accepts the credentials" in tested.out
    finally:
        await simulator.stop()
    silent = await paystate("connections", "test", made["id"], "--json", env=env)
    assert (silent.code, silent.document["ok"]) == (FOUND_WRONG, False)


async def test_verify_prints_each_decision_and_explain_says_why(shop, shop_env) -> None:
    payment, attempt = await shop.opened(2500, "EUR")
    opened = await paystate("explain", payment.short_code, "--json", env=shop_env)
    assert "It waits for EUR 25.00" in opened.document["sentence"]
    await shop.sandbox.outcome(attempt, "pay")
    verified = await paystate("verify", "--payment", payment.id, "--verbose", env=shop_env)
    assert verified.code == DONE, verified.err
    line = next(line for line in verified.out.splitlines() if line.startswith(payment.id))
    assert line.split()[1:] == ["manual", "SUCCEEDED", "paid", "PAID", "moved"]
    paid = await paystate("explain", payment.id, "--json", env=shop_env)
    assert paid.document["state"] == "PAID"
    assert "SANDBOX proved transaction" in paid.document["sentence"]
    assert [move["to"] for move in paid.document["evidence"]["moves"]] == ["OPEN", "PAID"]
    shown = await paystate("explain", payment.id, env=shop_env)
    assert shown.out.startswith(f"{payment.id} is PAID. It is PAID since")
    balance = await paystate("ledger", "trial-balance", "--json", env=shop_env)
    assert balance.document["totals"]["EUR"] == {
        "debit": 2500,
        "credit": 2500,
        "debitDisplay": "25.00",
        "creditDisplay": "25.00",
    }


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_verify_without_a_payment_asks_about_what_is_due(shop, shop_env) -> None:
    payment, attempt = await shop.opened()
    await shop.sandbox.outcome(attempt, "pay")
    await _change(shop, "UPDATE attempts SET next_check_at = 1")
    due = await paystate("verify", "--json", env=shop_env)
    assert due.document["moved"] == 1
    assert due.document["decisions"][0]["payment"] == payment.id
    assert (await paystate("verify", "--json", env=shop_env)).document["asked"] == 0


async def test_the_audit_ends_with_one_when_an_invariant_is_broken(shop, shop_env) -> None:
    payment, attempt = await shop.opened(2500, "EUR")
    await shop.sandbox.outcome(attempt, "pay")
    await paystate("verify", "--payment", payment.id, env=shop_env)
    sound = await paystate("audit", "--json", env=shop_env)
    assert (sound.code, sound.document["sound"]) == (DONE, True), sound.out
    await _change(shop, "UPDATE ledger_accounts SET balance = balance + 1")
    broken = await paystate("audit", "--json", env=shop_env)
    assert broken.code == FOUND_WRONG
    assert [check["number"] for check in broken.document["invariants"] if check["count"]] == [2]
    assert "Broken 2:" in (await paystate("audit", env=shop_env)).out
    run = await paystate("jobs", "run", "audit", "--json", env=shop_env)
    assert (run.code, run.document["status"]) == (FOUND_WRONG, "FAILED")
    assert "Invariants broken: 2" in run.document["error"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_jobs_run_with_their_published_results(shop, shop_env) -> None:
    stale = await shop.payment(expires_in=60 * SECOND)
    await paystate("clock", "advance", "2m", env=shop_env)
    ran = await paystate("jobs", "run", "expired-links", "--json", env=shop_env)
    assert ran.code == DONE, ran.err
    assert ran.document["status"] == "SUCCEEDED"
    result = ran.document["result"]
    assert (result["found"], result["expired"], result["failed"], result["errors"]) == (1, 1, 0, [])
    assert (await shop.now(stale)).state == "EXPIRED"
    cleaned = await paystate("jobs", "run", "cleanup-stale-payments", "--json", env=shop_env)
    assert cleaned.document["result"]["found"] == 0
    await shop.opened()
    await paystate("clock", "advance", "61m", env=shop_env)
    stuck = (await paystate("jobs", "run", "stuck-payments", "--json", env=shop_env)).document["result"]
    assert stuck["count"] == 1
    assert set(stuck["payments"][0]) == {"id", "ageMinutes", "lastEventType", "lastActivityAt"}
    assert stuck["payments"][0]["ageMinutes"] == 61
    history = (await paystate("jobs", "history", "expired-links", "--json", env=shop_env)).document
    assert ran.document["runId"] in [run["runId"] for run in history["data"]]
    stats = (await paystate("jobs", "stats", "stuck-payments", "--json", env=shop_env)).document["data"][0]
    assert stats["failureCount"] == 0
    assert stats["successCount"] >= 1
    assert (await paystate("jobs", "replay", ran.document["runId"], env=shop_env)).code == FOUND_WRONG


async def test_a_disabled_job_does_not_run(env) -> None:
    assert (await paystate("jobs", "disable", "stuck-payments", env=env)).code == DONE
    refused = await paystate("jobs", "run", "stuck-payments", "--json", env=env)
    assert (refused.code, refused.document["error"]["code"]) == (FOUND_WRONG, "job_disabled")
    listed = (await paystate("jobs", "list", "--json", env=env)).document["data"]
    assert {job["name"] for job in listed if not job["enabled"]} == {"stuck-payments"}
    assert (await paystate("jobs", "enable", "stuck-payments", env=env)).code == DONE
    assert (await paystate("jobs", "run", "stuck-payments", env=env)).code == DONE


async def test_the_cleanup_follows_its_own_setting(env) -> None:
    listed = await paystate(
        "jobs", "list", "--json", env=env | {"PAYSTATE_PAYMENT_CLEANUP_CRON": "3 4 * * *"}
    )
    schedules = {job["name"]: job["schedule"] for job in listed.document["data"]}
    assert schedules["cleanup-stale-payments"] == "3 4 * * *"
    assert schedules["expired-links"] == "*/5 * * * *"


async def test_the_doctor_names_each_check_and_what_to_do(env) -> None:
    healthy = await paystate("doctor", "--json", env=env)
    assert healthy.code == DONE
    checks = {check["name"]: check for check in healthy.document["checks"]}
    assert {"database", "schema", "secret key", "public address", "clock", "proxies", "failpoints"} <= set(
        checks
    )
    assert checks["public address"]["level"] == "WARNING"
    assert "PAYSTATE_PUBLIC_URL" in checks["public address"]["advice"]
    old = sqlite3.sqlite_version_info < (3, 51, 3)
    assert (checks["database"]["level"] == "WARNING") is old
    strict = await paystate("doctor", "--go-live", "--json", env=env)
    assert strict.code == FOUND_WRONG
    wrong = {check["name"] for check in strict.document["checks"] if check["level"] == "PROBLEM"}
    assert wrong == {"environment", "public address", "private addresses", "who is told", "connections"}
    invalid = await paystate("doctor", env=env | {"PAYSTATE_TIME_ZONE": "Mars/Olympus"})
    assert invalid.code == FOUND_WRONG
    assert "PAYSTATE_TIME_ZONE" in invalid.out


async def test_the_doctor_lists_every_setting_without_secrets(env) -> None:
    listed = await paystate("doctor", "--settings", "--json", env=env | {"PAYSTATE_CRON_SECRET": "c" * 32})
    rows = {row["name"]: row for row in listed.document["settings"]}
    assert set(rows) == {f"PAYSTATE_{field.upper()}" for field in Settings.model_fields}
    assert rows["PAYSTATE_CRON_SECRET"]["value"] == "***"
    assert rows["PAYSTATE_CRON_SECRET"]["source"] == "environment"


async def test_the_clock_moves_in_a_trial_and_never_in_production(env) -> None:
    moved = (await paystate("clock", "advance", "1d12h", "--json", env=env)).document
    assert moved["offsetSeconds"] == 36 * 3600
    assert (await paystate("clock", "advance", "30m", "--json", env=env)).document[
        "offsetSeconds"
    ] == 36 * 3600 + 1800
    checks = (await paystate("doctor", "--json", env=env)).document["checks"]
    assert next(c for c in checks if c["name"] == "clock")["level"] == "WARNING"
    refused = await paystate("clock", "advance", "2h", env=env | {"PAYSTATE_ENV": "production"})
    assert refused.code == WRONG_USE
    assert "never moved" in refused.err


def test_durations() -> None:
    assert parse_duration("90s") == 90 * SECOND
    assert parse_duration("1d12h5m") == DAY + 12 * HOUR + 5 * MINUTE
    for wrong in ("", "2", "h", "2x", "-2h", "1.5h", "2h and more"):
        with pytest.raises(Refused):
            parse_duration(wrong)


async def test_failpoints_are_listed_and_refused_in_production(env) -> None:
    listed = (await paystate("failpoints", "--json", env=env)).document["failpoints"]
    names = {point["name"] for point in listed}
    assert {
        "payment.created",
        "attempt.after_call",
        "inbox.before_insert",
        "verify.before_commit",
        "job.hang",
    } <= names
    refused = await paystate(
        "failpoints", env=env | {"PAYSTATE_ENV": "production", "PAYSTATE_FAILPOINTS": "payment.created=kill"}
    )
    assert refused.code == DONE
    armed = await paystate(
        "keys",
        "list",
        env=env | {"PAYSTATE_ENV": "production", "PAYSTATE_FAILPOINTS": "payment.created=kill"},
    )
    assert armed.code == WRONG_USE
    assert "refused in production" in armed.err


async def test_migrate_says_what_it_did(env, postgres_cluster) -> None:
    first = (await paystate("migrate", "--json", env=env)).document
    assert (first["before"], first["changed"]) == (None, True)
    second = await paystate("migrate", env=env)
    assert "Nothing to do" in second.out
    url = postgres_cluster.empty()
    key = "5yrkvYuH2Qk7O6b1Qw0m3n0yH0m9b8Yf8b2JtVwq3hQ="
    postgres = env | {"PAYSTATE_DATABASE_URL": url, "PAYSTATE_SECRET_KEY": key}
    try:
        unmigrated = await paystate("keys", "list", env=postgres)
        assert unmigrated.code == FOUND_WRONG
        assert "Run: paystate migrate" in unmigrated.err
        problem = await paystate("doctor", "--json", env=postgres)
        assert problem.code == FOUND_WRONG
        assert (await paystate("migrate", env=postgres)).code == DONE
        assert (await paystate("keys", "list", env=postgres)).code == DONE
    finally:
        postgres_cluster.drop(url)


def test_the_reference_of_settings_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "tools/write_settings_reference.py", "--check"], capture_output=True, check=False
    )
    assert done.returncode == 0, "run: python tools/write_settings_reference.py"


async def test_cases_are_listed_shown_and_resolved(shop, shop_env) -> None:
    payment, attempt = await shop.opened(1000, "EUR")
    await shop.sandbox.outcome(attempt, "pay", amount=999, transaction="t1")
    await verify_now(shop.app.ctx, a.WHO, [attempt], Trigger.MANUAL, 10)
    [case] = await shop.rows("SELECT id FROM cases")
    listed = await paystate("cases", "list", env=shop_env)
    assert case["id"] in listed.out, listed.err
    shown = await paystate("cases", "show", case["id"], env=shop_env)
    assert "amount_mismatch" in shown.out
    assert "answered amount" in shown.out
    no_reason = await paystate("cases", "resolve", case["id"], "accept", env=shop_env)
    assert no_reason.code == 2
    waits = await paystate(
        "cases", "resolve", case["id"], "keep-waiting", "--reason", "asked them", "--hours", "5", env=shop_env
    )
    assert (waits.code, "waits until" in waits.out) == (0, True), waits.err
    done = await paystate(
        "cases", "resolve", payment.id, "refund", "--reason", "wrong", "--to", "canceled", env=shop_env
    )
    assert (done.code, "The payment is CANCELED." in done.out) == (0, True), done.err
    again = await paystate("cases", "resolve", case["id"], "accept", "--reason", "x", env=shop_env)
    assert (again.code, "already resolved" in again.err) == (1, True)
    explained = await paystate("explain", payment.id, env=shop_env)
    assert "operator:owner" in explained.out
    assert "wrong" in explained.out
