"""The limits of the HTTP protocol, on real sockets."""

import asyncio

import pytest
import uvicorn

from paystate.entrypoints import http_protocol
from paystate.entrypoints.http_protocol import BoundedProtocol

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"


async def hello(scope, receive, send) -> None:
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}
    )
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def port():
    config = uvicorn.Config(
        hello,
        port=0,
        http=BoundedProtocol,
        lifespan="off",
        log_config=None,
        server_header=False,
        date_header=False,
    )
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    yield server.servers[0].sockets[0].getsockname()[1]
    await server.shutdown()


async def exchange(port: int, *parts: bytes) -> bytes:
    """Everything the server says until it closes, or is silent for a second."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said = b""
    try:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0)
        async with asyncio.timeout(1):
            while piece := await reader.read(65_536):
                said += piece
    except TimeoutError:
        said += b" (open)"
    except ConnectionResetError:
        said += b" (reset)"
    finally:
        writer.close()
    return said


async def test_requests_within_the_limits_pass_and_keep_their_connection(port) -> None:
    full = GET + b"X-A: " + b"a" * 15_000 + b"\r\n\r\n"
    said = await exchange(port, full, GET, b"\r\n")
    assert said.count(b"HTTP/1.1 200") == 2
    assert said.endswith(b"(open)")
    body = b"b" * 100_000
    posted = await exchange(port, POST + b"Content-Length: 100000\r\n\r\n" + body)
    assert posted.count(b"b") == 100_000


@pytest.mark.parametrize("size", [17_000, 65_536, 2_000_000])
async def test_a_head_that_is_too_large_is_refused_and_the_connection_closed(port, size) -> None:
    said = await exchange(port, GET + b"X-A: " + b"a" * size + b"\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 431") or said == b" (reset)"
    assert b"200" not in said
    assert not said.endswith(b"(open)")


async def test_a_head_that_never_ends_is_refused(port) -> None:
    said = await exchange(port, GET, *(b"X-%d: %s\r\n" % (n, b"a" * 1_000) for n in range(20)))
    assert said.startswith(b"HTTP/1.1 431")
    assert not said.endswith(b"(open)")


async def test_too_many_fields_are_refused_also_on_the_second_request(port) -> None:
    many = b"".join(b"X-%d: a\r\n" % n for n in range(200))
    assert (await exchange(port, GET + many + b"\r\n")).startswith(b"HTTP/1.1 431")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET + b"\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    writer.write(GET + many + b"\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 431")
    writer.close()


async def test_a_slow_head_is_refused_and_a_slow_body_is_not(port, monkeypatch) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.2)
    assert (await exchange(port, b"GET / HT")).startswith(b"HTTP/1.1 408")
    assert (await exchange(port)).startswith(b"HTTP/1.1 408")
    assert await exchange(port, POST + b"Content-Length: 5\r\n\r\n12") == b" (open)"


async def test_one_connection_too_many_is_turned_away(port, monkeypatch) -> None:
    monkeypatch.setattr(http_protocol, "MAX_CONNECTIONS", 1)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET + b"\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    assert b"200" not in await exchange(port, GET + b"\r\n")
    writer.close()


@pytest.mark.parametrize(
    "ambiguous",
    [
        POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: +3\r\n\r\nabc",
        POST + b"Content-Length: 3\r\n\tX: 1\r\n\r\nabc",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
async def test_what_two_servers_could_read_differently_is_refused(port, ambiguous) -> None:
    said = await exchange(port, ambiguous)
    assert said.startswith(b"HTTP/1.1 400")
    assert not said.endswith(b"(open)")
