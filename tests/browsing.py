"""A real browser that looks at the shop's pages, and what must be right with each of them."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page

__all__ = ["ALL_PICTURES", "BROWSER_OPTIONS", "DESKTOP", "PHONE", "OpenPage", "looker", "windows"]

SCREENSHOTS = Path(__file__).parents[1] / "artifacts" / "screenshots"
PHONE, DESKTOP = (390, 844), (1280, 900)
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
BROWSER_OPTIONS = (*QUIET, "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage")
PATIENCE_MS = 10_000

# What is wrong with a page, one sentence a fault; run inside the page.
FAULTS = (Path(__file__).parent / "journeys" / "page_faults.js").read_text(encoding="utf-8")

ALL_PICTURES = """() => Promise.all([...document.images].map((image) => {
  image.loading = "eager";
  return image.complete || new Promise((done) => { image.onload = image.onerror = done; });
}))"""

OpenPage = Callable[..., AbstractAsyncContextManager[Page]]


def windows(browser: Browser, url: str, headers: dict[str, str]) -> OpenPage:
    """Opens a visitor's window; when it closes, whatever the browser complained about fails the test."""

    @asynccontextmanager
    async def opened(
        size: tuple[int, int] = DESKTOP, *, scripts: bool = True, expected: frozenset[int] = frozenset(), dark: bool = False
    ) -> AsyncIterator[Page]:
        context = await browser.new_context(
            base_url=url,
            extra_http_headers=headers,
            viewport={"width": size[0], "height": size[1]},
            java_script_enabled=scripts,
            is_mobile=size == PHONE,
            reduced_motion="reduce",
            color_scheme="dark" if dark else "light",
        )
        page = await context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(f"script: {error}"))
        page.on("console", lambda line: complaints.append(f"console: {line.text}") if line.type in {"error", "warning"} else None)
        page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url} {request.failure}"))
        page.on("response", lambda answer: complaints.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
        yield page
        await context.close()
        allowed = tuple(f"{status} " for status in expected) + tuple(f"status of {status}" for status in expected)
        aborted = "ERR_ABORTED"  # a question about suggestions that was overtaken by the next one
        assert [line for line in complaints if aborted not in line and not any(word in line for word in allowed)] == []

    return opened


def looker(page: Page, size: tuple[int, int], *, kind: str = "") -> Callable[[str], Coroutine[Any, Any, None]]:
    """Takes a picture of the whole page and fails on whatever is wrong with it; `kind` is for the picture's name."""

    async def look(name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{name}-{size[0]}{kind and f'-{kind}'}.png"
        await page.evaluate(ALL_PICTURES)
        picture = await page.screenshot(path=path, full_page=True)
        width, height = struct.unpack(">II", picture[16:24])
        assert width == size[0]
        assert height >= size[1]
        assert len(picture) > 15_000, f"{name} is nearly empty"
        assert await page.evaluate(FAULTS) == [], name

    return look
