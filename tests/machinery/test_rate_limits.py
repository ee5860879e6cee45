"""Inbound limits: exactly so many a window, bounded memory, and the address that counts."""

import ipaddress
from timeit import repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paystate.machinery.rate_limits import Limiter, address_key, client_address

POLLING = (300, 900)


def test_request_301_in_a_window_is_refused_until_the_window_ends() -> None:
    limiter = Limiter("polling", *POLLING)
    hits = [limiter.hit("192.0.2.1", 1000 + n / 10) for n in range(301)]
    assert [hit.allowed for hit in hits] == [True] * 300 + [False]
    assert (hits[0].remaining, hits[299].remaining, hits[300].remaining) == (299, 0, 0)
    assert (hits[300].retry_after_seconds, hits[300].reset_seconds) == (870, 870)
    assert limiter.hit("192.0.2.2", 1030).allowed
    assert not limiter.hit("192.0.2.1", 1899.9).allowed
    assert limiter.hit("192.0.2.1", 1900).allowed


def test_a_client_that_keeps_the_pace_is_never_refused() -> None:
    limiter = Limiter("polling", *POLLING)
    assert all(limiter.hit("a", 5 + 3.0 * n).allowed for n in range(5_000))


@given(st.lists(st.floats(0, 40), min_size=1, max_size=200), st.integers(1, 20), st.integers(1, 20))
def test_a_window_admits_exactly_its_limit(gaps: list[float], limit: int, window: int) -> None:
    limiter, now, opened, admitted = Limiter("x", limit, window), 0.0, None, 0
    for gap in gaps:
        now += gap
        if opened is None or now - opened >= window:
            opened, admitted = now, 0
        hit = limiter.hit("k", now)
        assert hit.allowed == (admitted < limit)
        admitted += hit.allowed
        assert hit.remaining == limit - admitted
        assert 0 < hit.reset_seconds <= window
        assert (hit.retry_after_seconds == 0) == hit.allowed


def test_retrying_when_told_to_is_admitted() -> None:
    limiter = Limiter("x", 1, 7)
    limiter.hit("k", 0.3)
    refused = limiter.hit("k", 2.9)
    assert limiter.hit("k", 2.9 + refused.retry_after_seconds).allowed


def test_headers_are_those_of_the_draft() -> None:
    limiter = Limiter("polling", *POLLING)
    assert limiter.headers(limiter.hit("k", 0)) == [
        (b"ratelimit", b'"polling";r=299;t=900'),
        (b"ratelimit-policy", b'"polling";q=300;w=900'),
    ]
    single = Limiter("one", 1, 10)
    single.hit("k", 0)
    assert (b"retry-after", b"8") in single.headers(single.hit("k", 2.5))


def test_memory_is_bounded_and_the_oldest_window_goes_first() -> None:
    limiter = Limiter("x", 1, 100, max_keys=3)
    for n, key in enumerate("abc"):
        limiter.hit(key, n)
    limiter.hit("a", 101)
    limiter.hit("d", 102)
    assert len(limiter) == 3
    assert not limiter.hit("a", 103).allowed
    assert not limiter.hit("c", 101.5).allowed
    assert limiter.hit("b", 103).allowed


def test_a_hit_costs_next_to_nothing() -> None:
    """Two microseconds are the aim; the gate is wider, because the machine is shared."""
    limiter = Limiter("x", 10**9, 900)
    best = min(repeat(lambda: limiter.hit("192.0.2.1", 5.0), number=20_000, repeat=5)) / 20_000
    assert best < 10e-6


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::9", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("not:an:address", "not:an:address"),
    ],
)
def test_ipv6_counts_by_its_64(address: str, key: str) -> None:
    assert address_key(address) == key


PROXIES = tuple(ipaddress.ip_network(n) for n in ("127.0.0.1/32", "10.0.0.0/8", "fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "headers", "client"),
    [
        ("203.0.113.9", [b"6.6.6.6"], "203.0.113.9"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", [b"6.6.6.6, 198.51.100.4"], "198.51.100.4"),
        ("127.0.0.1", [b"6.6.6.6", b"198.51.100.4, 10.1.1.1"], "198.51.100.4"),
        ("127.0.0.1", [b"10.0.0.5"], "10.0.0.5"),
        ("127.0.0.1", [b"6.6.6.6, nonsense, 10.0.0.5"], "10.0.0.5"),
        ("127.0.0.1", [b""], "127.0.0.1"),
        ("127.0.0.1", [b"6.6.6.6,"], "127.0.0.1"),
        ("127.0.0.1", [b"198.51.100.4:5123"], "198.51.100.4"),
        ("fd00::1", [b"[2001:db8::7]:443"], "2001:db8::7"),
        ("::ffff:127.0.0.1", [b"198.51.100.4"], "198.51.100.4"),
        ("127.0.0.1", [b"\xff\xfe"], "127.0.0.1"),
        ("127.0.0.1", [b"6.6.6.6" + b",10.0.0.5" * 40], "10.0.0.5"),
    ],
)
def test_the_client_is_the_last_address_no_trusted_proxy_vouches_for(
    peer: str, headers: list[bytes], client: str
) -> None:
    assert client_address(peer, headers, PROXIES) == client


def test_without_trusted_proxies_the_header_says_nothing() -> None:
    assert client_address("127.0.0.1", [b"6.6.6.6"], ()) == "127.0.0.1"


def test_rotating_the_header_from_an_untrusted_peer_is_still_refused() -> None:
    limiter = Limiter("login", 5, 60)
    allowed = [
        limiter.hit(address_key(client_address("203.0.113.9", [b"6.6.6.%d" % n], PROXIES)), 1.0).allowed
        for n in range(9)
    ]
    assert allowed == [True] * 5 + [False] * 4
