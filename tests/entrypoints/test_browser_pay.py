"""A customer's way in a real browser: pay, come back, and see what the provider says, never what an address claims."""

import pytest
from playwright.async_api import expect
from tests.chromium import WAIT, chromium, customer, fits, small_targets
from tests.entrypoints.pay_site import site, until, verifying

from paystate.domain.payments import State

pytestmark = pytest.mark.browser


@pytest.fixture
async def browser():
    async with chromium() as opened:
        yield opened


async def test_a_customer_pays_and_sees_it_arrive(database_url, tmp_path, browser) -> None:
    async with site(database_url, tmp_path) as pages, verifying(pages), customer(browser) as page:
        payment = await pages.shop.payment(2500, "EUR", return_url="https://shop.example/thanks")
        await page.goto(f"{pages.url}/pay/{payment.short_code}")
        await expect(page.get_by_role("heading", name="Awaiting payment")).to_be_visible()
        assert await fits(page)
        await page.get_by_role("button", name="Pay with Sandbox").click()
        await page.get_by_role("button", name="Pay EUR 25.00").click()
        await page.wait_for_url(f"**/pay/{payment.short_code}**", timeout=WAIT)
        await expect(page.get_by_role("heading", name="Payment successful")).to_be_visible(timeout=WAIT)
        assert await page.get_by_role("link", name="Back to the shop").get_attribute("href")
        assert await fits(page)
        assert (await pages.shop.now(payment)).state is State.PAID


async def test_an_open_page_turns_by_itself(database_url, tmp_path, browser) -> None:
    """Paid in another tab, the browser never came back: this page finds out by asking."""
    async with site(database_url, tmp_path) as pages, verifying(pages), customer(browser) as page:
        payment, attempt = await pages.shop.opened(2500, "EUR")
        await page.goto(f"{pages.url}/pay/{payment.short_code}")
        await expect(page.get_by_text("Live – this page updates by itself")).to_be_visible()
        await pages.shop.sandbox.outcome(attempt, "pay")
        await page.wait_for_url("**/success#status", timeout=WAIT)
        await expect(page.get_by_role("heading", name="Payment successful")).to_be_visible()
        assert await page.evaluate("document.activeElement.id") == "status"


async def test_a_forged_return_changes_nothing(database_url, tmp_path, browser) -> None:
    async with site(database_url, tmp_path) as pages, verifying(pages), customer(browser) as page:
        payment, attempt = await pages.shop.opened(2500, "EUR")
        await page.goto(f"{pages.url}/pay/{payment.short_code}/return?status=paid&success=true&amount=2500")
        assert page.url == f"{pages.url}/pay/{payment.short_code}"
        await expect(page.get_by_role("heading", name="Processing your payment")).to_be_visible()
        looks = f"SELECT * FROM verifications WHERE attempt_id = '{attempt.id}' AND outcome = 'PENDING'"

        async def looked() -> bool:
            return bool(await pages.shop.rows(looks))

        await until(looked)
        await page.goto(f"{pages.url}/pay/{payment.short_code}/success")
        await expect(page.get_by_role("heading", name="Processing your payment")).to_be_visible()
        assert (await pages.shop.now(payment)).state is State.PENDING_VERIFICATION
        assert await pages.shop.rows("SELECT * FROM proofs") == []


async def test_paying_needs_no_script(database_url, tmp_path, browser) -> None:
    async with (
        site(database_url, tmp_path) as pages,
        verifying(pages),
        customer(browser, java_script_enabled=False) as page,
    ):
        payment = await pages.shop.payment(2500, "EUR")
        await page.goto(f"{pages.url}/pay/{payment.short_code}")
        await page.get_by_role("button", name="Pay with Sandbox").click()
        await page.get_by_role("button", name="Pay EUR 25.00").click()
        await page.wait_for_url(f"**/pay/{payment.short_code}**", timeout=WAIT)

        async def paid() -> bool:
            return (await pages.shop.now(payment)).state is State.PAID

        await until(paid)
        await page.reload()
        await expect(page.get_by_role("heading", name="Payment successful")).to_be_visible()


async def test_a_checkout_elsewhere_is_reached_by_the_page_in_between(
    database_url, tmp_path, browser
) -> None:
    """A form may not be redirected to an origin its page did not name; a link may lead anywhere."""
    async with site(database_url, tmp_path) as pages, customer(browser) as page:
        payment, _ = await pages.shop.opened(2500, "EUR")
        change = "UPDATE attempts SET checkout = replace(checkout, '127.0.0.1', 'localhost')"
        await pages.shop.app.db.write(lambda tx: tx.conn.exec_driver_sql(change) and None)
        await page.goto(f"{pages.url}/pay/{payment.short_code}")
        await page.get_by_role("button", name="Pay with Sandbox").click()
        await page.wait_for_url("http://localhost:*/checkout/**", timeout=WAIT)


async def test_the_end_of_the_link_shows_by_itself(database_url, tmp_path, browser) -> None:
    async with site(database_url, tmp_path) as pages, customer(browser) as page:
        payment = await pages.shop.payment(2500, "EUR", expires_in=3_000_000)
        await page.goto(f"{pages.url}/pay/{payment.short_code}")
        await expect(page.get_by_role("timer")).to_contain_text("in 0:0")
        await page.wait_for_url("**/expired#status", timeout=WAIT)
        await expect(page.get_by_role("heading", name="Payment link expired")).to_be_visible()


async def test_a_page_left_alone_times_out_and_leads_back(database_url, tmp_path, browser) -> None:
    async with site(database_url, tmp_path) as pages, customer(browser) as page:
        payment = await pages.shop.payment(2500, "EUR")
        await page.clock.install()
        await page.goto(f"{pages.url}/pay/{payment.short_code}")
        stay = page.get_by_role("button", name="Stay on this page")
        await expect(page.get_by_text("Live – this page updates by itself")).to_be_visible()
        await page.clock.run_for(14 * 60_000 + 1_000)
        await stay.click()
        await expect(stay).to_be_hidden()
        await page.clock.run_for(14 * 60_000 + 1_000)
        await expect(stay).to_be_visible()
        await page.clock.run_for(62_000)
        await page.wait_for_url("**/expired", timeout=WAIT)
        await page.get_by_role("link", name="Open the payment again").click()
        await expect(page.get_by_role("heading", name="Awaiting payment")).to_be_visible()
        assert (await pages.shop.now(payment)).state is State.OPEN


async def test_a_lost_connection_is_told_and_found_again(database_url, tmp_path, browser) -> None:
    async with site(database_url, tmp_path) as pages:
        context = await browser.new_context()
        page = await context.new_page()
        payment = await pages.shop.payment(2500, "EUR")
        await page.goto(f"{pages.url}/pay/{payment.short_code}")
        await context.set_offline(True)
        await expect(page.get_by_text("Connection lost – trying again in 6 seconds")).to_be_visible(
            timeout=WAIT
        )
        await context.set_offline(False)
        await expect(page.get_by_text("Live – this page updates by itself")).to_be_visible(timeout=WAIT)
        await context.close()


@pytest.mark.parametrize("width", [320, 768, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_pages_fit_every_screen(database_url, tmp_path, browser, width, scheme) -> None:
    async with (
        site(database_url, tmp_path) as pages,
        customer(browser, viewport={"width": width, "height": 800}, color_scheme=scheme) as page,
    ):
        payment = await pages.shop.payment(10**15, "IDR", description="W" * 300)
        for rest in ("", "/cancel", "/expired"):
            await page.goto(f"{pages.url}/pay/{payment.short_code}{rest}")
            assert await fits(page)
            assert await small_targets(page) == []
