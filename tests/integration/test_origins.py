"""Where a wish to buy comes from, through the HTTP door: the device's secret, the network, the country."""

from __future__ import annotations

import re
import secrets
from typing import Any

import aiohttp
import msgspec
import pytest
from litestar import Litestar, Response, get
from litestar.testing import TestClient

from securecart import fraud
from securecart.app import Shop
from securecart.fraud import Origin
from securecart.values import Line
from securecart.web.origins import DEVICE_COOKIE, keep_device, origin_of
from securecart.web.shoppers import AnyRequest
from tests.orders_for_tests import a_product, a_wish

DEVICE = "a-device-of-the-test-0123"


def a_client(shop: Shop, **settings: Any) -> TestClient[Litestar]:
    """A door that answers with the origin it saw."""
    chosen = msgspec.structs.replace(shop, settings=msgspec.structs.replace(shop.settings, **settings))

    @get("/seen", sync_to_thread=False)
    def seen(request: AnyRequest) -> Origin:
        return origin_of(request, chosen)

    return TestClient(Litestar([seen]))


def test_a_programs_device_is_known_by_its_digest(shop: Shop) -> None:
    with a_client(shop) as client:
        told = client.get("/seen", headers={"X-Device-Id": DEVICE}).json()
        assert told == {"device": fraud.digest_of(DEVICE), "network": None, "country": None}
        assert client.get("/seen").json()["device"] is None
        assert client.get("/seen", headers={"Cookie": f"{DEVICE_COOKIE}={DEVICE}"}).json()["device"] == fraud.digest_of(DEVICE)
        for forged in ("short", "x" * 201):
            assert client.get("/seen", headers={"Cookie": f"{DEVICE_COOKIE}={forged}"}).json()["device"] is None


def test_a_country_is_believed_only_from_the_header_that_the_shop_names(shop: Shop) -> None:
    header = {"CloudFront-Viewer-Country": "de"}
    with a_client(shop) as client:
        assert client.get("/seen", headers=header).json()["country"] is None
    with a_client(shop, country_header="CloudFront-Viewer-Country") as client:
        assert client.get("/seen", headers=header).json()["country"] == "DE"
        for nonsense in ("Germany", "XX", "T1"):
            assert client.get("/seen", headers={"CloudFront-Viewer-Country": nonsense}).json()["country"] is None
        assert client.get("/seen").json()["country"] is None


async def bought(shop: Shop, shop_url: str, headers: dict[str, str]) -> tuple[int, Any]:
    sku = await a_product(shop.database, price_minor=500, stock=10)
    async with aiohttp.ClientSession(shop_url, headers=headers) as http:
        async with http.post("/api/sessions") as answer:
            bearer = {"Authorization": f"Bearer {(await answer.json())['token']}"}
        await http.put("/api/cart", json={"lines": [msgspec.to_builtins(Line(sku, 1))]}, headers=bearer)
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
        await http.get("/checkout")
        kept = cookies_of(http)[DEVICE_COOKIE]
        assert len(kept) >= 32
        await http.get("/checkout")
        assert cookies_of(http)[DEVICE_COOKIE] == kept


def cookies_of(http: aiohttp.ClientSession) -> dict[str, str]:
    return {cookie.key: cookie.value for cookie in http.cookie_jar}


def test_a_kept_device_is_secret_from_scripts(shop: Shop) -> None:
    @get("/page", sync_to_thread=False)
    def page(request: AnyRequest) -> Response[str]:
        return keep_device(request, shop, Response("page"))

    with TestClient(Litestar([page])) as client:
        set_cookie = client.get("/page").headers["set-cookie"]
        assert "HttpOnly" in set_cookie
        assert "samesite=lax" in set_cookie.lower()
        again = client.get("/page", headers={"Cookie": f"{DEVICE_COOKIE}={DEVICE}"})
        assert "set-cookie" not in again.headers
