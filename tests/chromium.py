"""A real Chromium, and a customer in it whose pages must not complain and must fit their screen."""

import contextlib
import shutil

import pytest
from playwright.async_api import Browser, Page, async_playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT = 20_000
SMALL = "els => els.filter(e => e.getBoundingClientRect().height < 44).map(e => e.outerHTML)"


@contextlib.asynccontextmanager
async def chromium():
    """The browser of this machine, until the end of the block."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.fail("These tests need Chromium: apt-get install -y chromium")
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield opened
        await opened.close()


@contextlib.asynccontextmanager
async def customer(browser: Browser, **values):
    """A page of a fresh browser that must not complain: no script error, nothing blocked by the policy."""
    context = await browser.new_context(**{"viewport": {"width": 320, "height": 700}, **values})
    page = await context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None
    )
    yield page
    await context.close()
    assert complaints == [], complaints


async def fits(page: Page) -> bool:
    return await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def small_targets(page: Page) -> list[str]:
    """Links and buttons that a finger would miss."""
    return await page.eval_on_selector_all("main a, main button:not([data-stay]):not([hidden])", SMALL)
