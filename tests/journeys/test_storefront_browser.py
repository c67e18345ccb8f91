"""People in the shop: a real browser walks from the home page to a paid order, with scripts and without.

Every page that is visited must fit its window, be usable by keyboard and screen reader, have contrast, and cause
no error in the browser. Pictures of what was seen are written to artifacts/screenshots; with
SECURECART_KEEP_SCREENSHOTS=1 the README's picture is renewed as well.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
from http import HTTPStatus
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Browser, Page, expect

from securecart import checkout, inventory
from securecart.app import Shop
from securecart.inventory import Receipt
from tests.browsing import ALL_PICTURES, DESKTOP, PHONE, OpenPage, looker
from tests.shelves import SHELVES, stock_shelves

ROOT = Path(__file__).parents[2]
README_PICTURE = ROOT / "docs" / "images" / "storefront.png"
README_PICTURE_BYTES_MAX = 400_000

pytestmark = pytest.mark.usefixtures("shelves")


@pytest.fixture(scope="session")
async def shelves(shop: Shop) -> None:
    await stock_shelves(shop)


# A purchase -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "scripts"), [(DESKTOP, True), (PHONE, True), (DESKTOP, False), (PHONE, False)])
async def test_a_guest_buys_something(open_page: OpenPage, size: tuple[int, int], scripts: bool) -> None:  # noqa: FBT001
    async with open_page(size, scripts=scripts) as page:
        look = looker(page, size, kind="" if scripts else "no-script")
        await page.goto("/")
        await look("home")
        await page.get_by_label("Search the shop").fill("hearthside sourdough")
        await page.get_by_label("Search the shop").press("Enter")
        await expect(page.locator("h1")).to_have_text("Results for “hearthside sourdough”")
        await page.get_by_role("link", name="Sourdough Loaf").click()
        await page.get_by_label("Breadcrumb").get_by_role("link", name="Bakery").click()
        await expect(page.locator("h1")).to_have_text("Bakery")
        await look("list")
        await page.goto(f"/p/{SHELVES['Sourdough Loaf'][1]}")
        await expect(page.get_by_text("In stock")).to_be_visible()
        await look("product")
        await _add_to_cart(page, scripts=scripts)
        await _change_quantity(page, "3", scripts=scripts)
        await expect(page.locator(".lines .price")).to_have_text("$13.47")
        await look("cart")
        await page.get_by_role("link", name="Check out").click()
        await _fill_in(page)
        await look("checkout")
        await _choose_pickup(page, scripts=scripts)
        await page.get_by_role("button", name="Pay $13.47").click()
        await expect(page.locator("h1")).to_have_text("Thank you, your order is placed")
        await expect(page.locator(".totals .grand").last).to_have_text("$13.47")
        await expect(page.get_by_text("ending in")).to_be_visible()
        await look("confirmation")
        await page.goto("/cart")
        await expect(page.get_by_text("Nothing in it yet")).to_be_visible()
        await look("empty-cart")


async def test_a_declined_card_can_be_corrected_and_nothing_typed_is_lost(open_page: OpenPage) -> None:
    async with open_page(expected=frozenset({402})) as page:
        await _hold(page, "Cola Soft Drink")
        await page.goto("/checkout")
        await _fill_in(page)
        await page.get_by_label("Visa ending in 0002").check()
        await page.get_by_role("button", name="Pay").click()
        await expect(page.locator("#payment_token-note")).to_contain_text("nothing was charged")
        await expect(page.get_by_label("E-mail address")).to_have_value("grace@example.com")
        await expect(page.get_by_label("Street and number")).to_have_value("12 Harbour Road")
        await looker(page, DESKTOP)("declined")
        await page.get_by_label("Mastercard ending in 4444").check()
        await page.get_by_role("button", name="Pay").click()
        await expect(page.locator("h1")).to_have_text("Thank you, your order is placed")


async def test_a_form_that_is_not_complete_says_so_beside_each_field(open_page: OpenPage) -> None:
    async with open_page(PHONE, expected=frozenset({422})) as page:
        await _hold(page, "Cola Soft Drink")
        await page.goto("/checkout")
        await page.get_by_label("E-mail address").fill("grace@nowhere")
        await page.get_by_label("Full name").fill("Grace")
        await page.get_by_role("button", name="Pay").click()
        for field in ("email", "line1", "postcode", "city"):
            box = page.locator(f"#{field}")
            await expect(box).to_have_attribute("aria-invalid", "true")
            await expect(page.locator(f"#{await box.get_attribute('aria-describedby')}")).to_be_visible()
        await expect(page.get_by_label("Full name")).to_have_value("Grace")
        await expect(page.get_by_label("Full name")).not_to_have_attribute("aria-invalid", "true")
        await expect(page.locator("[data-errors]")).to_be_focused()
        await looker(page, PHONE)("form-errors")


async def test_another_country_changes_the_tax_and_keeps_what_was_typed(open_page: OpenPage) -> None:
    async with open_page() as page:
        await _hold(page, "Cola Soft Drink")
        await page.goto("/checkout")
        await page.get_by_label("Full name").fill("Grace Hopper")
        await expect(page.locator("#priced dt").filter(has_text="Tax")).to_have_text("Tax")
        await page.get_by_label("Country").select_option("GB")
        await expect(page.locator("#priced dt").filter(has_text="Tax")).to_have_text("Tax, included")
        await expect(page.get_by_label("Full name")).to_have_value("Grace Hopper")


async def test_what_ran_out_meanwhile_is_said_before_anything_is_charged(open_page: OpenPage, shop: Shop) -> None:
    sku, slug = SHELVES["Last Box of Chocolates"]
    async with shop.database.transaction() as tx:
        await inventory.receive(tx, [Receipt(sku, 1)])
    async with open_page() as page, open_page() as rival:
        for shopper in (page, rival):
            await shopper.goto(f"/p/{slug}")
            await shopper.get_by_role("button", name="Add to cart").click()
            await expect(shopper.locator("#toast")).to_contain_text("Added to your cart")
            await shopper.goto("/checkout")
            await _fill_in(shopper)
        await rival.get_by_role("button", name="Pay").click()
        await expect(rival.locator("h1")).to_have_text("Thank you, your order is placed")
        await page.get_by_role("button", name="Pay").click()
        await expect(page.get_by_role("alert")).to_contain_text("Nothing was ordered or charged")
        await expect(page.get_by_text("Sold out. Take it out to check out.")).to_be_visible()
        await page.goto(f"/p/{slug}")
        await expect(page.get_by_text("Sold out", exact=True).first).to_be_visible()


async def test_an_order_whose_answer_got_lost_is_followed_up_on_its_page(open_page: OpenPage, shop: Shop) -> None:
    async with open_page() as page:
        await _hold(page, "Cola Soft Drink")
        await page.goto("/checkout")
        await _fill_in(page)
        await page.get_by_label("Visa ending in 0127").check()
        await page.get_by_role("button", name="Pay").click()
        await expect(page.locator("h1")).to_have_text("We are confirming your payment")
        await looker(page, DESKTOP)("pending")
        address = page.url
        await page.goto("/checkout")
        assert page.url == address.removesuffix("?placed=1"), "the same cart is not bought a second time"
        await page.goto(address)
        number = address.partition("/orders/")[2].partition("?")[0]
        async with shop.database.transaction() as tx:
            await tx.execute("UPDATE orders SET pending_until = now() - interval '1 second' WHERE number = $1", number)
        await checkout.sweep(shop.till)
        await expect(page.locator("h1")).to_have_text("Thank you, your order is placed")


async def test_a_form_sent_twice_is_one_order(open_page: OpenPage) -> None:
    async with open_page(scripts=False) as page, open_page(scripts=False) as again:
        await page.goto(f"/p/{SHELVES['Cola Soft Drink'][1]}")
        await page.get_by_role("button", name="Add to cart").click()
        await again.context.add_cookies(await page.context.cookies())  # type: ignore[arg-type]
        for window in (page, again):
            await window.goto("/checkout")
            await _fill_in(window)
        for window in (page, again):
            await window.get_by_role("button", name="Pay").click()
            await expect(window.locator("h1")).to_have_text("Thank you, your order is placed")
        assert page.url == again.url


async def test_an_order_can_be_cancelled_by_its_buyer(open_page: OpenPage) -> None:
    async with open_page(PHONE) as page:
        await _hold(page, "Cola Soft Drink")
        await page.goto("/checkout")
        await _fill_in(page)
        await page.get_by_role("button", name="Pay").click()
        await page.get_by_role("button", name="Cancel this order").click()
        await expect(page.locator(".status")).to_have_text(re.compile("Cancelled|Refunded"))
        await looker(page, PHONE)("cancelled")


# Accounts -------------------------------------------------------------------------------------------------------


async def test_registering_and_logging_in_keep_the_cart_and_list_the_orders(open_page: OpenPage) -> None:
    email, password = f"grace-{secrets.token_hex(4)}@example.com", "correct horse battery"
    async with open_page() as page:
        await _hold(page, "Sourdough Loaf")
        await page.goto("/register")
        await page.get_by_label("Your name").fill("Grace Hopper")
        await page.get_by_label("E-mail address").fill(email)
        await page.get_by_label("Password").fill(password)
        await page.get_by_role("button", name="Make the account").click()
        await expect(page.locator("h1")).to_have_text("Hello, Grace Hopper")
        await expect(page.locator("#cart-count")).to_contain_text("1")
        await page.get_by_role("button", name="Log out").click()
        await expect(page.locator("#cart-count")).to_be_empty()
        await _hold(page, "Cola Soft Drink")
        await page.goto("/login?next=/cart")
        await page.get_by_label("E-mail address").fill(email)
        await page.get_by_label("Password").fill(password)
        await page.get_by_role("button", name="Log in").click()
        await expect(page.locator(".lines > li")).to_have_count(2)
        await page.get_by_role("link", name="Check out").click()
        await expect(page.get_by_label("E-mail address")).to_have_value(email)
        await _fill_in(page)
        await page.get_by_role("button", name="Pay").click()
        await expect(page.locator("h1")).to_have_text("Thank you, your order is placed")
        await page.goto("/account")
        await expect(page.get_by_role("link", name=re.compile("Order SC-"))).to_have_count(1)
        await expect(page.get_by_text("12 Harbour Road")).to_be_visible()
        await looker(page, DESKTOP)("account")


async def test_a_wrong_password_and_a_taken_address_are_explained(open_page: OpenPage) -> None:
    email = f"grace-{secrets.token_hex(4)}@example.com"
    async with open_page(expected=frozenset({401, 409, 422})) as page:
        for password, expected in (("short", "10 to 128 characters"), ("correct horse battery", "Hello")):
            await page.goto("/register")
            await page.get_by_label("Your name").fill("Grace")
            await page.get_by_label("E-mail address").fill(email)
            await page.get_by_label("Password").fill(password)
            await page.get_by_role("button", name="Make the account").click()
            await expect(page.locator("main")).to_contain_text(expected)
        await page.get_by_role("button", name="Log out").click()
        await page.goto("/register")
        await page.get_by_label("Your name").fill("Grace")
        await page.get_by_label("E-mail address").fill(email.upper())
        await page.get_by_label("Password").fill("correct horse battery")
        await page.get_by_role("button", name="Make the account").click()
        await expect(page.locator("#email-note")).to_contain_text("exists already")
        await page.goto("/login")
        await page.get_by_label("E-mail address").fill(email)
        await page.get_by_label("Password").fill("wrong horse battery")
        await page.get_by_role("button", name="Log in").click()
        await expect(page.get_by_role("alert")).to_be_visible()
        await looker(page, DESKTOP)("login-refused")


async def test_somebody_elses_order_looks_like_none(open_page: OpenPage) -> None:
    async with open_page() as buyer:
        await _hold(buyer, "Cola Soft Drink")
        await buyer.goto("/checkout")
        await _fill_in(buyer)
        await buyer.get_by_role("button", name="Pay").click()
        await expect(buyer.locator("h1")).to_have_text("Thank you, your order is placed")
        address = buyer.url
    async with open_page(expected=frozenset({404})) as stranger:
        await stranger.goto(address)
        await expect(stranger.locator("h1")).to_have_text("Log in")
        await _hold(stranger, "Cola Soft Drink")
        await stranger.goto(address)
        await expect(stranger.locator("h1")).to_have_text("This page is not here")
        await looker(stranger, DESKTOP)("not-found")


# Looking around -------------------------------------------------------------------------------------------------


async def test_search_suggests_corrects_narrows_and_says_when_there_is_nothing(open_page: OpenPage) -> None:
    async with open_page() as page:
        await page.goto("/")
        await page.get_by_label("Search the shop").press_sequentially("hearthside sourdough", delay=15)
        await expect(page.locator("#suggestions a").first).to_contain_text("Sourdough Loaf")
        await page.keyboard.press("Escape")
        await expect(page.locator("#suggestions")).to_be_empty()
        await page.goto("/search?q=hearthside+sourdoguh")
        await expect(page.get_by_role("link", name="Sourdough Loaf")).to_be_visible()
        await looker(page, DESKTOP)("search-corrected")
        await page.goto("/search?q=zzqqxxvv")
        await expect(page.get_by_text("Nothing found")).to_be_visible()
        await looker(page, DESKTOP)("search-nothing")


async def test_facets_narrow_a_list_and_can_be_taken_away_again(open_page: OpenPage) -> None:
    async with open_page(scripts=False) as page:
        await page.goto("/c/grocery_soft-drinks")
        every = await page.locator(".card").count()
        await page.get_by_role("link", name=re.compile("^2 litre")).click()
        await expect(page.locator(".chips")).to_contain_text("2 litre")
        assert 0 < await page.locator(".card").count() < every
        await page.get_by_role("link", name="Clear all").click()
        assert await page.locator(".card").count() == every


async def test_a_long_list_goes_on_with_the_next_page_and_sorting_holds(open_page: OpenPage) -> None:
    async with open_page() as page:
        await page.goto("/c/grocery")
        await page.get_by_label("Sort by").select_option("price_asc")
        await page.wait_for_url(re.compile("sort=price_asc"))
        first = await _prices(page)
        await page.get_by_role("link", name="Next page").click()
        await expect(page.get_by_role("link", name="First page")).to_be_visible()
        assert first + await _prices(page) == sorted(first + await _prices(page))


async def test_the_keyboard_reaches_the_cart_in_a_sensible_order(open_page: OpenPage) -> None:
    _, slug = SHELVES["Sourdough Loaf"]
    async with open_page() as page:
        await page.goto(f"/p/{slug}")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.textContent") == "Skip to the page"
        await page.keyboard.press("Enter")
        passed = []
        for _ in range(12):
            await page.keyboard.press("Tab")
            passed.append(await page.evaluate("document.activeElement.textContent.trim() || document.activeElement.id"))
            if passed[-1] == "Add to cart":
                break
        assert passed[-2:] == ["quantity", "Add to cart"]
        await page.keyboard.press("Enter")
        await expect(page.locator("#toast")).to_contain_text("Added to your cart")
        await expect(page.locator("#cart-count")).to_contain_text("1")


# At the door ----------------------------------------------------------------------------------------------------


async def test_a_form_sent_by_another_site_is_refused(shop_url: str) -> None:
    sku, _ = SHELVES["Cola Soft Drink"]
    form = {"sku": sku, "quantity": "1"}
    async with aiohttp.ClientSession(shop_url, cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
        for claim in (
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": "https://elsewhere.example"},
            {},
        ):
            async with client.post("/cart/add", data=form, headers=claim) as answer:
                assert (answer.status, "cookie" in str(answer.headers).lower().replace("vary', 'cookie", "")) == (
                    HTTPStatus.FORBIDDEN,
                    False,
                )
        async with client.post("/cart/add", data=form, headers={"Sec-Fetch-Site": "same-origin"}) as answer:
            assert answer.status == HTTPStatus.OK
            assert "Cola Soft Drink" in await answer.text()
        async with client.post("/checkout", data={"email": "x"}, headers={"Sec-Fetch-Site": "same-origin"}) as answer:
            assert answer.status == HTTPStatus.FORBIDDEN


async def test_programs_get_problems_where_people_get_pages(shop_url: str) -> None:
    async with aiohttp.ClientSession(shop_url) as client:
        async with client.get("/no/such/page") as page:
            assert (page.status, page.content_type) == (HTTPStatus.NOT_FOUND, "text/html")
            assert (
                "script-src" in page.headers["content-security-policy"]
                or "default-src 'self'" in page.headers["content-security-policy"]
            )
        async with client.get("/api/no/such/thing") as problem:
            assert (problem.status, problem.content_type) == (HTTPStatus.NOT_FOUND, "application/problem+json")


async def test_what_pages_embed_is_kept_by_browsers(shop_url: str) -> None:
    async with aiohttp.ClientSession(shop_url) as client:
        async with client.get("/") as page:
            style = re.search(r'href="(/static/shop\.css\?v=\w+)"', await page.text())
            assert style is not None
        for address in (style[1], "/picture/bakery/sourdough-loaf.svg"):
            async with client.get(address) as kept:
                assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"
        async with client.get("/static/no-such.css") as missing:
            assert missing.status == HTTPStatus.NOT_FOUND


@pytest.mark.skipif(
    not os.environ.get("SECURECART_KEEP_SCREENSHOTS"), reason="SECURECART_KEEP_SCREENSHOTS=1 renews the README's picture"
)
async def test_the_readme_gets_its_picture(open_page: OpenPage, browser: Browser) -> None:
    shots = []
    for size, path in ((DESKTOP, "/c/grocery"), (PHONE, f"/p/{SHELVES['Sourdough Loaf'][1]}")):
        async with open_page(size) as page:
            await page.goto(path)
            await page.evaluate(ALL_PICTURES)
            shots.append(base64.b64encode(await page.screenshot()).decode())
    poster = Path(__file__).with_name("poster.html").read_text(encoding="utf-8")
    page = await browser.new_page(viewport={"width": 1500, "height": 930})
    await page.set_content(poster.replace("DESKTOP", shots[0]).replace("PHONE", shots[1]))
    README_PICTURE.parent.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=README_PICTURE)
    await page.close()
    assert README_PICTURE.stat().st_size < README_PICTURE_BYTES_MAX


# Steps ----------------------------------------------------------------------------------------------------------


async def _hold(page: Page, title: str) -> None:
    """Put one of this product into the cart, from its page."""
    _, slug = SHELVES[title]
    await page.goto(f"/p/{slug}")
    await page.get_by_role("button", name="Add to cart").click()
    await expect(page.locator("#toast")).to_contain_text("Added to your cart")


async def _add_to_cart(page: Page, *, scripts: bool) -> None:
    await page.get_by_role("button", name="Add to cart").click()
    if scripts:
        await expect(page.locator("#toast")).to_contain_text("Added to your cart")
        await expect(page.locator("#cart-count")).to_contain_text("1")
        assert "/p/" in page.url
        await page.get_by_role("link", name="View cart").click()
    await page.wait_for_url("**/cart")
    await expect(page.locator("h1")).to_have_text("Your cart")


async def _change_quantity(page: Page, quantity: str, *, scripts: bool) -> None:
    box = page.get_by_label("Quantity")
    await box.fill(quantity)
    if scripts:
        await box.press("Tab")
    else:
        await page.get_by_role("button", name="Update").click()
    await expect(page.locator("#cart-count")).to_contain_text(quantity)


async def _choose_pickup(page: Page, *, scripts: bool) -> None:
    await page.get_by_label("Pick up in store").check()
    if not scripts:
        await page.get_by_role("button", name="Work out the total again").click()
        await expect(page.get_by_label("Street and number")).to_have_value("12 Harbour Road")


async def _fill_in(page: Page) -> None:
    await page.get_by_label("E-mail address").fill("grace@example.com")
    await page.get_by_label("Full name").fill("Grace Hopper")
    await page.get_by_label("Street and number").fill("12 Harbour Road")
    await page.get_by_label("Postcode").fill("02110")
    await page.get_by_label("Town or city").fill("Boston")
    await page.get_by_label("Country").select_option("US")


async def _prices(page: Page) -> list[float]:
    return [float(text.strip("$")) for text in await page.locator(".card .price").all_inner_texts()]
