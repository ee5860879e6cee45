"""The way out: where it may not go, how long and how much it takes, and what it says about a request without answer."""

import asyncio
import gzip
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp.abc import AbstractResolver
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from paystate.kit.clock import monotonic
from paystate.machinery import http as module
from paystate.machinery.http import Http, NoAnswer, is_public

LOOPBACK = ("127.0.0.0/8",)


class Peer:
    """A TCP server on 127.0.0.1 that counts connections, keeps what it was sent, and answers as told."""

    def __init__(self) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(behaviour: Behaviour | bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    peer = Peer()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (
                        int(line[15:])
                        for line in head.split(b"\r\n")
                        if line.lower().startswith(b"content-length:")
                    ),
                    0,
                )
                peer.requests.append(head + await reader.readexactly(length))
                if isinstance(behaviour, bytes):
                    writer.write(behaviour)
                    await writer.drain()
                else:
                    await behaviour(writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()


@pytest.fixture
async def client():
    http = Http(allow_private=LOOPBACK)
    yield http
    await http.close()


@pytest.fixture
async def strict():
    """As in production: no private address is allowed."""
    http = Http()
    yield http
    await http.close()


def ok(body: bytes = b"{}", *headers: str) -> bytes:
    head = "\r\n".join(["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers])
    return head.encode() + b"\r\n\r\n" + body


async def fails(http: Http, url: str, method: str = "GET", **options) -> NoAnswer:
    options.setdefault("deadline_seconds", 5)
    with pytest.raises(NoAnswer) as failure:
        await http.request(method, url, **options)
    return failure.value


async def test_an_answer_comes_back_whole(client):
    async with listening(
        ok(b'{"a":1}', "Content-Type: application/json", "X-A: 1", "X-A: 2", "Set-Cookie: s=1")
    ) as peer:
        answer = await client.request(
            "POST",
            peer.url + "/v1/x?a=%2B1",
            headers={"Authorization": "Bearer x"},
            body=b"hello",
            deadline_seconds=5,
        )
    assert (answer.status, answer.body) == (200, b'{"a":1}')
    assert answer.headers == {"content-length": "7", "content-type": "application/json", "x-a": "1, 2"}
    assert answer.duration_seconds > 0
    (sent,) = peer.requests
    assert sent.startswith(b"POST /v1/x?a=%2B1 HTTP/1.1\r\n")
    assert sent.endswith(b"\r\n\r\nhello")
    assert b"Accept-Encoding: identity" in sent
    assert b"User-Agent: Paystate" in sent
    assert b"Content-Type" not in sent


async def test_neither_headers_nor_body_show_in_the_representation(client):
    async with listening(ok(b"TOPSECRET", "X-Token: TOPSECRET")) as peer:
        answer = await client.request("GET", peer.url, deadline_seconds=5)
    assert "TOPSECRET" not in repr(answer)


async def test_no_cookie_is_ever_sent_back(client):
    async with listening(ok(b"{}", "Set-Cookie: sid=abc; Path=/")) as peer:
        for _ in range(2):
            await client.request("GET", peer.url, deadline_seconds=5)
    assert peer.connections == 1
    assert b"ookie" not in peer.requests[1]


async def test_a_redirect_is_an_answer_and_not_followed(client):
    async with listening(ok(b"")) as target:
        moved = f"HTTP/1.1 302 Found\r\nLocation: {target.url}/\r\nContent-Length: 0\r\n\r\n".encode()
        async with listening(moved) as peer:
            answer = await client.request("GET", peer.url, deadline_seconds=5)
    assert answer.status == 302
    assert answer.headers["location"] == f"{target.url}/"
    assert target.connections == 0


@pytest.mark.parametrize("status", [400, 404, 500, 599])
async def test_an_error_status_is_an_answer(client, status):
    async with listening(f"HTTP/1.1 {status} X\r\nContent-Length: 1\r\n\r\n!".encode()) as peer:
        answer = await client.request("GET", peer.url, deadline_seconds=5)
    assert (answer.status, answer.body) == (status, b"!")


async def test_the_proxies_of_the_environment_are_ignored(client, monkeypatch):
    async with listening(ok(b"proxy")) as proxy, listening(ok(b"direct")) as peer:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        answer = await client.request("GET", peer.url, deadline_seconds=5)
    assert answer.body == b"direct"
    assert proxy.connections == 0


# --- limits -------------------------------------------------------------------------------------------------


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(1000):
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.1)


async def test_a_drip_is_beaten_by_the_total_deadline(client):
    async with listening(drip) as peer:
        started = monotonic()
        failure = await fails(client, peer.url, deadline_seconds=0.5)
    assert monotonic() - started < 2
    assert (failure.reason, failure.sent) == ("timeout", True)


async def test_silence_is_beaten_too(client):
    async def silent(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with listening(silent) as peer:
        failure = await fails(client, peer.url, "POST", deadline_seconds=0.2)
    assert (failure.reason, failure.sent) == ("timeout", True)


async def test_a_huge_body_stops_at_the_cap(client):
    written = 0

    async def huge(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 52428800\r\n\r\n")
        for _ in range(800):
            writer.write(b"x" * 65_536)
            await writer.drain()
            written += 65_536

    async with listening(huge) as peer:
        failure = await fails(client, peer.url)
    assert (failure.reason, failure.sent) == ("too_large", True)
    assert written < 20 * 1024 * 1024


async def test_an_endless_chunked_body_stops_at_the_cap(client):
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
            await writer.drain()

    async with listening(endless) as peer:
        failure = await fails(client, peer.url, max_bytes=100_000)
    assert failure.reason == "too_large"


@pytest.mark.parametrize(("size", "fits"), [(1000, True), (1001, False)])
async def test_the_cap_is_exact(client, size, fits):
    async with listening(ok(b"x" * size)) as peer:
        if fits:
            assert (
                len((await client.request("GET", peer.url, deadline_seconds=5, max_bytes=1000)).body) == size
            )
        else:
            assert (await fails(client, peer.url, max_bytes=1000)).reason == "too_large"


async def test_a_gzip_bomb_is_refused_and_never_inflated(client):
    bomb = gzip.compress(b"\0" * 20_000_000)
    async with listening(ok(bomb, "Content-Encoding: gzip")) as peer:
        failure = await fails(client, peer.url)
    assert (failure.reason, failure.sent) == ("encoded", True)


async def test_identity_is_no_encoding(client):
    async with listening(ok(b"x", "Content-Encoding: identity")) as peer:
        assert (await client.request("GET", peer.url, deadline_seconds=5)).body == b"x"


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX Y\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_said_to_be_none(client, answer):
    async with listening(answer) as peer:
        failure = await fails(client, peer.url)
    assert (failure.reason, failure.sent) == ("protocol", True)


# --- was it sent? -------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_a_refused_connection_sent_nothing(client):
    failure = await fails(client, f"http://127.0.0.1:{free_port()}/", "POST", body=b"x")
    assert (failure.reason, failure.sent) == ("connection_refused", False)


async def test_an_unknown_name_sent_nothing(client):
    failure = await fails(client, "https://no-such-host.invalid/")
    assert (failure.reason, failure.sent) == ("dns", False)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
async def test_a_connection_closed_after_the_request_may_have_been_heard_and_is_not_tried_again(
    client, method
):
    async def hang_up(writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with listening(hang_up) as peer:
        failure = await fails(client, peer.url, method, body=b"x")
    assert (failure.reason, failure.sent) == ("disconnected", True)
    assert len(peer.requests) == 1


async def test_a_connection_closed_in_the_middle_of_the_answer(client):
    async def cut(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        writer.close()

    async with listening(cut) as peer:
        failure = await fails(client, peer.url)
    assert (failure.reason, failure.sent) == ("disconnected", True)


async def test_waiting_for_a_free_connection_sent_nothing():
    http = Http(allow_private=LOOPBACK, pools={"narrow": 1})
    hold = asyncio.Event()

    async def held(writer: asyncio.StreamWriter) -> None:
        await hold.wait()
        writer.write(ok())

    async with listening(held) as peer:
        first = asyncio.create_task(http.request("GET", peer.url, deadline_seconds=10, pool="narrow"))
        await until(lambda: len(peer.requests) == 1)
        failure = await fails(http, peer.url, deadline_seconds=0.1, pool="narrow")
        other = asyncio.create_task(http.request("GET", peer.url, deadline_seconds=10, pool="wide"))
        await until(lambda: len(peer.requests) == 2)
        hold.set()
        assert [(await task).status for task in (first, other)] == [200, 200]
    assert (failure.reason, failure.sent) == ("timeout", False)
    await http.close()


async def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def test_cancelling_the_caller_is_no_answer_of_ours(client):
    async def silent(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with listening(silent) as peer:
        task = asyncio.create_task(client.request("GET", peer.url, deadline_seconds=30))
        await until(lambda: len(peer.requests) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_closing_ends_what_is_under_way_and_refuses_what_comes():
    http = Http(allow_private=LOOPBACK)

    async def silent(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with listening(silent) as peer:
        task = asyncio.create_task(http.request("GET", peer.url, deadline_seconds=30))
        await until(lambda: len(peer.requests) == 1)
        await http.close()
        with pytest.raises(NoAnswer) as failure:
            await task
        assert (failure.value.reason, failure.value.sent) == ("closed", True)
        late = await fails(http, peer.url)
        assert (late.reason, late.sent) == ("closed", False)


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "/x", "//127.0.0.1/", "ftp://127.0.0.1/", "file:///etc/passwd", "gopher://127.0.0.1:70/x",
        "unix:///run/x.sock", "http://", "http:///x", "http://a:b@127.0.0.1/", "http://a@127.0.0.1/",
        "http://127.0.0.1:99999/", "javascript:x", "http://[::1/", "ws://127.0.0.1/",
    ],
)  # fmt: skip
async def test_what_is_no_plain_http_url_is_never_sent(client, url):
    failure = await fails(client, url)
    assert (failure.reason, failure.sent) == ("invalid_request", False)


@pytest.mark.parametrize(
    "header", [{"X": "a\r\nY: b"}, {"X": "a\0"}, {"X\r\nY": "a"}, {"X": "a\n"}, {"é": "a"}]
)
async def test_a_header_cannot_smuggle_another(client, header):
    async with listening(ok()) as peer:
        failure = await fails(client, peer.url, headers=header)
    assert (failure.reason, failure.sent) == ("invalid_request", False)
    assert peer.connections == 0


async def test_the_failure_names_neither_url_nor_answer(client):
    async with listening(b"TOPSECRET garbage\r\n\r\n") as peer:
        failure = await fails(client, peer.url + "/?key=TOPSECRET", headers={"Authorization": "TOPSECRET"})
    assert "TOPSECRET" not in f"{failure!r} {failure} {failure.help}"
    assert failure.__cause__ is None
    assert failure.__suppress_context__


async def test_the_guard_is_asked_before_each_request(client, monkeypatch):
    def inside_a_transaction() -> None:
        raise RuntimeError("a transaction is open")

    async with listening(ok()) as peer:
        monkeypatch.setattr(module, "guard", inside_a_transaction)
        with pytest.raises(RuntimeError, match="transaction is open"):
            await client.request("GET", peer.url, deadline_seconds=5)
    assert peer.connections == 0


async def test_pools_are_kinds_of_traffic_and_few(client):
    async with listening(ok()) as peer:
        requests = (
            client.request("GET", peer.url, deadline_seconds=5, pool=f"pool {number}")
            for number in range(100)
        )
        answers = await asyncio.gather(*requests, return_exceptions=True)
    assert "pools" in str(answers[-1])
    assert isinstance(answers[-1], ValueError)


async def test_a_hundred_in_flight_share_one_client(client):
    together = asyncio.Event()
    waiting = 0

    async def all_at_once(writer: asyncio.StreamWriter) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 100:
            together.set()
        await together.wait()
        writer.write(ok())

    async with listening(all_at_once) as peer:
        answers = await asyncio.gather(
            *(client.request("GET", peer.url, deadline_seconds=20) for _ in range(100))
        )
    assert {answer.status for answer in answers} == {200}
    assert peer.connections == 100


# --- where to -----------------------------------------------------------------------------------------------

SSRF = [
    "http://127.0.0.1:{port}/",
    "https://127.0.0.1:{port}/",
    "http://localhost:{port}/",
    "https://localhost:{port}/",
    "http://127.1:{port}/",
    "http://127.0.1:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0x7f.1:{port}/",
    "http://0x7f.0x0.0x0.0x1:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://017700000001:{port}/",
    "http://0177.0.0.0x1:{port}/",
    "http://127.0.0.1.:{port}/",
    "http://①②⑦.⓪.⓪.①:{port}/",
    "http://①②⑦.0.0.1:{port}/",
    "http://１２７.０.０.１:{port}/",
    "http://127。0。0。1:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://[::1]:{port}/",
    "http://[::]:{port}/",
    "http://[0:0:0:0:0:0:0:1]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "https://[::ffff:127.0.0.1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[64:ff9b::7f00:1]:{port}/",
    "https://[64:ff9b::127.0.0.1]/",
    "http://[64:ff9b:1::7f00:1]:{port}/",
    "http://[2002:7f00:1::]:{port}/",
    "https://[2002:7f00:1::1]/",
    "http://127.0.0.1%2f@example.com:{port}/",
    "http://example.com@127.0.0.1:{port}/",
    "http://169.254.169.254/latest/meta-data/",
    "https://169.254.169.254/latest/meta-data/",
    "https://10.0.0.1/",
    "https://192.168.0.1/",
    "https://172.16.0.1/",
    "https://100.100.100.200/",
    "https://168.63.129.16/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://[fe80::1]/",
    "https://[fd00:ec2::254]/",
    "https://[ff02::1]/",
    "https://1.1.1.1:22/",
    "https://1.1.1.1:5432/",
    "https://[2606:4700:4700::1111]:6379/",
    "http://1.1.1.1/",
    "http://1.1.1.1:80/",
]


@pytest.mark.parametrize("url", SSRF)
async def test_no_spelling_of_a_private_address_is_connected_to(strict, url):
    async with listening(ok()) as peer:
        failure = await fails(strict, url.format(port=peer.port))
    assert failure.reason in {"address_blocked", "invalid_request", "dns"}
    assert failure.sent is False
    assert peer.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
async def test_the_same_is_reached_once_it_is_allowed(host):
    http = Http(allow_private=["127.0.0.1/32"])
    async with listening(ok()) as peer:
        answer = await http.request("GET", f"http://{host}:{peer.port}/", deadline_seconds=5)
    assert answer.status == 200
    await http.close()


class Lying(AbstractResolver):
    """A name server that changes its answer with every question."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(self, host, port=0, family=socket.AF_UNSPEC):
        self.asked += 1
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": family_of(address),
                "proto": 0,
                "flags": 0,
            }
            for address in self.answers[min(self.asked, len(self.answers)) - 1]
        ]

    async def close(self) -> None:
        pass


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "10.1.2.3"])
async def test_a_name_that_points_inside_is_blocked(address):
    http = Http(lookup=Lying([address]))
    async with listening(ok()) as peer:
        failure = await fails(http, f"https://innocent.example:{peer.port}/")
        assert (failure.reason, failure.sent) == ("address_blocked", False)
        assert peer.connections == 0
    await http.close()


async def test_only_the_allowed_addresses_of_a_name_are_tried():
    http = Http(allow_private=LOOPBACK, lookup=Lying(["10.255.255.1", "127.0.0.1", "::1"]))
    async with listening(ok()) as peer:
        answer = await http.request("GET", f"http://mixed.example:{peer.port}/", deadline_seconds=5)
    assert answer.status == 200
    await http.close()


async def test_the_socket_is_judged_even_where_the_resolver_was_fooled(monkeypatch):
    http = Http(lookup=Lying(["127.0.0.1"]))

    async def believe_all(self, host, port=0, family=socket.AF_UNSPEC):
        return await self._lookup.resolve(host, port, family)

    monkeypatch.setattr(module._Resolver, "resolve", believe_all)
    async with listening(ok()) as peer:
        failure = await fails(http, f"https://innocent.example:{peer.port}/")
        assert (failure.reason, failure.sent) == ("address_blocked", False)
        assert peer.connections == 0
    await http.close()


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("1.1.1.1", True), ("8.8.8.8", True), ("198.51.100.1", False), ("192.0.2.1", False), ("192.0.0.9", False),
        ("192.88.99.1", False), ("0.0.0.0", False), ("100.64.0.1", False), ("198.18.0.1", False), ("240.0.0.1", False),
        ("224.0.0.1", False), ("239.255.255.255", False), ("168.63.129.16", False), ("127.0.0.1", False),
        ("2606:4700:4700::1111", True), ("::ffff:8.8.8.8", True), ("::ffff:10.0.0.1", False), ("::", False),
        ("64:ff9b::808:808", True), ("64:ff9b::a00:1", False), ("64:ff9b:1::808:808", False), ("2002:808:808::1", True),
        ("2002:a00:1::1", False), ("2001::1", False), ("2001:db8::1", False), ("fc00::1", False), ("fec0::1", False),
        ("fe80::1", False), ("ff0e::1", False), ("100::1", False), ("::8.8.8.8", False), ("3fff::1", False),
        ("2606:4700::5efe:10.0.0.1", False), ("2606:4700::200:5efe:127.0.0.1", False), ("4000::1", False),
    ],
)  # fmt: skip
def test_which_addresses_are_public(text, public):
    assert is_public(ipaddress.ip_address(text)) is public


@pytest.mark.parametrize(
    ("port", "allowed"), [(443, True), (80, True), (22, False), (8443, False), (0, False)]
)
def test_public_addresses_only_on_the_web_ports(port, allowed):
    assert module._Policy("https", ()).allows("1.1.1.1", port) is allowed
    assert module._Policy("http", ()).allows("1.1.1.1", port) is False


# --- TLS ----------------------------------------------------------------------------------------------------


@pytest.fixture
def own_certificate(tmp_path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "c.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "k.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "c.pem", tmp_path / "k.pem")
    return context


async def test_a_certificate_nobody_vouches_for_is_refused_before_anything_is_sent(client, own_certificate):
    async with listening(ok(), tls=own_certificate) as peer:
        failure = await fails(client, f"https://127.0.0.1:{peer.port}/", "POST", body=b"secret")
    assert (failure.reason, failure.sent) == ("tls", False)
    assert peer.requests == []


async def test_a_known_certificate_is_accepted_and_old_tls_is_not(own_certificate, tmp_path):
    http = Http(allow_private=LOOPBACK)
    http._tls.load_verify_locations(tmp_path / "c.pem")
    assert http._tls.minimum_version == ssl.TLSVersion.TLSv1_2
    async with listening(ok(), tls=own_certificate) as peer:
        answer = await http.request("GET", f"https://127.0.0.1:{peer.port}/", deadline_seconds=5)
    assert answer.status == 200
    await http.close()


async def test_plain_text_where_tls_was_expected_is_refused(client):
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    failure = await fails(client, f"https://127.0.0.1:{port}/")
    assert (failure.reason, failure.sent) == ("tls", False)
    server.close()
