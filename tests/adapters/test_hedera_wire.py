"""Hedera on the wire: the instructions, every kind of receipt a mirror node can show, and what is no answer."""

import hashlib
from collections.abc import AsyncIterator

import msgspec
import pytest
from aiohttp import web
from tests.adapters.hedera_mirror import (
    CREATED,
    NEXT,
    OURS,
    PAYER,
    REFERENCE,
    USDC,
    Mirror,
    account,
    entry,
    given_back,
    hbar,
    moved,
    order,
    page,
    sent,
    subject,
)

from paystate.adapters.providers import hedera as module
from paystate.adapters.providers.hedera import Hedera, make
from paystate.domain.payments import Outcome
from paystate.domain.payments.port import (
    Closes,
    CredentialsRefused,
    Lists,
    NoAnswer,
    NotThere,
    Offer,
    Refunds,
    SendsWebhooks,
)
from paystate.kit.clock import SECOND, Instant
from paystate.kit.errors import Refused
from paystate.kit.money import Money
from paystate.machinery.http import Http

FIRST = "1760000010.123456789"
SINCE = "gt:1759999700.000000000"


@pytest.fixture
async def mirror() -> AsyncIterator[Mirror]:
    served = Mirror()
    app = web.Application()
    app.add_routes(served.routes())
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    served.accounts[OURS] = {"account": OURS, "deleted": False, "max_automatic_token_associations": 0}
    served.tokens[USDC] = {"token_id": USDC, "symbol": "USDC", "decimals": "6", "name": "USD Coin"}
    yield served
    await runner.cleanup()


@pytest.fixture
async def hedera() -> AsyncIterator[Hedera]:
    http = Http(allow_private=("127.0.0.0/8",))
    yield make(http)
    await http.close()


def test_the_start_is_exactly_these_bytes(hedera):
    assert hedera.prepare(account(), order(10_100_000, "USDC")).decode() == (
        f'{{"account":"{OURS}","amount":"10.100000","asset":"USDC","memo":"{REFERENCE}","network":"mainnet",'
        f'"token":"{USDC}","text":"Send 10.100000 USDC to {OURS} with the memo {REFERENCE} on Hedera mainnet."}}'
    )
    assert hedera.prepare(account(network="testnet"), order(1, "HBAR")).decode() == (
        f'{{"account":"{OURS}","amount":"0.00000001","asset":"HBAR","memo":"{REFERENCE}","network":"testnet",'
        f'"text":"Send 0.00000001 HBAR to {OURS} with the memo {REFERENCE} on Hedera testnet."}}'
    )


async def test_the_start_makes_no_call_and_shows_the_stored_instructions(hedera):
    request = hedera.prepare(account(), order(5, "HBAR"))
    started = await hedera.start(account(), request, idempotency_key="key")
    assert started.checkout_id is None
    assert started.offer == Offer("instructions", "", msgspec.json.decode(request))


@pytest.mark.parametrize("currency", ["JPY", "EUR", "KWD"])
def test_only_hbar_and_usdc_are_taken(hedera, currency):
    with pytest.raises(Refused) as caught:
        hedera.check(Money(1_000, currency))
    assert caught.value.code == "currency_not_supported_by_provider"


def test_an_asset_that_the_connection_does_not_take_is_refused(hedera):
    hedera.check(Money(1, "USDC"))
    with pytest.raises(Refused) as caught:
        hedera.prepare(account(assets="HBAR"), order(1, "USDC"))
    assert caught.value.code == "currency_not_supported_by_provider"
    with pytest.raises(Refused) as caught:
        hedera.check(Money(0, "HBAR"))
    assert caught.value.code == "amount_below_minimum"


async def test_usdc_with_our_memo_is_the_proof(hedera, mirror):
    mirror.pages[""] = page([sent()])
    verdict = await hedera.ask(account(mirror), subject())
    assert (verdict.outcome, verdict.reference, verdict.account, verdict.live) == (
        Outcome.SUCCEEDED,
        REFERENCE,
        OURS,
        True,
    )
    assert (verdict.amount, verdict.currency, verdict.transaction_id) == (10_100_000, "USDC", FIRST)
    assert verdict.provider_at == Instant(1_760_000_010 * SECOND + 123_456)
    assert verdict.raw_digest == hashlib.sha256(page([sent()])).hexdigest()
    assert (verdict.further, verdict.amount_refunded, verdict.checkout_id) == ((), 0, None)
    assert mirror.asked == [
        f"/api/v1/transactions?account.id={OURS}&result=success&order=asc&limit=100&timestamp={SINCE}"
    ]


async def test_only_mainnet_is_live(hedera, mirror):
    mirror.pages[""] = page([hbar(7)])
    verdict = await hedera.ask(account(mirror, network="testnet"), subject(7, "HBAR"))
    assert (verdict.live, verdict.amount, verdict.currency) == (False, 7, "HBAR")


async def test_nothing_yet_is_pending(hedera, mirror):
    verdict = await hedera.ask(account(mirror), subject())
    assert (verdict.outcome, verdict.amount, verdict.transaction_id) == (Outcome.PENDING, None, None)
    assert (verdict.reference, verdict.account) == (REFERENCE, OURS)


@pytest.mark.parametrize("memo", [f" {REFERENCE.upper()}\n", REFERENCE])
async def test_wallets_may_change_letter_case_and_spaces(hedera, mirror, memo):
    mirror.pages[""] = page([sent(memo=memo)])
    verdict = await hedera.ask(account(mirror), subject())
    assert (verdict.outcome, verdict.reference) == (Outcome.SUCCEEDED, REFERENCE)


@pytest.mark.parametrize("memo", ["", "another", f"{REFERENCE}1", f"x {REFERENCE}", b"!!!", b"/w=="])
async def test_another_memo_is_not_ours(hedera, mirror, memo):
    mirror.pages[""] = page([sent(memo=memo), sent(memo_base64=None)])
    assert (await hedera.ask(account(mirror), subject())).outcome is Outcome.PENDING


async def test_only_our_own_entry_counts_and_no_staking_reward(hedera, mirror):
    reward = {"transfers": [entry("0.0.800", -50), *moved(-100, 150)]}
    rewards = [{"account": OURS, "amount": 50}, {"account": PAYER, "amount": 9}]
    mirror.pages[""] = page([hbar(0, **reward, staking_reward_transfers=rewards)])
    assert (await hedera.ask(account(mirror), subject(100, "HBAR"))).amount == 100
    mirror.pages[""] = page(
        [hbar(0, transfers=[entry("0.0.800", -50), entry(OURS, 50)], staking_reward_transfers=rewards)]
    )
    assert (await hedera.ask(account(mirror), subject(100, "HBAR"))).outcome is Outcome.PENDING


async def test_amounts_beyond_the_exact_range_of_floats_are_exact(hedera, mirror):
    mirror.pages[""] = page([hbar(2**53 + 1)])
    assert (await hedera.ask(account(mirror), subject())).amount == 2**53 + 1


async def test_several_receipts_come_by_consensus_time_over_all_pages(hedera, mirror):
    mirror.pages[SINCE] = page([], NEXT + "5")
    mirror.pages["gt:5"] = page(
        [hbar(3, "1760000011.000000010"), hbar(2, "1760000011.000000009")], NEXT + "6"
    )
    mirror.pages["gt:6"] = page([hbar(4, "1760000012.0")])
    verdict = await hedera.ask(account(mirror), subject(2, "HBAR"))
    found = [verdict, *verdict.further]
    assert [(v.amount, v.transaction_id) for v in found] == [
        (2, "1760000011.000000009"),
        (3, "1760000011.000000010"),
        (4, "1760000012.0"),
    ]
    assert len(mirror.asked) == 3


async def test_two_assets_in_one_transaction_are_two_receipts(hedera, mirror):
    mirror.pages[""] = page([sent(transfers=moved(-7, 7))])
    verdict = await hedera.ask(account(mirror), subject())
    assert [(v.currency, v.amount, v.transaction_id) for v in (verdict, *verdict.further)] == [
        ("USDC", 10_100_000, FIRST),
        ("HBAR", 7, f"{FIRST}/HBAR"),
    ]


async def test_less_more_and_another_asset_are_told_as_they_are(hedera, mirror):
    mirror.pages[""] = page([hbar(1)])
    verdict = await hedera.ask(account(mirror), subject())
    assert (verdict.outcome, verdict.amount, verdict.currency) == (Outcome.SUCCEEDED, 1, "HBAR")


async def test_another_token_with_our_memo_is_for_a_person(hedera, mirror):
    mirror.pages[""] = page([sent(token_transfers=moved(-5, 5, token_id="0.0.666"))])
    verdict = await hedera.ask(account(mirror), subject())
    assert (verdict.outcome, verdict.detail, verdict.amount) == (Outcome.UNKNOWN, "another_token", None)
    mirror.pages[""] = page([sent(token_transfers=moved(-5, 5, token_id="0.0.666")), hbar(1, "1760000020.1")])
    assert (await hedera.ask(account(mirror), subject())).outcome is Outcome.SUCCEEDED


async def test_a_credit_with_an_unknown_result_is_unknown_and_a_failed_try_is_nothing(hedera, mirror):
    mirror.pages[""] = page([sent(result="QUANTUM")])
    verdict = await hedera.ask(account(mirror), subject())
    assert (verdict.outcome, verdict.detail) == (Outcome.UNKNOWN, "QUANTUM")
    mirror.pages[""] = page([sent(result="INSUFFICIENT_TOKEN_BALANCE", token_transfers=[])])
    assert (await hedera.ask(account(mirror), subject())).outcome is Outcome.PENDING


@pytest.mark.parametrize(("back", "outcome"), [(100_000, Outcome.SUCCEEDED), (10_100_000, Outcome.REFUNDED)])
async def test_what_went_out_with_the_same_memo_was_given_back(hedera, mirror, back, outcome):
    mirror.pages[""] = page([sent(), given_back(back, "1760000020.000000001")])
    verdict = await hedera.ask(account(mirror), subject())
    assert (verdict.outcome, verdict.amount_refunded, verdict.amount) == (outcome, back, 10_100_000)


async def test_our_own_fee_is_no_refund(hedera, mirror):
    mirror.pages[""] = page([hbar(500), given_back(200, "1760000020.1", "HBAR")])
    verdict = await hedera.ask(account(mirror), subject(500, "HBAR"))
    assert (verdict.outcome, verdict.amount_refunded) == (Outcome.SUCCEEDED, 200)


async def test_a_refund_comes_off_the_newest_receipt_before_it(hedera, mirror):
    rows = [hbar(20, "1760000011.1"), hbar(10, "1760000012.1"), given_back(12, "1760000013.1", "HBAR")]
    mirror.pages[""] = page([*rows, hbar(10, "1760000014.1")])
    verdict = await hedera.ask(account(mirror), subject(10, "HBAR"))
    found = [verdict, *verdict.further]
    assert [(v.outcome, v.amount, v.amount_refunded) for v in found] == [
        (Outcome.SUCCEEDED, 20, 2),
        (Outcome.REFUNDED, 10, 10),
        (Outcome.SUCCEEDED, 10, 0),
    ]
    assert verdict.provider_at == Instant(1_760_000_011 * SECOND + 100_000)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b"17",
        b'{"transactions":[]}',
        b'{"status":"pa\xff\xfeid"}',
        page([sent(consensus_timestamp="soon")]),
        page([sent(consensus_timestamp=1.5)]),
        page([hbar(1, transfers=[entry(OURS, 1.5)])]),
        page([hbar(1, transfers=None)]),
        page([], "https://evil.test/api/v1/transactions?x=1"),
        page([], "/api/v1/accounts"),
        page([sent()])[:-20],
    ],
)
async def test_what_cannot_be_read_is_no_answer(hedera, mirror, body):
    mirror.pages[""] = body
    with pytest.raises(NoAnswer) as caught:
        await hedera.ask(account(mirror), subject())
    assert caught.value.reason == "unreadable"


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (400, NoAnswer, "status_400"),
        (404, NoAnswer, "status_404"),
        (429, NoAnswer, "rate_limited"),
        (503, NoAnswer, "status_503"),
        (401, CredentialsRefused, "credentials_refused"),
    ],
)
async def test_every_other_status_is_no_answer(hedera, mirror, status, kind, reason):
    mirror.status = status
    with pytest.raises(kind) as caught:
        await hedera.ask(account(mirror), subject())
    assert (caught.value.reason, isinstance(caught.value, NotThere)) == (reason, False)


async def test_pages_have_an_end_and_money_found_before_it_is_told(hedera, mirror, monkeypatch):
    monkeypatch.setattr(module, "PAGES_READ", 3)
    mirror.pages[""] = page([], NEXT + "5")
    with pytest.raises(NoAnswer) as caught:
        await hedera.ask(account(mirror), subject())
    assert (caught.value.reason, len(mirror.asked)) == ("too_many_transactions", 3)
    mirror.pages["gt:5"] = page([sent()], NEXT + "6")
    assert (await hedera.ask(account(mirror), subject())).outcome is Outcome.SUCCEEDED


async def test_a_list_names_every_credit_and_its_memo(hedera, mirror):
    mirror.pages[""] = page(
        [sent(memo="Tea"), sent("1760000011.1", memo=""), given_back(5, "1760000012.1")], NEXT + "9"
    )
    until = Instant(CREATED + 60 * SECOND)
    listed = await hedera.list_checkouts(account(mirror), since=CREATED, until=until, cursor=None)
    assert [(v.reference, v.outcome, v.amount) for v in listed.verdicts] == [
        ("tea", Outcome.SUCCEEDED, 10_100_000),
        ("", Outcome.SUCCEEDED, 10_100_000),
    ]
    assert "timestamp=gte:1760000000.000000000&timestamp=lt:1760000060.000000000" in mirror.asked[0]
    assert listed.next_cursor == NEXT + "9"
    with pytest.raises(NoAnswer):  # a page that leads to itself
        await hedera.list_checkouts(account(mirror), since=CREATED, until=until, cursor=NEXT + "9")
    mirror.pages["gt:9"] = page([])
    last = await hedera.list_checkouts(account(mirror), since=CREATED, until=until, cursor=NEXT + "9")
    assert (last.verdicts, last.next_cursor) == ([], None)


async def test_the_account_says_who_it_is(hedera, mirror):
    identity = await hedera.identify(account(mirror))
    assert (identity.account, identity.live, identity.name) == (OURS, True, f"Hedera mainnet {OURS}")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"accountId": "0.0.1"}, "accountId"),
        ({"accountId": "../x"}, "accountId"),
        ({"network": "moon"}, "network"),
        ({"baseUrl": "https://testnet.mirrornode.hedera.com"}, "network"),
        ({"assets": "BTC"}, "assets"),
        ({"tokens": "USDC=0.0.9"}, "tokens"),
        ({"tokens": "HBAR=0.0.9"}, "tokens"),
        ({"network": "previewnet"}, "tokens"),
    ],
)
async def test_a_setting_that_cannot_be_is_refused(hedera, mirror, settings, named):
    with pytest.raises(CredentialsRefused) as caught:
        await hedera.identify(account(mirror, **settings))
    assert caught.value.field == named


async def test_an_account_must_be_able_to_hold_what_it_takes(hedera, mirror):
    mirror.held = []
    with pytest.raises(CredentialsRefused) as caught:
        await hedera.identify(account(mirror))
    assert caught.value.field == "assets"
    await hedera.identify(account(mirror, assets="HBAR"))
    mirror.accounts[OURS]["max_automatic_token_associations"] = -1
    await hedera.identify(account(mirror))
    mirror.tokens[USDC]["decimals"] = 8
    with pytest.raises(CredentialsRefused) as caught:
        await hedera.identify(account(mirror))
    assert caught.value.field == "tokens"
    mirror.accounts[OURS]["deleted"] = True
    with pytest.raises(CredentialsRefused) as caught:
        await hedera.identify(account(mirror, assets="HBAR"))
    assert caught.value.field == "accountId"


async def test_a_commercial_mirror_gets_its_header(hedera, mirror):
    await hedera.ask(account(mirror, header="X-Api-Key: abc"), subject())
    assert mirror.headers == ["abc"]


def test_the_default_address_follows_the_network():
    assert module._mirror(account(network="testnet").settings) == "https://testnet.mirrornode.hedera.com"
    assert module._mirror(account().settings) == "https://mainnet.mirrornode.hedera.com"


def test_capabilities(hedera):
    assert isinstance(hedera, Lists)
    assert not isinstance(hedera, (Closes, Refunds, SendsWebhooks))
