"""Channels of alerts: letters over a real SMTP session on loopback, and Apprise to a real HTTP service."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from tests import a

from paystate.adapters.channels import load_channels
from paystate.domain.alerts import Message, NotSent
from paystate.machinery.settings import SettingsFaults

LETTER = Message("ald_1.0", "[Paystate] Grüße", "Something is stuck.\n. and a line with a dot")


class Mailbox:
    """The least of an SMTP server: takes letters, or answers to a command as it is told."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = answers
        self.said: list[str] = []
        self.letters: list[str] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(line: str) -> None:
            writer.write(line.encode() + b"\r\n")
            await writer.drain()

        await say("220 test ESMTP")
        with contextlib.suppress(ConnectionError):
            while line := (await reader.readline()).decode().strip():
                self.said.append(line)
                verb = line.split(":")[0].split()[0].upper()
                if verb == "DATA" and verb not in self.answers:
                    await say("354 go on")
                    raw = await reader.readuntil(b"\r\n.\r\n")
                    self.letters.append(raw.decode())
                    await say("250 kept")
                elif verb == "EHLO":
                    await say("250-test\r\n250-AUTH PLAIN\r\n250 8BITMIME")
                elif verb == "AUTH":
                    await say(self.answers.get(verb, "235 welcome"))
                elif verb == "QUIT":
                    await say("221 bye")
                    break
                else:
                    await say(self.answers.get(verb, "250 ok"))
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def mailbox(**answers: str) -> AsyncIterator[Mailbox]:
    box = Mailbox(answers)
    sessions: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        sessions.add(task)
        await box.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    async with server:
        yield box
        async with asyncio.timeout(10):
            await asyncio.gather(*sessions)


def channels(tmp_path, **values):
    return load_channels(a.settings(f"sqlite:///{tmp_path}/x.db", tmp_path, **values))


def email(tmp_path, box: Mailbox, user: str = ""):
    values = {"smtp_url": f"smtp://{user}127.0.0.1:{box.port}", "email_from": "pay@shop.test"}
    return channels(tmp_path, alert_emails="ann@shop.test,bob@shop.test", **values)["email"]


async def test_a_letter_arrives_whole(tmp_path) -> None:
    async with mailbox() as box:
        channel = email(tmp_path, box)
        assert channel.addresses() == ("ann@shop.test", "bob@shop.test")
        await channel.send("ann@shop.test", LETTER)
    [letter] = box.letters
    for part in (
        "From: pay@shop.test",
        "To: ann@shop.test",
        "Message-ID: <ald_1.0@shop.test>",
        "Auto-Submitted: auto-generated",
        "=?utf-8?",
        "Something is stuck.",
        "\r\n.. and a line with a dot",
    ):
        assert part in letter
    assert any(line.startswith("MAIL FROM:<pay@shop.test>") for line in box.said)


async def test_credentials_are_those_of_the_url(tmp_path) -> None:
    async with mailbox() as box:
        await email(tmp_path, box, "me:p%40ss@").send("ann@shop.test", LETTER)
    assert "AUTH PLAIN AG1lAHBAc3M=" in box.said  # \0me\0p@ss


@pytest.mark.parametrize(
    ("answers", "why"),
    [({"RCPT": "550 no such"}, "refused|RCPT|550|Recipient"), ({"DATA": "452 full"}, "452")],
)
async def test_what_the_server_refuses_is_not_sent(tmp_path, answers, why) -> None:
    async with mailbox(**answers) as box:
        with pytest.raises(NotSent, match=why):
            await email(tmp_path, box).send("ann@shop.test", LETTER)
    assert box.letters == []


async def test_wrong_credentials_are_named_by_code_only(tmp_path) -> None:
    async with mailbox(AUTH="535 no, p@ss is wrong") as box:
        with pytest.raises(NotSent) as caught:
            await email(tmp_path, box, "me:p%40ss@").send("ann@shop.test", LETTER)
    assert str(caught.value) == "The mail server answered 535."


async def test_nobody_listens_and_addresses_of_yesterday(tmp_path) -> None:
    async with mailbox() as box:
        channel = email(tmp_path, box)
        with pytest.raises(NotSent, match="no longer"):
            await channel.send("carol@shop.test", LETTER)
    with pytest.raises(NotSent, match="could not be used"):
        await channel.send("ann@shop.test", LETTER)


def test_without_a_server_there_are_no_addresses(tmp_path) -> None:
    found = channels(tmp_path, alert_emails="ann@shop.test")
    assert {name: tuple(channel.addresses()) for name, channel in found.items()} == {
        "apprise": (),
        "email": (),
        "log": ("log",),
    }


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # of a plug of Apprise
async def test_apprise_reaches_a_service_and_its_url_is_never_shown(tmp_path) -> None:
    got: list[dict] = []

    async def take(request: web.Request) -> web.Response:
        got.append(await request.json())
        return web.Response(status=200 if len(got) == 1 else 500)

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    try:
        channel = channels(tmp_path, alert_urls=f"json://me:token123@127.0.0.1:{port}/hook")["apprise"]
        [address] = channel.addresses()
        assert address.startswith("json:")
        assert "token123" not in address
        await channel.send(address, LETTER)
        assert (got[0]["title"], got[0]["message"]) == (LETTER.subject, LETTER.text)
        with pytest.raises(NotSent):
            await channel.send(address, LETTER)
        with pytest.raises(NotSent, match="no longer"):
            await channel.send("json:0", LETTER)
    finally:
        await runner.cleanup()


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # of a plug of Apprise
async def test_a_url_apprise_does_not_know_is_said_to_be(tmp_path) -> None:
    channel = channels(tmp_path, alert_urls="nonsense://x")["apprise"]
    [address] = channel.addresses()
    with pytest.raises(NotSent, match="does not know"):
        await channel.send(address, LETTER)


@pytest.mark.parametrize("wrong", [{"smtp_url": "http://x"}, {"smtp_url": "smtp://"}, {"alert_urls": "here"}])
def test_settings_that_cannot_be_are_refused(tmp_path, wrong) -> None:
    with pytest.raises(SettingsFaults):
        a.settings(f"sqlite:///{tmp_path}/x.db", tmp_path, **wrong)
