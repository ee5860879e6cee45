"""Forms and instructions in a real browser: with and without scripts, on small and large screens, until they are PAID."""

import pytest
from playwright.async_api import Page, expect
from tests.chromium import WAIT, chromium, customer, fits, small_targets
from tests.entrypoints.pay_site import site, until, verifying
from tests.entrypoints.real_providers import connected, tell

from paystate.domain.payments import AttemptState, State

pytestmark = pytest.mark.browser
CARD = "4000000000000077"


@pytest.fixture
async def browser():
    async with chromium() as opened:
        yield opened


async def pay_by_card(page: Page, number: str = CARD) -> None:
    await page.get_by_label("Card number").fill(number)
    await page.get_by_label("Expiry (MM/YY)").fill("12/39")
    await page.get_by_role("button", name="Pay by card").click()


async def test_a_form_posts_itself_and_the_browser_comes_back(database_url, tmp_path, browser) -> None:
    async with (
        site(database_url, tmp_path) as pages,
        connected(pages.shop, "netcash") as at,
        verifying(pages),
        customer(browser) as page,
    ):
        await tell(at, pages)
        payment = await pages.shop.payment(15_000, "ZAR")
        await page.goto(f"{pages.url}/pay/{payment.short_code}")
        await page.get_by_role("button", name="Pay with Netcash").click()
        await page.wait_for_url(f"{at.simulator.base_url}/site/pay/**", timeout=WAIT)
        await pay_by_card(page)
        await page.wait_for_url(f"**/pay/{payment.short_code}**", timeout=WAIT)
        await expect(page.get_by_role("heading", name="Payment successful")).to_be_visible(timeout=WAIT)
        assert (await pages.shop.now(payment)).state is State.PAID
        # The browser's own message and the provider's are the same bytes, and one row.
        (event,) = await pages.shop.rows("SELECT * FROM provider_events")
        assert '"trace":"' in event["named"]


async def test_a_form_needs_no_script(database_url, tmp_path, browser) -> None:
    async with (
        site(database_url, tmp_path) as pages,
        connected(pages.shop, "netcash") as at,
        verifying(pages),
        customer(browser, java_script_enabled=False) as page,
    ):
        await tell(at, pages)
        payment = await pages.shop.payment(15_000, "ZAR")
        await page.goto(f"{pages.url}/pay/{payment.short_code}")
        await page.get_by_role("button", name="Pay with Netcash").click()
        await page.wait_for_url("**/continue")
        await page.get_by_role("button", name="Continue to Netcash").click()
        await pay_by_card(page)
        await page.get_by_role("button", name="Go back to the shop").click()
        await page.wait_for_url(f"**/pay/{payment.short_code}", timeout=WAIT)

        async def paid() -> bool:
            return (await pages.shop.now(payment)).state is State.PAID

        await until(paid)
        await page.reload()
        await expect(page.get_by_role("heading", name="Payment successful")).to_be_visible()


async def test_who_goes_back_is_not_sent_away_again(database_url, tmp_path, browser) -> None:
    async with (
        site(database_url, tmp_path) as pages,
        connected(pages.shop, "netcash") as at,
        customer(browser) as page,
    ):
        payment = await pages.shop.payment(15_000, "ZAR")
        await at.start(payment)
        await page.goto(f"{pages.url}/pay/{payment.short_code}/continue")
        await page.wait_for_url(f"{at.simulator.base_url}/site/pay/**", timeout=WAIT)
        await page.goto(f"{pages.url}/pay/{payment.short_code}/continue")
        await expect(page.get_by_role("button", name="Continue to Netcash")).to_be_visible()
        assert await fits(page)
        assert await small_targets(page) == []
        assert page.url.endswith("/continue")
        await expect(page.get_by_role("button", name="Begin anew")).to_contain_class("primary")


async def test_who_left_without_paying_may_begin_anew(database_url, tmp_path, browser) -> None:
    """Netcash takes a reference only once: the form that was left must not be the end of it."""
    async with (
        site(database_url, tmp_path) as pages,
        connected(pages.shop, "netcash") as at,
        verifying(pages),
        customer(browser) as page,
    ):
        await tell(at, pages)
        payment = await pages.shop.payment(15_000, "ZAR")
        await page.goto(f"{pages.url}/pay/{payment.short_code}")
        await page.get_by_role("button", name="Pay with Netcash").click()
        await page.wait_for_url(f"{at.simulator.base_url}/site/pay/**", timeout=WAIT)
        await page.get_by_role("button", name="Leave without paying").click()
        await page.wait_for_url(f"**/pay/{payment.short_code}", timeout=WAIT)
        await expect(page.get_by_role("heading", name="Awaiting payment")).to_be_visible()
        await page.get_by_role("button", name="Pay with Netcash").click()
        await page.get_by_role("button", name="Continue to Netcash").click()
        await expect(page.get_by_text("Duplicate reference")).to_be_visible(timeout=WAIT)
        await page.goto(f"{pages.url}/pay/{payment.short_code}/continue")
        await page.get_by_role("button", name="Begin anew").click()
        await page.wait_for_url(f"{at.simulator.base_url}/site/pay/**", timeout=WAIT)
        await pay_by_card(page)
        await expect(page.get_by_role("heading", name="Payment successful")).to_be_visible(timeout=WAIT)
        states = sorted(attempt.state for attempt in await pages.shop.attempts(payment))
        assert states == [AttemptState.SUCCEEDED, AttemptState.WATCHED]


@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (320, "dark"), (800, "light"), (800, "dark")])
async def test_instructions_fit_and_can_be_copied(database_url, tmp_path, browser, width, scheme) -> None:
    async with (
        site(database_url, tmp_path) as pages,
        connected(pages.shop, "hedera") as at,
        customer(browser, viewport={"width": width, "height": 800}, color_scheme=scheme) as page,
    ):
        payment = await pages.shop.payment(12_500_001, "USDC", description="W" * 200)
        attempt = (await at.start(payment)).attempt
        await page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=pages.url)
        await page.goto(f"{pages.url}/pay/{payment.short_code}/continue")
        assert await fits(page)
        assert await small_targets(page) == []
        image = page.get_by_role("img", name="QR code with these details as plain text")
        assert await image.evaluate("i => i.complete && i.naturalWidth > 0")
        for label, value in {
            "To account": at.connection.account,
            "Amount": "12.500001",
            "Memo": attempt.provider_reference,
            "Token": "0.0.456858",
        }.items():
            row = page.locator("dl > div", has=page.get_by_text(label, exact=True))
            await row.get_by_role("button", name="Copy").click()
            await expect(row.get_by_role("button", name="Copied")).to_be_visible()
            assert await page.evaluate("navigator.clipboard.readText()") == value


async def test_instructions_turn_by_themselves(database_url, tmp_path, browser) -> None:
    """Sent from a wallet elsewhere; nobody comes back, and nobody sends a message."""
    async with (
        site(database_url, tmp_path) as pages,
        connected(pages.shop, "hedera") as at,
        verifying(pages),
        customer(browser) as page,
        customer(browser) as wallet,
    ):
        payment = await pages.shop.payment(12_500_000, "USDC")
        await page.goto(f"{pages.url}/pay/{payment.short_code}")
        await page.get_by_role("button", name="Pay with USDC on Hedera").click()
        await page.wait_for_url("**/continue")
        await expect(page.get_by_text("Live – this page updates by itself")).to_be_visible()
        shown = [await o.text_content() for o in await page.locator("output[data-value]").all()]
        await wallet.goto(f"{at.simulator.base_url}/wallet")
        for name, value in zip(("To account", "Amount", "Memo"), shown, strict=False):
            await wallet.get_by_label(name).fill(value)
        await wallet.get_by_label("Asset").select_option("USDC")
        await wallet.get_by_role("button", name="Continue").click()
        await wallet.get_by_role("button", name="Pay USDC 12.500000").click()
        await page.wait_for_url("**/success#status", timeout=WAIT)
        await expect(page.get_by_role("heading", name="Payment successful")).to_be_visible()
        assert (await pages.shop.now(payment)).state is State.PAID


async def test_instructions_need_no_script(database_url, tmp_path, browser) -> None:
    async with (
        site(database_url, tmp_path) as pages,
        connected(pages.shop, "hedera") as at,
        customer(browser, java_script_enabled=False) as page,
    ):
        payment = await pages.shop.payment(12_500_000, "USDC")
        attempt = (await at.start(payment)).attempt
        await page.goto(f"{pages.url}/pay/{payment.short_code}/continue")
        await expect(page.get_by_text(attempt.provider_reference, exact=True)).to_be_visible()
        assert await page.get_by_role("button", name="Copy").count() == 0
        refresh = page.locator("noscript meta, meta[http-equiv=refresh]")
        assert await refresh.first.get_attribute("content") == "30"
        assert await page.get_by_role("img", name="QR code").is_visible()
