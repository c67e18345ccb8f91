"""Staff at the console with a real browser: they look at what waits, walk the ring, decide; with scripts and without."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from securecart.app import Shop
from tests.browsing import DESKTOP, PHONE, OpenPage, looker
from tests.operators import PASSWORD, Ring, a_held_order, a_ring, an_account
from tests.shopping import find

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "console.png"
PICTURE_BYTES_MAX = 300_000

# Where a node of the drawing is, in pixels from the corner of the picture.
PLACE_OF = """key => {
  const chart = echarts.getInstanceByDom(document.getElementById("drawing"));
  const series = chart.getModel().getSeriesByIndex(0), data = series.getData();
  return chart.convertToPixel({ seriesIndex: 0 }, data.getItemLayout(data.indexOfName(key)));
}"""

# Nothing is pointed at, so nothing is faded or said in a bubble.
PLAIN = """() => {
  const chart = echarts.getInstanceByDom(document.getElementById("drawing"));
  chart.dispatchAction({ type: "downplay", seriesIndex: 0 });
  chart.setOption({ tooltip: { show: false }, series: [{ silent: true }] });
}"""


async def _log_in(page: Page, email: str, path: str = "/console") -> None:
    await page.goto(path)
    await page.get_by_label("E-mail address").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()


async def _choose(page: Page, key: str) -> None:
    """Click at a node of the drawing."""
    x, y = await page.evaluate(PLACE_OF, key)
    await page.locator("#drawing").click(position={"x": x, "y": y})


def _row(page: Page, name: str) -> Locator:
    """The row of the table that tells of known fraud by this name."""
    return page.locator("#things tr.bad", has=page.get_by_role("link", name=name))


async def _drawn(page: Page) -> int:
    """How many nodes the drawing has, once it is there."""
    drawing = page.locator("#drawing[data-nodes]")
    await expect(drawing).to_be_visible()
    return int(await drawing.get_attribute("data-nodes") or 0)


@pytest.mark.parametrize(("size", "dark"), [(DESKTOP, False), (DESKTOP, True), (PHONE, False)])
async def test_an_operator_looks_walks_the_ring_and_decides(
    shop: Shop,
    open_page: OpenPage,
    size: tuple[int, int],
    dark: bool,  # noqa: FBT001
) -> None:
    ring, other = await a_ring(shop), await a_held_order(shop)
    email = await an_account(shop, staff=True)
    async with open_page(size, dark=dark) as page:
        look = looker(page, size, kind="dark" if dark else "")
        await _log_in(page, email)
        await expect(page.locator("h1")).to_have_text("Orders to be looked at")
        await look("console-reviews")
        await page.get_by_label("Number of an order").fill(ring.held.number.lower())
        await page.get_by_label("Number of an order").press("Enter")
        await expect(page.locator("h1")).to_have_text(f"Order {ring.held.number}")
        await expect(page.locator(".countries")).to_contain_text("They differ.")
        before = await _drawn(page)
        await look("console-order")
        await _choose(page, f"device:{ring.device}")
        await expect(page.locator("#walked")).to_contain_text("new around device")
        assert await _drawn(page) > before
        for number in ring.frauds:
            await expect(_row(page, number)).to_contain_text("known fraud")
        await look("console-walked")
        await page.get_by_label("Fraud", exact=True).check()
        await page.get_by_label("How you know").fill("The card's owner called.")
        await page.get_by_role("button", name="Note it").click()
        await expect(page.locator("#known")).to_contain_text(f"Fraud, says {email}")
        await expect(page.locator(".badges")).to_contain_text("Known fraud")
        await _decide(page, "Cancel", ring.held.number)
        await page.goto("/console/reviews")
        await page.goto(f"/console/orders/{other.number}")
        await _decide(page, "Release", other.number)
    assert [(await find(shop, number)).status for number in (ring.held.number, other.number)] == ["cancelled", "paid"]


async def _decide(page: Page, word: str, number: str) -> None:
    await page.locator("summary", has_text=word).click()
    await page.get_by_role("button", name=f"Yes, {word.lower()} it order {number}").click()
    outcome = "released" if word == "Release" else "cancelled"
    await expect(page.get_by_role("status")).to_contain_text(f"Order {number} was {outcome} by")


async def test_rings_lead_to_a_thing_and_from_there_to_its_orders(shop: Shop, open_page: OpenPage) -> None:
    ring = await a_ring(shop, accounts=7)
    async with open_page() as page:
        await _log_in(page, await an_account(shop, staff=True), "/console/rings")
        row = page.locator("tr", has=page.locator(f'a[href="/console/things/device/{ring.device}"]'))
        await expect(row.locator("td.known")).to_have_text("2")
        await looker(page, DESKTOP)("console-rings")
        await row.get_by_role("link").click()
        assert await _drawn(page) > len(ring.accounts)
        await looker(page, DESKTOP)("console-thing")
        await page.locator("#things").get_by_role("link", name=ring.held.number).click()
        await expect(page.locator("h1")).to_have_text(f"Order {ring.held.number}")


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
async def test_everything_can_be_done_without_scripts(shop: Shop, open_page: OpenPage, size: tuple[int, int]) -> None:
    ring = await a_ring(shop)
    async with open_page(size, scripts=False) as page:
        look = looker(page, size, kind="no-script")
        await _log_in(page, await an_account(shop, staff=True), f"/console/orders/{ring.held.number}")
        await expect(page.locator("#drawing")).to_be_hidden()
        await look("console-order")
        await page.locator("#things").get_by_role("link", name=ring.device[:12]).click()
        await expect(page.locator("h1")).to_have_text("Device")
        await expect(_row(page, ring.frauds[0])).to_contain_text("known fraud")
        await page.locator("#things").get_by_role("link", name=ring.held.number).click()
        await _decide(page, "Release", ring.held.number)
    assert (await find(shop, ring.held.number)).status == "paid"


async def test_the_keyboard_decides_and_cannot_do_so_by_one_stroke(shop: Shop, open_page: OpenPage) -> None:
    number = (await a_held_order(shop)).number
    async with open_page() as page:
        await _log_in(page, await an_account(shop, staff=True), f"/console/orders/{number}")
        await expect(page.locator("h1")).to_have_text(f"Order {number}")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.textContent") == "Skip to the page"
        await page.keyboard.press("Enter")
        for _ in range(20):
            await page.keyboard.press("Tab")
            if "Release" in await page.evaluate("document.activeElement.textContent"):
                break
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name=re.compile("Yes, release it"))).to_be_visible()
        assert (await find(shop, number)).status == "authorised"
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_contain_text(f"Order {number} was released by")


async def test_a_shopper_is_told_that_this_is_not_for_them(shop: Shop, open_page: OpenPage) -> None:
    async with open_page(expected=frozenset({403})) as page:
        await _log_in(page, await an_account(shop, staff=False))
        await expect(page.locator("h1")).to_have_text("This is not for you")
        await looker(page, DESKTOP)("console-refused")


@pytest.mark.skipif(
    not os.environ.get("SECURECART_KEEP_SCREENSHOTS"), reason="SECURECART_KEEP_SCREENSHOTS=1 renews the picture of docs/fraud.md"
)
async def test_the_docs_get_their_picture(shop: Shop, open_page: OpenPage) -> None:
    ring: Ring = await a_ring(shop)
    async with open_page() as page:
        await _log_in(page, await an_account(shop, staff=True), f"/console/orders/{ring.held.number}")
        await _drawn(page)
        await _choose(page, f"device:{ring.device}")
        await expect(page.locator("#walked")).to_contain_text("new around device")
        await page.mouse.move(1, 1)
        await page.evaluate(PLAIN)
        await page.locator("#drawing").screenshot(path=PICTURE)
    assert PICTURE.stat().st_size < PICTURE_BYTES_MAX
