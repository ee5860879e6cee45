"""What a person does with a demo: open the pay page in a browser, pay at the fake provider, and see that it arrived."""

import asyncio

import pytest
from playwright.async_api import Page, expect
from tests.chromium import WAIT, chromium, customer

from paystate.entrypoints.cli.demo.cast import CASTS
from paystate.entrypoints.cli.demo.stage import Stage

pytestmark = pytest.mark.browser


@pytest.fixture
def stage(request, tmp_path):
    with Stage(tmp_path, request.param) as opened:
        yield opened


def sold(stage: Stage) -> dict:
    cast = CASTS[stage.provider]
    return stage.new_payment(cast.price, cast.currency, "Paid by hand")


async def by_card(page: Page, card: str | None) -> None:
    assert card is not None
    await page.get_by_label("Card number").fill(card)
    await page.get_by_label("Expiry (MM/YY)").fill("12/39")
    await page.get_by_label("Security code").fill("123")
    await page.get_by_role("button", name="Pay by card").click()


@pytest.mark.parametrize("stage", ["stripe", "netcash"], indirect=True)
async def test_a_card_payment_by_hand(stage) -> None:
    payment = await asyncio.to_thread(sold, stage)
    async with chromium() as browser, customer(browser) as page:
        await page.goto(payment["payUrl"])
        await page.get_by_role("button", name=f"Pay with {stage.provider.capitalize()}").click()
        await page.wait_for_url(f"{stage.simulator_url}/**", timeout=WAIT)
        await by_card(page, CASTS[stage.provider].card)
        await page.wait_for_url(f"{payment['payUrl']}**", timeout=WAIT)
        await expect(page.get_by_role("heading", name="Payment successful")).to_be_visible(timeout=WAIT)


@pytest.mark.parametrize("stage", ["hedera"], indirect=True)
async def test_a_transfer_by_hand(stage) -> None:
    payment = await asyncio.to_thread(sold, stage)
    async with chromium() as browser, customer(browser) as page, customer(browser) as wallet:
        await page.goto(payment["payUrl"])
        await page.get_by_role("button", name="Pay with USDC on Hedera").click()
        await page.wait_for_url("**/continue")
        shown = {
            label: await page.locator("dl > div", has=page.get_by_text(label, exact=True))
            .locator("output")
            .text_content()
            for label in ("To account", "Amount", "Memo")
        }
        await wallet.goto(f"{stage.simulator_url}/wallet")
        for label, value in shown.items():
            await wallet.get_by_label(label).fill(value)
        await wallet.get_by_label("Asset").select_option("USDC")
        await wallet.get_by_role("button", name="Continue").click()
        await wallet.get_by_role("button", name="Pay USDC").click()
        await page.wait_for_url("**/success#status", timeout=WAIT)
        await expect(page.get_by_role("heading", name="Payment successful")).to_be_visible()
