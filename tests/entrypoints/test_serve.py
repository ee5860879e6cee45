"""The processes of an installation as an operator starts, kills and stops them."""

import http.client
import json
import os
import signal
import socket
import stat
import time
from pathlib import Path

import pytest
from tests import a
from tests.entrypoints.command import environment, free_port, paystate, running

from paystate.entrypoints.data_dir import DataDirHeld, find_server, hold
from paystate.migrations import run as migrations

KEY = "5yrkvYuH2Qk7O6b1Qw0m3n0yH0m9b8Yf8b2JtVwq3hQ="
DEADLINE_SECONDS = 30


@pytest.fixture
def env(tmp_path):
    return environment(data_dir=tmp_path / "data", allow_private_addresses="127.0.0.0/8")


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


def get(port: int, path: str, key: str | None = None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers={} if key is None else {"Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), answer.headers
    finally:
        connection.close()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_server_answers_holds_its_directory_and_stops_when_told(env, log, tmp_path) -> None:
    port, data = free_port(), tmp_path / "data"
    with running("serve", "--port", str(port), env=env, log=log) as server:
        assert f"http://127.0.0.1:{port}" in server.first_line
        assert get(port, "/api/openapi.json")[0] == 200
        assert "server" not in get(port, "/api/openapi.json")[2]
        assert [mode(data / name) for name in ("owner.key", "server.json", "paystate.db")] == [0o600] * 3
        second = await paystate("serve", "--port", str(free_port()), env=env)
        assert second.code == 1
        assert f"is held by process {server.process.pid} (paystate serve, since " in second.err
        assert (await paystate("migrate", env=env)).code == 1
        assert server.process.poll() is None
        began = time.monotonic()
        assert server.stop(signal.SIGTERM) == 0
        assert time.monotonic() - began < 10
    assert not (data / "owner.key").exists()
    assert not (data / "server.json").exists()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert "worker_stopped" in [line["event"] for line in lines]
    assert [line for line in lines if line["level"] == "error"] == []


async def test_commands_go_through_the_running_server(env, log, tmp_path) -> None:
    port = free_port()
    with running("serve", "--port", str(port), env=env, log=log) as server:
        made = await paystate("keys", "create", "--merchant", "Tea House", "--json", env=env)
        assert made.code == 0, made.err
        assert get(port, "/api/payments", made.document["key"])[0] == 200
        told = await paystate("connections", "list", "--json", env=env)
        assert told.document["data"] == []
        assert (await paystate("jobs", "run", "expired-links", env=env)).code == 0
        assert (await paystate("audit", env=env)).code == 0
        unknown = await paystate("keys", "revoke", "key_unknown", env=env)
        assert (unknown.code, unknown.out) == (2, "")
        refused = await paystate("keys", "create", "--merchant", "T", "--scopes", "x", "--json", env=env)
        assert (refused.code, refused.document["error"]["errors"][0]["code"]) == (2, "invalid_scope")
        await paystate("jobs", "disable", "audit", env=env)
        disabled = await paystate("jobs", "run", "audit", "--json", env=env)
        assert (disabled.code, disabled.document["error"]["code"]) == (1, "job_disabled")
        (tmp_path / "data" / "owner.key").write_text("sk_owner_guessed\n")
        guessed = await paystate("keys", "list", "--json", env=env)
        assert (guessed.code, guessed.document["error"]["code"]) == (2, "unauthenticated")
        assert server.stop() == 0


async def test_a_killed_server_leaves_nothing_in_the_way(env, log, tmp_path) -> None:
    port = free_port()
    with running("serve", "--port", str(port), env=env, log=log) as server:
        await paystate("keys", "create", "--merchant", "Tea House", env=env)
        first_key = (tmp_path / "data" / "owner.key").read_text()
        server.stop(signal.SIGKILL)
    assert (tmp_path / "data" / "server.json").exists()
    listed = await paystate("keys", "list", "--json", env=env)
    assert len(listed.document["data"]) == 1
    with running("serve", "--port", str(port), env=env, log=log):
        assert (tmp_path / "data" / "owner.key").read_text() != first_key
        assert len((await paystate("keys", "list", "--json", env=env)).document["data"]) == 1


async def test_the_worker_of_a_server_verifies_without_being_asked(env, log) -> None:
    port = free_port()
    with (
        running("simulate", "sandbox", env=env, log=log) as simulator,
        running("serve", "--port", str(port), env=env, log=log),
    ):
        url = simulator.first_line.split()[-1]
        key = (await paystate("keys", "create", "--merchant", "Tea House", "--json", env=env)).document["key"]
        fields = ("secretKey=sk_sandbox_paystate", "webhookSecret=whsec_sandbox_paystate", f"baseUrl={url}")
        await paystate(
            *("connections", "add", "sandbox", "--merchant", "Tea House"),
            *(f"--set={f}" for f in fields),
            env=env,
        )
        payment = post(port, "/api/payments", {"amount": 500, "currency": "EUR"}, key)
        post(port, f"/api/payment-links/{payment['shortCode']}/checkout", {}, None)
        held = get(int(url.rsplit(":", 1)[1]), "/_control/objects")[1]["checkouts"]
        post(
            int(url.rsplit(":", 1)[1]),
            "/_control/outcomes",
            {"checkout": held[0]["id"], "outcome": "pay"},
            None,
        )
        path = f"/api/payment-links/{payment['id']}/status"
        wait_until(lambda: get(port, path)[1]["currentStatus"] == "PAID")
        wait_until(lambda: numbered(env))


def numbered(env) -> bool:
    """Every event of the file has its position."""
    import sqlite3

    with sqlite3.connect(f"file:{env['PAYSTATE_DATA_DIR']}/paystate.db?mode=ro", uri=True) as file:
        row = file.execute("SELECT count(*), count(position) FROM events").fetchone()
    file.close()
    return row[0] == row[1] > 0


def post(port: int, path: str, body: dict, key: str | None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {"Content-Type": "application/json"} | (
        {} if key is None else {"Authorization": f"Bearer {key}"}
    )
    try:
        connection.request("POST", path, body=json.dumps(body), headers=headers)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status < 300, text
        return json.loads(text)
    finally:
        connection.close()


def wait_until(look) -> None:
    until = time.monotonic() + DEADLINE_SECONDS
    while not look():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


async def test_nobody_serves_where_somebody_else_listens(env) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = await paystate("serve", "--port", str(taken.getsockname()[1]), env=env)
    assert refused.code == 1
    assert "Choose another with --port" in refused.err


async def test_production_does_not_start_on_red(env) -> None:
    refused = await paystate("serve", env=env | {"PAYSTATE_ENV": "production"})
    assert refused.code == 2
    assert "public address" in refused.err
    assert "PAYSTATE_ALLOW_PRIVATE_ADDRESSES" in refused.err


async def test_one_process_does_everything_on_sqlite(env) -> None:
    for role in ("web", "worker"):
        refused = await paystate(role, env=env)
        assert refused.code == 2
        assert "run `paystate serve`" in refused.err


def test_the_lock_also_guards_a_database_elsewhere(tmp_path) -> None:
    url = f"sqlite:///{tmp_path / 'elsewhere' / 'shop.db'}"
    one, two = a.settings(url, tmp_path / "one"), a.settings(url, tmp_path / "two")
    with hold(one, "paystate serve"):
        with pytest.raises(DataDirHeld) as held, hold(two, "paystate audit"):
            pytest.fail("two processes hold one database")
        assert held.value.holder is not None
        assert held.value.holder.pid == os.getpid()
        assert find_server(two, held.value.holder) is None
    with hold(two, "paystate audit"):
        pass


async def test_an_unmigrated_postgresql_is_refused_with_the_command_to_run(env, postgres_cluster) -> None:
    url = postgres_cluster.empty()
    try:
        for role in ("serve", "web", "worker"):
            postgres = env | {"PAYSTATE_DATABASE_URL": url, "PAYSTATE_SECRET_KEY": KEY}
            refused = await paystate(role, env=postgres)
            assert refused.code == 1
            assert "Run: paystate migrate" in refused.err
    finally:
        postgres_cluster.drop(url)


async def test_on_postgresql_serve_keeps_one_web_and_one_worker(env, log, postgres_cluster) -> None:
    url, port = postgres_cluster.empty(), free_port()
    migrations.migrate(url)
    postgres = env | {"PAYSTATE_DATABASE_URL": url, "PAYSTATE_SECRET_KEY": KEY}
    try:
        with running("serve", "--port", str(port), env=postgres, log=log) as server:
            wait_until(lambda: answers(port))
            wait_until(lambda: len(children(server.process.pid)) == 2)
            key = (await paystate("keys", "create", "--merchant", "Tea", "--json", env=postgres)).document[
                "key"
            ]
            assert get(port, "/api/payments", key)[0] == 200
            before = children(server.process.pid)
            os.kill(before[0], signal.SIGKILL)
            wait_until(lambda: len(set(children(server.process.pid)) - {before[0]}) == 2 and answers(port))
            assert server.stop() == 0
        assert [pid for pid in before if alive(pid)] == []
    finally:
        postgres_cluster.drop(url)


def answers(port: int) -> bool:
    try:
        return get(port, "/api/openapi.json")[0] == 200
    except OSError:
        return False


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
