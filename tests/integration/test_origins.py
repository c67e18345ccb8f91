"""Where a wish to buy comes from, through the HTTP door: the device's secret, the network, the country."""

from __future__ import annotations

import re
import secrets
from typing import Any

import aiohttp
import msgspec
import pytest
from litestar import Response
from litestar.testing import RequestFactory

from securecart import fraud
from securecart.app import Shop
from securecart.fraud import Origin
from securecart.values import Line
from securecart.web.origins import DEVICE_COOKIE, keep_device, origin_of
from tests.orders_for_tests import a_product, a_wish

DEVICE = "a-device-of-the-test-0123"


def seen(shop: Shop, cookies: str = "", country_header: str = "", **headers: str) -> Origin:
    """What a request with these headers comes from, in a shop with this setting."""
    settings = msgspec.structs.replace(shop.settings, country_header=country_header)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = RequestFactory().get("/", headers={**named, **({"Cookie": cookies} if cookies else {})})
    return origin_of(request, msgspec.structs.replace(shop, settings=settings))


def test_a_programs_device_is_known_by_its_digest(shop: Shop) -> None:
    assert seen(shop, X_Device_Id=DEVICE) == Origin(fraud.digest_of(DEVICE), None, None)
    assert seen(shop).device is None
    assert seen(shop, f"{DEVICE_COOKIE}={DEVICE}").device == fraud.digest_of(DEVICE)
    for forged in ("short", "x" * 201):
        assert seen(shop, f"{DEVICE_COOKIE}={forged}").device is None


def test_a_country_is_believed_only_from_the_header_that_the_shop_names(shop: Shop) -> None:
    name = "CloudFront-Viewer-Country"
    assert seen(shop, CloudFront_Viewer_Country="de").country is None
    assert seen(shop, country_header=name, CloudFront_Viewer_Country="de").country == "DE"
    for nonsense in ("Germany", "XX", "T1"):
        assert seen(shop, country_header=name, CloudFront_Viewer_Country=nonsense).country is None
    assert seen(shop, country_header=name).country is None


def test_a_kept_device_is_secret_from_scripts_and_is_kept_once(shop: Shop) -> None:
    (cookie,) = keep_device(RequestFactory().get("/"), shop, Response("page")).cookies
    assert (cookie.key, cookie.httponly, cookie.samesite) == (DEVICE_COOKIE, True, "lax")
    assert cookie.secure == shop.settings.web_url.startswith("https:")
    again = RequestFactory().get("/", headers={"Cookie": f"{DEVICE_COOKIE}={cookie.value}"})
    assert keep_device(again, shop, Response("page")).cookies == []
    https = msgspec.structs.replace(shop, settings=msgspec.structs.replace(shop.settings, web_url="https://shop.test"))
    (secure,) = keep_device(RequestFactory().get("/"), https, Response("page")).cookies
    assert secure.secure


async def bought(shop: Shop, shop_url: str, headers: dict[str, str]) -> tuple[int, Any]:
    sku = await a_product(shop.database, price_minor=500, stock=10)
    async with aiohttp.ClientSession(shop_url, headers=headers) as http:
        async with http.post("/api/sessions") as answer:
            bearer = {"Authorization": f"Bearer {(await answer.json())['token']}"}
        async with http.put("/api/cart", json={"lines": [msgspec.to_builtins(Line(sku, 1))]}, headers=bearer) as answer:
            assert answer.status == 200
        once = {**bearer, "Idempotency-Key": secrets.token_hex(8)}
        async with http.post("/api/checkout", json=msgspec.to_builtins(a_wish()), headers=once) as answer:
            return answer.status, await answer.json()


async def test_an_order_keeps_where_it_came_from(shop: Shop, shop_url: str, uncounted: dict[str, str]) -> None:
    status, order = await bought(shop, shop_url, {**uncounted, "X-Device-Id": DEVICE, "X-Forwarded-For": "203.0.113.77"})
    assert status == 201
    async with shop.database.read() as read:
        kept = await fraud.risk_of(read, order["number"])
    assert (kept.device, kept.network) == (fraud.digest_of(DEVICE), "203.0.113.0/24")


@pytest.mark.parametrize("device", ["too-short", "x" * 201, "a device with spaces in it"])
async def test_a_device_that_cannot_be_one_is_refused_by_name(
    shop: Shop, shop_url: str, uncounted: dict[str, str], device: str
) -> None:
    status, problem = await bought(shop, shop_url, {**uncounted, "X-Device-Id": device})
    assert (status, problem["field"]) == (422, "X-Device-Id")


async def test_a_browser_keeps_its_device_from_the_checkout_on(shop: Shop, shop_url: str, uncounted: dict[str, str]) -> None:
    sku = await a_product(shop.database, price_minor=500, stock=10)
    async with aiohttp.ClientSession(shop_url, headers=uncounted, cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        async with http.get("/login") as answer:
            page = await answer.text()
        token = re.search(r'name="csrf_token" value="([^"]+)"', page)
        assert token is not None
        form = {"sku": sku, "quantity": "1", "csrf_token": token[1]}
        async with http.post("/cart/add", data=form) as answer:
            assert answer.status < 400, await answer.text()
        assert DEVICE_COOKIE not in cookies_of(http)
        kept = ""
        for _ in range(2):
            async with http.get("/checkout") as answer:
                assert answer.status == 200
            kept = kept or cookies_of(http)[DEVICE_COOKIE]
            assert len(kept) >= 32
        assert cookies_of(http)[DEVICE_COOKIE] == kept


def cookies_of(http: aiohttp.ClientSession) -> dict[str, str]:
    return {cookie.key: cookie.value for cookie in http.cookie_jar}
