"""The hosted pages: every state in words, nothing believed that a browser says, and no act without a button."""

import asyncio
import re

import msgspec
import pytest
from tests import a
from tests.entrypoints.pay_site import Answer, Site, site

from paystate.domain.payments import AttemptState, State
from paystate.domain.payments.port import Offer
from paystate.entrypoints.pay.words import amount_text, provider_title, way_to_pay, web_link
from paystate.flows.cancel_payment import cancel_payment
from paystate.kit.clock import MINUTE, SECOND
from paystate.kit.errors import Conflict
from paystate.kit.ids import MerchantId, new_id, new_short_code
from paystate.kit.money import Money

HOSTILE = "<script>alert(1)</script>{{7*7}}${7*7}'\"&"


async def settled(pages: Site, clock, outcome: str, **values):
    """A payment whose checkout came to this end and was looked at."""
    payment, attempt = await pages.shop.opened(2500, "EUR", return_url="https://shop.example/thanks?a=1&b=2")
    await pages.shop.sandbox.outcome(attempt, outcome, **values)
    clock.advance(5 * SECOND)
    await pages.shop.look()
    after = await pages.shop.now(payment)
    assert after.state is not State.OPEN, await pages.shop.rows("SELECT * FROM verifications")
    return after


async def in_state(pages: Site, clock, state: State):
    match state:
        case State.OPEN:
            return await pages.shop.payment(2500, "EUR")
        case State.PENDING_VERIFICATION:
            payment, _ = await pages.shop.opened(2500, "EUR")
            await pages.page(payment, "/return")
        case State.PAID:
            payment = await settled(pages, clock, "pay")
        case State.FAILED:
            payment = await settled(pages, clock, "fail")
        case State.REVIEW:
            payment = await settled(pages, clock, "pay", amount=1)
        case State.EXPIRED:
            payment = await pages.shop.payment(2500, "EUR", expires_in=MINUTE)
            clock.advance(MINUTE)
        case _:
            payment = await pages.shop.payment(2500, "EUR", cancel_url="https://shop.example/basket")
            await cancel_payment(pages.shop.app.ctx, a.WHO, payment.id, actor="test")
    return payment


SHOWN = {
    State.OPEN: ("blue", "Awaiting payment", ["Pay with Sandbox", "Cancel this payment", "Test –"]),
    State.PENDING_VERIFICATION: (
        "amber",
        "Processing your payment",
        ["do not pay again", "up to 2 hours", "may close this page", 'http-equiv="refresh" content="30"'],
    ),
    State.PAID: ("green", "Payment successful", ["https://shop.example/thanks?a=1&amp;b=2", "Transaction"]),
    State.FAILED: ("rose", "Payment did not go through", ["Try again with Sandbox"]),
    State.EXPIRED: ("orange", "Payment link expired", ["What you can do now"]),
    State.CANCELED: ("red", "Payment canceled", ["What you can do now", "https://shop.example/basket"]),
    State.REVIEW: ("purple", "A person is looking at your payment", ["do not pay again", "write to you"]),
}


@pytest.mark.parametrize("state", list(SHOWN))
async def test_every_state_has_its_words_and_colour(database_url, tmp_path, clock, state) -> None:
    async with site(database_url, tmp_path, clock, support_email="help@tea.example") as pages:
        payment = await in_state(pages, clock, state)
        answer = await pages.page(payment)
        assert answer.status == 200
        assert (await pages.shop.now(payment)).state is state
        tone, label, sentences = SHOWN[state]
        assert f'class="status {tone}"' in answer.text
        assert f'<h2 id="label">{label}</h2>' in answer.text
        for sentence in (*sentences, "€25.00", "Tea House", "help@tea.example"):
            assert sentence in answer.text, sentence
        can_pay = state in (State.OPEN, State.FAILED)
        assert ('/checkout"' in answer.text) == can_pay
        final = state in (State.PAID, State.EXPIRED, State.CANCELED)
        assert ("data-poll=" in answer.text) == (not final)
        for other in {words for words, *_ in ((w[1], w) for s, w in SHOWN.items() if s is not state)}:
            assert other not in answer.text


async def test_a_page_sends_its_headers_and_loads_only_our_own_files(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        payment = await pages.shop.payment()
        for answer in (
            await pages.page(payment),
            await pages.get("/pay/nothing"),
            await pages.page(payment, "/cancel"),
        ):
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            policy = answer.headers["Content-Security-Policy"]
            assert policy.startswith(
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
            )
            assert "frame-ancestors 'none'; base-uri 'none'; object-src 'none'" in policy
            assert len(answer.headers.getall("Content-Security-Policy")) == 1
            assert not re.search(r"<style|style=|<script(?![^>]*src=)|javascript:|\son[a-z]+=", answer.text)
            for address in re.findall(r'(?:src|<link[^>]*href)="([^"]+)"', answer.text):
                assert address.startswith("/pay/static/")
                file = await pages.get(address)
                assert file.status == 200
                assert "immutable" in file.headers["Cache-Control"]
                assert file.headers["X-Content-Type-Options"] == "nosniff"
        forms = (await pages.page(payment)).headers["Content-Security-Policy"]
        assert f"form-action 'self' {pages.shop.sandbox.base_url};" in forms
        assert (await pages.get("/pay/static/pay.css")).status == 404
        assert (await pages.get("/pay/static/..%2fanswers.py")).status == 404


async def test_what_merchants_and_customers_write_is_shown_as_text(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        payment = await pages.shop.payment(description=HOSTILE)
        for rest in ("", "/cancel", "/success"):
            page = (await pages.page(payment, rest)).text
            assert "<script>alert" not in page
            assert "&lt;script&gt;alert(1)&lt;/script&gt;{{7*7}}${7*7}" in page


async def test_unknown_codes_and_drafts_look_alike_and_are_limited(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock, code_miss_rate_limit="7/60") as pages:
        draft = await pages.shop.payment(draft=True)
        paid = await pages.shop.payment()
        codes = [new_short_code(), draft.short_code, "x", paid.id, paid.short_code.upper(), "%00"]
        answers = [await pages.get(f"/pay/{code}") for code in codes]
        assert {answer.status for answer in answers} == {404}
        assert len({answer.text for answer in answers}) == 1
        assert "Not available" in answers[0].text
        assert (await pages.get(f"/pay/{new_short_code()}")).status == 404
        limited = await pages.get(f"/pay/{new_short_code()}")
        assert limited.status == 429
        assert 1 <= int(limited.headers["Retry-After"]) <= 60
        assert (await pages.page(paid)).status == 200
        as_json = await pages.get("/pay/x", headers={"Accept": "application/json"})
        assert (as_json.status, as_json.json()["code"]) == (429, "rate_limited")


async def test_query_values_of_a_page_are_ignored(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        payment = await pages.shop.payment()
        forged = await pages.page(payment, "?returnUrl=https://evil.example&status=paid&amount=1")
        assert forged.text == (await pages.page(payment)).text
        assert (await pages.shop.now(payment)).state is State.OPEN


async def test_the_button_leads_to_the_checkout(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        payment = await pages.shop.payment(2500, "EUR")
        for method in ("GET", "HEAD", "OPTIONS", "PUT"):
            answer = await pages.call(
                method, f"/pay/{payment.short_code}/checkout", data={"provider": "sandbox"}
            )
            assert answer.status in (303, 405)
        assert await pages.shop.attempts(payment) == []
        answers = await asyncio.gather(*(pay(pages, payment) for _ in range(10)))
        assert {answer.status for answer in answers} == {303}
        (url,) = {answer.location for answer in answers}
        assert url.startswith(f"{pages.shop.sandbox.base_url}/checkout/")
        assert len((await pages.shop.sandbox.objects())["checkouts"]) == 1


async def pay(pages: Site, payment, provider: str = "sandbox", **headers: str) -> Answer:
    return await pages.post(
        f"/pay/{payment.short_code}/checkout", data={"provider": provider}, headers=headers
    )


@pytest.mark.parametrize("state", [State.PAID, State.EXPIRED, State.CANCELED, State.REVIEW])
async def test_what_cannot_be_paid_shows_itself(database_url, tmp_path, clock, state) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        payment = await in_state(pages, clock, state)
        before = len(await pages.shop.attempts(payment))
        answer = await pay(pages, payment)
        assert (answer.status, answer.location) == (303, f"/pay/{payment.short_code}")
        assert SHOWN[state][1] in (await pages.get(answer.location)).text
        assert len(await pages.shop.attempts(payment)) == before


async def test_a_provider_that_is_not_there_is_refused_in_words(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        payment = await pages.shop.payment()
        answer = await pay(pages, payment, "stripe")
        assert answer.status == 422
        assert "This way of paying is not available" in answer.text
        assert f'href="/pay/{payment.short_code}"' in answer.text


FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
    {"Origin": "https://evil.example"},
    {"Origin": "http://127.0.0.1.evil.example"},
    {"Origin": "http://[::1"},
]


async def test_forms_of_other_sites_are_refused(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        payment = await pages.shop.payment()
        home = f"/pay/{payment.short_code}"
        for headers in FOREIGN:
            for path in ("/checkout", "/cancel", f"/replace?intent={new_short_code()}"):
                answer = await pages.post(home + path, data={"provider": "sandbox"}, headers=headers)
                assert answer.status == 403, (headers, path)
                assert "csrf_failed" in answer.text
        program = await pages.post(home + "/cancel", headers={"Accept": "*/*", **FOREIGN[0]})
        assert program.json()["code"] == "csrf_failed"
        assert (await pages.shop.now(payment)).state is State.OPEN
        assert await pages.shop.attempts(payment) == []
        for headers in (
            {"Sec-Fetch-Site": "same-origin", "Origin": "null"},
            {"Sec-Fetch-Site": "none"},
            {"Origin": pages.url},
        ):
            assert (await pay(pages, payment, **headers)).status == 303


async def offered(pages: Site, payment, offer: Offer | None) -> None:
    """The provider's answer as another provider would have given it."""
    checkout = None if offer is None else msgspec.json.encode(offer).decode()
    statement = "UPDATE attempts SET checkout = {}, state = '{}' WHERE payment_id = '{}'"
    value = "NULL" if checkout is None else f"'{checkout}'"
    state = AttemptState.CREATED if offer is None else AttemptState.LIVE
    await pages.shop.app.db.write(
        lambda tx: tx.conn.exec_driver_sql(statement.format(value, state.value, payment.id)) and None
    )


async def test_other_offers_get_a_page_in_between(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        payment, _ = await pages.shop.opened()
        url = "https://pay.example/c/1?a=1&b=2#f"
        await offered(pages, payment, Offer("redirect", url))
        assert (await pay(pages, payment)).location == f"/pay/{payment.short_code}/continue"
        page = await pages.page(payment, "/continue")
        assert 'href="https://pay.example/c/1?a=1&amp;b=2#f"' in page.text
        assert 'content="0; url=https://pay.example/c/1?a=1&amp;b=2#f"' in page.text
        await offered(pages, payment, Offer("form", "https://form.example/in", {"m1": 'a"><b>', "p2": "x"}))
        assert (await pay(pages, payment)).location == f"/pay/{payment.short_code}/continue"
        page = await pages.page(payment, "/continue")
        assert "form-action 'self' https://form.example;" in page.headers["Content-Security-Policy"]
        assert '<form method="post" action="https://form.example/in" data-post-once="att_' in page.text
        assert 'name="m1" value="a&#34;&gt;&lt;b&gt;"' in page.text
        await offered(pages, payment, Offer("instructions", "", {"Memo": "k3", "Account": "0.0.1"}))
        page = (await pages.page(payment, "/continue")).text
        assert '<dt id="to-0">Memo</dt><dd><output class="value" data-value>k3</output>' in page
        assert f'data-poll="/api/payment-links/{payment.short_code}/status"' in page
        await offered(pages, payment, Offer("redirect", "javascript:alert(1)"))
        bad = await pages.page(payment, "/continue")
        assert bad.status == 503
        assert "javascript:" not in bad.text
        await offered(pages, payment, None)
        assert "Waiting for Sandbox" in (await pages.page(payment, "/continue")).text
        fresh = await pages.shop.payment()
        assert (await pages.page(fresh, "/continue")).location == f"/pay/{fresh.short_code}"


FORGED = "?status=paid&payment_status=success&resultCode=Authorised&success=true&amount=2500&tx={}"


async def test_a_forged_return_is_only_a_hint(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        payment, attempt = await pages.shop.opened(2500, "EUR")
        other = await settled(pages, clock, "pay")
        forged = f"/pay/{payment.short_code}/return" + FORGED.format(other.transaction_id)
        head = await pages.call("HEAD", forged)
        assert (head.status, head.location) == (303, f"/pay/{payment.short_code}")
        assert (await pages.shop.attempts(payment))[0].hint_no == attempt.hint_no
        assert (await pages.shop.now(payment)).state is State.OPEN
        for _ in range(5):
            for method in ("GET", "POST"):
                data = {"status": "paid", "id": attempt.checkout_id} if method == "POST" else None
                headers = {"Sec-Fetch-Site": "cross-site", "Origin": "https://provider.example"}
                answer = await pages.call(method, forged, data=data, headers=headers)
                assert (answer.status, answer.location) == (303, f"/pay/{payment.short_code}")
        assert (await pages.shop.now(payment)).state is State.PENDING_VERIFICATION
        looks = f"SELECT * FROM verifications WHERE attempt_id = '{attempt.id}'"
        before = len(await pages.shop.rows(looks))
        clock.advance(2 * SECOND)
        await pages.shop.look()
        assert sum(row["count"] for row in await pages.shop.rows(looks)) - before <= 1
        assert (await pages.shop.now(payment)).state is not State.PAID
        assert (await pages.call("OPTIONS", forged)).status == 405


async def test_coming_back_without_paying_only_makes_a_check_due(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        payment, attempt = await pages.shop.opened()
        answer = await pages.page(payment, "/return?from=cancel")
        assert answer.location == f"/pay/{payment.short_code}"
        assert (await pages.shop.now(payment)).state is State.OPEN
        assert (await pages.shop.attempts(payment))[0].hint_no == attempt.hint_no + 1
        unopened = await pages.shop.payment()
        assert (await pages.page(unopened, "/return?status=paid")).status == 303
        assert (await pages.shop.now(unopened)).state is State.OPEN


async def test_one_landing_address_for_a_whole_connection(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        payment, attempt = await pages.shop.opened()
        landing = f"/pay/return/{pages.shop.connection.id}"
        by_query = await pages.get(f"{landing}?Status=paid&Reference={attempt.provider_reference}")
        assert (by_query.status, by_query.location) == (303, f"/pay/{payment.short_code}")
        assert (await pages.shop.now(payment)).state is State.PENDING_VERIFICATION
        by_form = await pages.post(
            landing, data={"TransactionAccepted": "true", "Extra1": attempt.checkout_id}
        )
        assert by_form.location == f"/pay/{payment.short_code}"
        # The second one finds a hint waiting: the question to come answers both.
        assert (await pages.shop.attempts(payment))[0].hint_no == attempt.hint_no + 1
        for path in (
            landing,
            f"{landing}?a={new_short_code()}",
            f"/pay/return/{new_id('con', clock.now())}?r={attempt.provider_reference}",
            f"/pay/return/x?r={attempt.provider_reference}",
        ):
            neutral = await pages.get(path)
            assert (neutral.status, "Thank you" in neutral.text) == (200, True)
        assert (await pages.call("HEAD", f"{landing}?r={attempt.provider_reference}")).status == 303
        assert (await pages.shop.attempts(payment))[0].hint_no == attempt.hint_no + 1
        assert (await pages.post(landing, data={f"f{n}": "x" for n in range(60)})).status == 413
        assert (await pages.post(landing, data={"f": "x" * 20_000})).status == 413


async def test_an_id_that_could_be_counted_leads_nobody_to_a_page(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        payment, attempt = await pages.shop.opened()
        await pages.shop.app.db.write(
            lambda tx: (
                tx.conn.exec_driver_sql(
                    f"UPDATE attempts SET checkout_id = '100234' WHERE id = '{attempt.id}'"
                )
                and None
            )
        )
        answer = await pages.get(f"/pay/return/{pages.shop.connection.id}?id=100234")
        assert (answer.status, payment.short_code in answer.text) == (200, False)
        assert (await pages.shop.attempts(payment))[0].hint_no == attempt.hint_no + 1
        assert (await pages.shop.now(payment)).state is State.OPEN


async def test_cancel_asks_first_and_acts_by_post_only(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        payment, _ = await pages.shop.opened()
        path = f"/pay/{payment.short_code}/cancel"
        for method in ("GET", "HEAD", "OPTIONS"):
            await pages.call(method, path)
        assert (await pages.shop.now(payment)).cancel_requested_at is None
        assert "Yes, cancel this payment" in (await pages.get(path)).text
        answer = await pages.post(path)
        assert (answer.status, answer.location) == (303, f"/pay/{payment.short_code}")
        assert (await pages.shop.now(payment)).state is State.CANCELED
        assert "Payment canceled" in (await pages.page(payment)).text
        again = await pages.post(path)
        assert again.status == 303
        (checkout,) = (await pages.shop.sandbox.objects())["checkouts"]
        assert checkout["status"] == "closed"
        assert await pages.shop.rows(
            f"SELECT actor FROM payment_moves WHERE payment_id = '{payment.id}' AND to_state = 'CANCELED'"
        )


async def test_a_cancel_that_comes_too_late_shows_the_paid_payment(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        payment, attempt = await pages.shop.opened()
        await pages.shop.sandbox.outcome(attempt, "pay")
        clock.advance(2 * SECOND)
        for _ in range(2):
            answer = await pages.post(f"/pay/{payment.short_code}/cancel")
            assert answer.status == 409
            assert "already been paid" in answer.text
        assert "Payment successful" in (await pages.page(payment)).text


async def test_a_cancel_the_provider_does_not_answer_says_so(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        payment, _ = await pages.shop.opened()
        await pages.shop.sandbox.fault("close", "error503")
        answer = await pages.post(f"/pay/{payment.short_code}/cancel")
        assert answer.status == 303
        page = (await pages.get(answer.location)).text
        assert "Canceling your payment" in page
        assert '/checkout"' not in page


async def conflict(pages: Site) -> tuple[object, str]:
    """A pending payment, and the path of the choice that a refused second one offers."""
    old = await pages.shop.payment(1000, customer="c1", bundle_id="b1", plan_name="Small")
    with pytest.raises(Conflict) as refusal:
        await pages.shop.payment(2000, customer="c1", bundle_id="b1", plan_name="Large")
    return old, refusal.value.help["actions"]["cancel"]["url"].removeprefix(pages.url)


async def test_cancel_and_start_new_in_one_step(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        old, path = await conflict(pages)
        for method in ("GET", "HEAD", "OPTIONS"):
            await pages.call(method, path)
        assert (await pages.shop.now(old)).state is State.OPEN
        page = await pages.get(path)
        for text in (
            "Cancel &amp; Start New",
            "Complete Existing Payment",
            "Small",
            "€10.00",
            "Large",
            "€20.00",
        ):
            assert text in page.text
        first = await pages.post(path)
        assert first.status == 303
        assert (await pages.shop.now(old)).state is State.CANCELED
        assert "€20.00" in (await pages.get(first.location)).text
        assert (await pages.post(path)).location == first.location
        assert (await pages.get(path)).location == first.location
        assert len(await pages.shop.rows("SELECT id FROM payments")) == 2


async def test_nothing_new_is_started_when_the_old_one_turned_out_paid(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        old, path = await conflict(pages)
        await pages.shop.checkout(old)
        (attempt,) = await pages.shop.attempts(old)
        await pages.shop.sandbox.outcome(attempt, "pay")
        clock.advance(2 * SECOND)
        answer = await pages.post(path)
        assert answer.status == 409
        assert "has been paid in the meantime" in answer.text
        assert (await pages.get(path)).status == 409
        assert len(await pages.shop.rows("SELECT id FROM payments")) == 1


async def test_an_old_one_that_expired_meanwhile_is_no_obstacle(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        _, path = await conflict(pages)
        clock.advance(30 * MINUTE)
        assert (await pages.get(path)).status == 200
        answer = await pages.post(path)
        assert answer.status == 303
        clock.advance(1)
        gone, path = await pages.shop.payment(1, customer="c2", bundle_id="b1"), path
        foreign = path.replace(path.split("/")[2], gone.short_code)
        assert (await pages.get(foreign)).status == 404
        assert (await pages.post(foreign)).status == 404


async def test_an_intent_is_kept_for_half_an_hour(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        _, path = await conflict(pages)
        clock.advance(30 * MINUTE + 1)
        for method in ("GET", "POST"):
            answer = await pages.call(method, path)
            assert answer.status == 409
            assert "no longer available" in answer.text


async def test_landing_views_never_claim_another_state(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        payment = await pages.shop.payment()
        success = await pages.page(payment, "/success")
        assert "Payment successful" not in success.text
        assert "Awaiting payment" in success.text
        assert "Payment canceled" not in (await pages.page(payment, "/canceled")).text
        timed_out = (await pages.page(payment, "/expired")).text
        assert "This page has timed out" in timed_out
        assert "has not changed: Awaiting payment" in timed_out
        assert "Payment link expired" not in timed_out
        assert (await pages.shop.now(payment)).state is State.OPEN
        paid = await in_state(pages, clock, State.PAID)
        for rest in ("/success", "/expired", "/canceled"):
            assert "Payment successful" in (await pages.page(paid, rest)).text


async def test_a_link_past_its_time_with_a_live_checkout_is_asked_about_first(
    database_url, tmp_path, clock
) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        payment, attempt = await pages.shop.opened(expires_in=10 * MINUTE)
        clock.advance(10 * MINUTE)
        page = (await pages.page(payment)).text
        assert "The time for this payment is over" in page
        assert '/checkout"' not in page
        await pages.shop.sandbox.outcome(attempt, "expire")
        await pages.shop.look()
        assert "Payment link expired" in (await pages.page(payment)).text


async def test_without_a_way_to_pay_the_page_says_so(database_url, tmp_path, clock) -> None:
    async with site(database_url, tmp_path, clock) as pages:
        payment = await pages.shop.payment()
        await pages.shop.app.db.write(
            lambda tx: tx.conn.exec_driver_sql("UPDATE connections SET state = 'DISABLED'") and None
        )
        page = (await pages.page(payment)).text
        assert "no way to pay this online" in page
        assert MerchantId(pages.shop.id) not in page


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        (123450, "ZAR", "ZAR\u00a01,234.50"),
        (1, "EUR", "€0.01"),
        (1500, "JPY", "¥1,500"),
        (1005, "KWD", "KWD\u00a01.005"),
        (1234, "IQD", "IQD\u00a01.234"),
        (10**15, "EUR", "€10,000,000,000,000.00"),
        (100_000_001, "HBAR", "HBAR\u00a01.00000001"),
    ],
)
def test_amounts_have_the_decimals_of_our_table(amount, currency, shown) -> None:
    assert amount_text(Money(amount, currency)) == shown


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "//evil", "https://a@b", "", "https:\\\\e"]
)
def test_only_web_addresses_become_links(url) -> None:
    assert web_link(url) is None
    assert web_link(None) is None
    assert web_link("https://checkout.example/c#frag/ment") == "https://checkout.example/c#frag/ment"


def test_providers_have_names_for_people() -> None:
    assert [provider_title(name) for name in ("stripe", "sumup")] == ["Stripe", "SumUp"]
    assert way_to_pay("stripe", "EUR") == "Stripe"
    assert way_to_pay("hedera", "USDC") == "USDC on Hedera"
