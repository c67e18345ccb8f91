"""The browser that tests of pages share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, async_playwright

from tests.browsing import BROWSER_OPTIONS, OpenPage, windows


@pytest.fixture(scope="session")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=chromium, args=[*BROWSER_OPTIONS])
        yield started
        await started.close()


@pytest.fixture
def open_page(browser: Browser, shop_url: str, uncounted: dict[str, str]) -> OpenPage:
    """A visitor's window; when it closes, whatever the browser complained about fails the test."""
    return windows(browser, shop_url, uncounted)
