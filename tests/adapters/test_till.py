"""What every simulator of a checkout provider stands on: forms, tokens, pages, lists, and what the dialect decides."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from paystate.kit.clock import MINUTE, Clock, FrozenClock, Instant, SystemClock
from paystate.simulators.bodies import MAX_DEPTH, read_form, read_json
from paystate.simulators.calls import MAX_BODY_BYTES, Call, Keys, Operation
from paystate.simulators.control import Control, control_is_local
from paystate.simulators.fault_answers import with_unknown_status
from paystate.simulators.record_file import RecordFile
from paystate.simulators.shelf import Shelf, Window
from paystate.simulators.stage import Answer, Stage
from paystate.simulators.till import (
    OPERATIONS,
    Account,
    Card,
    Checkout,
    Dialect,
    Happening,
    Landing,
    Message,
    Status,
    Till,
)

SHOP = "https://shop.test"


class Acme(Dialect):
    """A provider of the awkward kind: tokens, plain text, forms that post themselves, webhooks for payments only."""

    brand = "Acme & Sons"
    accounts = (Account(id="acme_1", live=False, webhook_secret="s", keys=("key_1",)),)
    operations = (*OPERATIONS, "token")
    page_path = "/acme/pay"
    cards: Mapping[str, Card] = {
        "4000000000000002": Card("decline", "do_not_honour"),
        "4000000000000010": Card("process"),
    }

    def messages(self, happening: Happening) -> Iterable[Message]:
        if happening.name != "checkout.paid":
            return []
        return [
            Message(
                "PAID", f"ref={happening.checkout.reference}&n={n}".encode(), f"{happening.checkout.id}{n}"
            )
            for n in (1, 2)
        ]

    def sign(self, secret: str, body: bytes, event_id: str) -> dict[str, str]:
        return {"Content-Type": "application/x-www-form-urlencoded", "X-Secret": secret, "X-Event": event_id}

    def landing(self, checkout: Checkout, act: str) -> Landing | None:
        if act == "decline":
            return Landing(f"{SHOP}/declined")
        plain = super().landing(checkout, act)
        return plain and Landing(plain.url, {"Reference": checkout.reference, "Say": '"><b>'})

    def headers(self) -> dict[str, str]:
        return {"X-Acme": "1"}


class Place:
    """Acme, running, and its till at hand."""

    def __init__(self, till: Till, base: str, http: aiohttp.ClientSession) -> None:
        self.till, self.base, self.http = till, base, http

    async def call(self, method: str, path: str, key: str = "key_1", **more: Any) -> tuple[int, str, Any]:
        auth = {"Authorization": f"Bearer {key}"} | more.pop("headers", {})
        url = self.base + path
        async with self.http.request(method, url, headers=auth, allow_redirects=False, **more) as answer:
            return answer.status, await answer.text(), answer.headers

    def open(self, reference: str = "r1", **changed: Any) -> Checkout:
        now = self.till.stage.now()
        given: dict[str, Any] = {
            "id": self.till.dialect.new_id("checkout", Acme.accounts[0], now),
            "owner": "acme_1",
            "account": "acme_1",
            "live": False,
            "reference": reference,
            "amount": 1_000,
            "currency": "EUR",
            "description": "Two <tickets>",
            "status": Status.OPEN,
            "return_url": f"{SHOP}/return",
            "cancel_url": f"{SHOP}/cancel",
            "webhook_url": None,
            "created_at": now,
            "updated_at": now,
            "expires_at": None,
        }
        return self.till.acts.opened(Checkout(**(given | changed)))

    async def act(self, checkout: Checkout, act: str, **fields: str) -> tuple[int, str, Any]:
        return await self.call("POST", f"/acme/pay/{checkout.id}/act", data={"act": act} | fields)

    def status(self, checkout: Checkout) -> Status:
        return self.till.own_checkout(Call(None, "acme_1", None), checkout.id).status  # type: ignore[arg-type]


def served(till: Till) -> None:
    def token(call: Call) -> Answer:
        return Answer(200, {"token": till.dialect.lend_token("key_1", 60)})

    def echo(call: Call) -> Answer:
        return Answer(201, b"<got>" + call.raw + b"</got>", content_type="text/xml")

    def made(call: Call) -> Answer:
        return Answer(200, {"number": len(list(till.state.checkouts)), "status": "fine", "body": call.body})

    till.serve("POST", "/token", Operation("token", token, public=True, raw=True))
    till.serve("POST", "/echo", Operation("ask", echo, raw=True))
    till.serve("GET", "/made", Operation("list", made), by_query={"one": Operation("ask", made)})
    till.serve("POST", "/made", Operation("start", made, keys=Keys(header="X-Key", required=False)))


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(SystemClock().now())


@pytest.fixture
async def acme(clock: Clock) -> AsyncIterator[Place]:
    stage = Stage(clock, RecordFile(None))
    till = Till(stage, Acme(stage))
    served(till)
    app = web.Application(middlewares=[control_is_local], client_max_size=MAX_BODY_BYTES)
    app.add_routes([*Control(stage, till).routes(), *till.routes()])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stage.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    await stage.sender.start()
    async with aiohttp.ClientSession() as http:
        yield Place(till, stage.base_url, http)
    await runner.cleanup()
    await stage.stop()


# --- bodies


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"", {}),
        (b"a=1&b=+x%26", {"a": "1", "b": " x&"}),
        (b"a[b][0]=x&a[b][1]=y&a[c]=", {"a": {"b": {"0": "x", "1": "y"}, "c": ""}}),
        (b"e[]=x&e[]=y.z&a[e][]=1", {"e": ["x", "y.z"], "a": {"e": ["1"]}}),
        (b"a=1&a[b]=2", None),
        (b"a=1&a[]=2", None),
        (b"\xff=\xfe", None),
        (b"&".join([b"a=1"] * 1_001), None),
    ],
)
def test_a_form_is_read_with_its_brackets(raw: bytes, body: Any) -> None:
    assert read_form(raw) == body


def test_brackets_do_not_nest_without_end() -> None:
    deep = read_form(b"a" + b"[b]" * 500 + b"=1")
    levels = 0
    while isinstance(deep, dict):
        deep, levels = next(iter(deep.values())), levels + 1
    assert levels <= MAX_DEPTH + 1


@pytest.mark.parametrize(("raw", "body"), [(b"", {}), (b'{"a":1}', {"a": 1}), (b"[]", None), (b"{", None)])
def test_json_is_an_object_or_nothing(raw: bytes, body: Any) -> None:
    assert read_json(raw) == body


def test_an_unknown_status_hits_words_about_things_and_not_about_the_call() -> None:
    body = {"status": "success", "data": {"status": "paid", "rows": [{"status": "x"}], "n": {"status": True}}}
    assert with_unknown_status(body) == {
        "status": "success",
        "data": {"status": "quantum", "rows": [{"status": "quantum"}], "n": {"status": True}},
    }


# --- calls


async def test_other_bodies_and_tokens_that_end(acme: Place, clock: FrozenClock) -> None:
    status, text, headers = await acme.call("POST", "/echo", data=b"<a/>")
    assert (status, text, headers["Content-Type"]) == (201, "<got><a/></got>", "text/xml")
    assert headers["X-Acme"] == "1"
    assert (await acme.call("POST", "/echo", key="nobody"))[0] == 401
    _, text, _ = await acme.call("POST", "/token", key="nobody", data=b"?")
    token = text.split('"')[3]
    assert (await acme.call("GET", "/made", key=token))[0] == 200
    clock.advance(MINUTE)
    assert (await acme.call("GET", "/made", key=token))[0] == 401
    again = acme.till.dialect.lend_token("key_1", 60)
    assert (await acme.call("GET", "/made", key=again))[0] == 200
    assert acme.till.dialect.expire_tokens() == 2
    assert (await acme.call("GET", "/made", key=again))[0] == 401


async def test_a_key_may_be_left_out_and_its_header_has_any_name(acme: Place) -> None:
    body = {"json": {"a": 1}}
    assert (await acme.call("POST", "/made", **body))[0] == 200
    first = await acme.call("POST", "/made", headers={"X-Key": "k"}, **body)
    acme.open()
    again = await acme.call("POST", "/made", headers={"X-Key": "k"}, **body)
    assert (again[1], again[2]["Idempotency-Replayed"]) == (first[1], "true")
    assert (await acme.call("POST", "/made", headers={"X-Key": "k"}, json={"a": 2}))[0] == 409
    assert (await acme.call("POST", "/made", headers={"X-Key": ""}, **body))[0] == 422


async def test_faults_are_aimed_at_the_operation_a_query_chooses(acme: Place) -> None:
    await acme.call("POST", "/_control/faults", json={"operation": "ask", "kind": "error503"})
    assert (await acme.call("GET", "/made"))[0] == 200
    assert (await acme.call("GET", "/made?one=1"))[0] == 503
    answer = await acme.call("POST", "/_control/faults", json={"operation": "token", "kind": "error500"})
    assert answer[0] == 201


# --- pages and messages


async def test_the_page_posts_back_as_the_dialect_says_and_escapes_everything(acme: Place) -> None:
    checkout = acme.open()
    _, page, headers = await acme.call("GET", f"/acme/pay/{checkout.id}")
    assert "Acme &amp; Sons" in page
    assert "Two &lt;tickets&gt;" in page
    assert "4000 0000 0000 0002 is declined (do_not_honour)" in page
    assert "<script" not in page
    assert "script-src" not in headers["Content-Security-Policy"]
    assert (await acme.act(checkout, "decline"))[2]["Location"] == f"{SHOP}/declined"
    status, page, headers = await acme.act(checkout, "pay")
    assert (status, acme.status(checkout)) == (200, Status.PAID)
    assert f'<form method="post" action="{SHOP}/return">' in page
    assert 'name="Say" value="&quot;&gt;&lt;b&gt;"' in page
    assert "<button>" in page
    nonce = page.split('<script nonce="')[1].split('"')[0]
    assert f"'nonce-{nonce}'" in headers["Content-Security-Policy"]
    assert (await acme.call("GET", f"/acme/pay/{checkout.id}"))[1].count('<form method="post"') == 1


@pytest.mark.parametrize(
    ("card", "expiry", "code", "status"),
    [
        ("4111 1111-1111 1111", "12/99", 200, Status.PAID),
        ("4000000000000002", "12/99", 303, Status.OPEN),
        ("4000000000000010", "12/99", 200, Status.PROCESSING),
        ("4111111111111111", "13/99", 422, Status.OPEN),
        ("4111111111111111", "", 422, Status.OPEN),
        ("4111111111111111", "12/2001", 303, Status.OPEN),
        ("four", "12/99", 422, Status.OPEN),
    ],
)
async def test_a_card_is_typed_in_without_script(
    acme: Place, card: str, expiry: str, code: int, status: Status
) -> None:
    checkout = acme.open()
    told = await acme.act(checkout, "pay_by_card", number=card, expiry=expiry)
    assert (told[0], acme.status(checkout)) == (code, status)
    if code == 422:
        assert 'role="alert"' in told[1]
        assert "Pay by card" in told[1]


async def test_paying_late_is_for_what_ended_unpaid(acme: Place) -> None:
    checkout = acme.open()
    assert (await acme.act(checkout, "expire"))[0] == 303
    assert (await acme.act(checkout, "pay"))[0] == 409
    assert "Pay late" in (await acme.call("GET", f"/acme/pay/{checkout.id}"))[1]
    assert (await acme.act(checkout, "pay_late"))[0] == 200
    assert acme.status(checkout) is Status.PAID
    assert (await acme.act(checkout, "pay_late"))[0] == 409


async def test_webhooks_go_where_the_account_says_as_the_dialect_says(acme: Place) -> None:
    received: asyncio.Queue[tuple[Any, str]] = asyncio.Queue()

    async def receive(request: web.Request) -> web.Response:
        received.put_nowait((request.headers.copy(), await request.text()))
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/hook", receive)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    acme.till.acts.pay(acme.open("unheard"))
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    change = {"account": "acme_1", "webhookUrl": url, "webhookSecret": "new", "extra": {"a": "1"}}
    assert (await acme.call("POST", "/_control/accounts", json=change))[0] == 200
    acme.till.acts.decline(acme.open("declined"))
    acme.till.acts.pay(acme.open("heard"))
    got = [await asyncio.wait_for(received.get(), 8) for _ in range(2)]
    assert sorted(body for _, body in got) == ["ref=heard&n=1", "ref=heard&n=2"]
    assert {headers["X-Secret"] for headers, _ in got} == {"new"}
    assert got[0][0]["Content-Type"] == "application/x-www-form-urlencoded"
    events = acme.till.objects()["events"]
    assert [(row["type"], row["happening"], row["url"] is None) for row in events] == [
        ("PAID", "checkout.paid", True),
        ("PAID", "checkout.paid", True),
        ("PAID", "checkout.paid", False),
        ("PAID", "checkout.paid", False),
    ]
    assert acme.till.state.accounts["acme_1"].extra == {"a": "1"}
    change = {"account": "acme_1", "webhookUrl": ""}
    assert '"webhookUrl":null' in (await acme.call("POST", "/_control/accounts", json=change))[1]
    await runner.cleanup()


async def test_in_the_past_everything_is_as_before_the_last_change_and_nothing_changes(acme: Place) -> None:
    till = acme.till
    due = Instant(till.stage.now() + MINUTE)
    checkout = acme.open(expires_at=due)
    paid = till.acts.pay(checkout)
    with till.in_the_past():
        before = till.own_checkout(Call(None, "acme_1", None), checkout.id)  # type: ignore[arg-type]
        assert before.status is Status.OPEN
        assert till.state.newest_transactions("acme_1", Window())[0] == []
        assert [row.status for row in till.state.checkouts.page("acme_1", Window())[0]] == [Status.OPEN]
    assert till.acts.found(checkout.id) == paid


# --- lists


def test_a_shelf_is_read_from_its_newest_too() -> None:
    class Item:
        owner = "me"

        def __init__(self, number: int, at: int) -> None:
            self.id, self.at = f"i{number}", at

    shelf: Shelf[Item] = Shelf()
    for number, at in enumerate((10, 20, 20, 30, 40)):
        shelf.put(Item(number, at))

    def seen(skip: int = 0, **window: Any) -> tuple[list[str], int]:
        rows, total = shelf.newest("me", Window(**window), skip)
        return [row.id for row in rows], total

    assert seen(limit=2) == (["i4", "i3"], 5)
    assert seen(limit=2, cursor="i3") == (["i2", "i1"], 3)
    assert seen(limit=2, cursor="i2") == (["i1", "i0"], 2)
    assert seen(limit=2, cursor="i0") == ([], 0)
    assert seen(skip=4) == (["i0"], 5)
    assert seen(skip=9) == ([], 5)
    assert seen(start=20, end=40) == (["i3", "i2", "i1"], 3)
    assert seen(start=20, end=40, cursor="i0") == ([], 0)
    assert seen(start=20, end=30, cursor="i4") == (["i2", "i1"], 2)
    with pytest.raises(ValueError):
        seen(cursor="none")
