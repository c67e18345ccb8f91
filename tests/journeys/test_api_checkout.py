"""Buying through the HTTP API: what each answer looks like, and that a refused request changes nothing."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest

from securecart.app import Shop
from tests.orders_for_tests import ADDRESS, a_product

Answer = tuple[int, dict[str, Any], Any]


class Client:
    """A program that shops: a bearer token and a way to ask."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self.headers: dict[str, str] = {}

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        sent = None if body is None else msgspec.json.encode(body)
        given = {**self.headers, **({"Content-Type": "application/json"} if sent else {}), **headers}
        async with self._session.request(method, self._url + path, data=sent, headers=given) as response:
            raw = await response.read()
            is_json = "json" in response.headers.get("Content-Type", "")
            return response.status, dict(response.headers), msgspec.json.decode(raw) if is_json and raw else raw.decode()

    async def begin(self) -> Client:
        _, _, session = await self.ask("POST", "/api/sessions")
        self.headers["Authorization"] = f"Bearer {session['token']}"
        return self

    async def put(self, sku: str, quantity: int) -> None:
        status, _, _ = await self.ask("PUT", "/api/cart", {"lines": [{"sku": sku, "quantity": quantity}]})
        assert status == 200

    async def buy(self, key: str | None = None, **changes: Any) -> Answer:
        body = {"email": "ada@example.com", "shipping_method": "pickup", "payment_token": "tok_visa", "shipping_address": ADDRESS}
        return await self.ask("POST", "/api/checkout", {**body, **changes}, **{"Idempotency-Key": key or secrets.token_hex(8)})


@pytest.fixture
async def client(shop_url: str, uncounted: dict[str, str]) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(headers=uncounted) as session:
        yield await Client(session, shop_url).begin()


def assert_problem(answer: Answer, status: int, code: str, field: str | None = None) -> None:
    given, headers, document = answer
    assert (given, document["status"], document["code"]) == (status, status, code), document
    assert headers["Content-Type"] == "application/problem+json"
    assert document["detail"]
    assert document.get("field") == field


async def test_a_paid_order_is_created_and_can_be_read_again(client: Client, shop: Shop) -> None:
    sku = await a_product(shop.database, price_minor=250)
    await client.put(sku, 2)
    status, headers, order = await client.buy()
    assert (status, order["status"], order["total"]) == (201, "paid", {"amount_minor": 500, "currency": "USD"})
    assert headers["Location"] == f"/api/orders/{order['number']}"
    assert (await client.ask("GET", headers["Location"]))[2] == order
    _, _, page = await client.ask("GET", "/api/orders")
    assert [(one["number"], one["items"]) for one in page["items"]] == [(order["number"], 2)]


async def test_a_declined_card_is_402_and_the_cart_stays(client: Client, shop: Shop) -> None:
    await client.put(await a_product(shop.database), 1)
    answer = await client.buy(payment_token="tok_insufficient_funds")
    assert_problem(answer, 402, "payment-declined", "payment_token")
    assert "insufficient funds" in answer[2]["detail"]
    assert len((await client.ask("GET", "/api/cart"))[2]["lines"]) == 1


async def test_an_unknown_outcome_is_202_and_the_key_asks_again(client: Client, shop: Shop) -> None:
    await client.put(await a_product(shop.database), 1)
    status, _, order = await client.buy("slow world", payment_token="tok_answer_lost")
    assert (status, order["status"]) == (202, "pending")
    again = await client.buy("slow world", payment_token="tok_answer_lost")
    assert (again[0], again[2]["number"]) == (202, order["number"])


async def test_a_bank_that_asks_is_202_with_what_the_browser_needs(client: Client, shop: Shop) -> None:
    await client.put(await a_product(shop.database), 1)
    status, headers, order = await client.buy(payment_token="tok_action_required")
    assert (status, order["status"], order["payment"]["action"]["type"]) == (202, "pending", "sandbox")
    look = f"{headers['Location']}/payment"
    assert (await client.ask("POST", look))[2] == order
    gateway = Client(client._session, shop.settings.gateway_url)
    gateway.headers["Authorization"] = f"Bearer {shop.settings.gateway_key}"
    await gateway.ask("POST", order["payment"]["action"]["approve"], {})
    for _ in range(2):
        status, _, paid = await client.ask("POST", look)
        assert (status, paid["status"], paid["payment"]["action"]) == (200, "paid", None)


async def test_a_notice_that_no_gateway_signed_is_400(client: Client) -> None:
    for headers in ({}, {"Stripe-Signature": "t=1,v1=00"}):
        assert_problem(await client.ask("POST", "/api/webhooks/stripe", {"id": "evt_1"}, **headers), 400, "bad-signature")
    too_much = await client.ask("POST", "/api/webhooks/stripe", {"padding": "x" * 300_000})
    assert_problem(too_much, 413, "request-entity-too-large")


async def test_too_little_stock_is_409_and_names_the_sku(client: Client, shop: Shop) -> None:
    sku = await a_product(shop.database, stock=1)
    await client.put(sku, 2)
    answer = await client.buy()
    assert_problem(answer, 409, "out-of-stock", "lines")
    assert answer[2]["shortages"] == [{"sku": sku, "wanted": 2, "available": 1}]
    assert (await client.ask("GET", "/api/orders"))[2]["items"] == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"email": "nobody"}, "email"),
        ({"shipping_method": "drone"}, "shipping_method"),
        ({"currency": "usd"}, "currency"),
        ({"shipping_address": {"name": "Ada"}}, "shipping_address"),
        ({"coupon": "FREE"}, "coupon"),
        ({"email": "nul\0@example.com"}, "email"),
        ({"shipping_address": {**msgspec.to_builtins(ADDRESS), "city": "\0"}}, "city"),
    ],
)
async def test_bad_input_names_its_field_and_orders_nothing(
    client: Client, shop: Shop, changes: dict[str, Any], field: str
) -> None:
    await client.put(await a_product(shop.database), 1)
    status, _, document = await client.buy(**changes)
    assert (status, document["code"]) == (422, "bad-input"), document
    assert field in f"{document.get('field')} {document['detail']}"
    assert (await client.ask("GET", "/api/orders"))[2]["items"] == []


async def test_spending_without_an_idempotency_key_is_refused(client: Client, shop: Shop) -> None:
    await client.put(await a_product(shop.database), 1)
    body = {"email": "a@b.de", "shipping_method": "pickup", "payment_token": "tok_visa", "shipping_address": ADDRESS}
    status, _, document = await client.ask("POST", "/api/checkout", body)
    assert status == 422
    assert "idempotency" in document["detail"].lower()


async def test_broken_json_and_unknown_paths_are_problems_too(client: Client) -> None:
    async with client._session.post(
        f"{client._url}/api/checkout",
        data=b"{",
        headers={**client.headers, "Content-Type": "application/json", "Idempotency-Key": "x"},
    ) as response:
        assert response.status in {400, 422}
        assert response.headers["Content-Type"] == "application/problem+json"
    for path in ("/api/nothing", "/api/nothing/here"):
        assert_problem(await client.ask("GET", path), 404, "not-found")
    assert (await client.ask("PUT", "/api/checkout", {}))[0] == 405


async def test_a_stranger_is_401_and_somebody_elses_order_404(client: Client, shop: Shop, shop_url: str) -> None:
    await client.put(await a_product(shop.database), 1)
    _, _, order = await client.buy()
    stranger = Client(client._session, shop_url)
    assert_problem(await stranger.ask("GET", f"/api/orders/{order['number']}"), 401, "unauthorized")
    stranger.headers["Authorization"] = "Bearer made-up"
    assert_problem(await stranger.ask("GET", "/api/orders"), 401, "unauthorized")
    await stranger.begin()
    assert (await stranger.ask("GET", f"/api/orders/{order['number']}"))[0] == 404
    assert (await stranger.ask("POST", f"/api/orders/{order['number']}/cancel", **{"Idempotency-Key": "x"}))[0] == 404


async def test_a_shopper_cancels_but_only_staff_refunds(client: Client, shop: Shop) -> None:
    await client.put(await a_product(shop.database, price_minor=700), 1)
    _, _, order = await client.buy()
    path = f"/api/orders/{order['number']}"
    refused = await client.ask("POST", f"{path}/refunds", {"reason": "because"}, **{"Idempotency-Key": "r"})
    assert_problem(refused, 403, "forbidden")
    status, _, cancelled = await client.ask("POST", f"{path}/cancel", **{"Idempotency-Key": "c"})
    assert (status, cancelled["status"], cancelled["refunded"]["amount_minor"]) == (200, "cancelled", 700)


async def become_staff(client: Client, shop: Shop) -> None:
    email = f"{secrets.token_hex(6)}@example.com"
    await client.ask("POST", "/api/accounts", {"email": email, "password": "correct horse", "name": "Grace"})
    async with shop.database.transaction() as tx:
        await tx.execute("UPDATE account SET staff = true WHERE lower(email) = $1", email)
    _, _, signed_in = await client.ask("POST", "/api/login", {"email": email, "password": "correct horse"})
    client.headers["Authorization"] = f"Bearer {signed_in['token']}"


async def test_only_staff_ship_and_what_is_shipped_is_not_cancelled(client: Client, shop: Shop) -> None:
    await client.put(await a_product(shop.database), 1)
    _, _, order = await client.buy()
    path = f"/api/orders/{order['number']}"
    assert_problem(await client.ask("POST", f"{path}/ship"), 403, "forbidden")
    await become_staff(client, shop)
    for _ in range(2):
        status, _, shipped = await client.ask("POST", f"{path}/ship")
        assert (status, shipped["status"], shipped["shipped_at"] is None) == (200, "paid", False)
    refused = await client.ask("POST", f"{path}/cancel", **{"Idempotency-Key": "c"})
    assert_problem(refused, 409, "order-state-conflict")
    assert_problem(await client.ask("POST", "/api/orders/SC-00000-00000/ship"), 404, "not-found")


async def test_a_cancelled_order_is_not_shipped(client: Client, shop: Shop) -> None:
    await client.put(await a_product(shop.database), 1)
    _, _, order = await client.buy()
    path = f"/api/orders/{order['number']}"
    await client.ask("POST", f"{path}/cancel", **{"Idempotency-Key": "c"})
    await become_staff(client, shop)
    assert_problem(await client.ask("POST", f"{path}/ship"), 409, "order-state-conflict")


async def test_staff_refund_in_part(client: Client, shop: Shop) -> None:
    await client.put(await a_product(shop.database, price_minor=700), 1)
    _, _, order = await client.buy()
    await become_staff(client, shop)
    path = f"/api/orders/{order['number']}/refunds"
    for _ in range(2):
        status, _, refunded = await client.ask("POST", path, {"reason": "dent", "amount_minor": 200}, **{"Idempotency-Key": "r"})
        assert (status, refunded["status"], refunded["refunded"]["amount_minor"]) == (200, "partially_refunded", 200)


async def test_a_quote_says_what_the_order_will_cost(client: Client, shop: Shop) -> None:
    await client.put(await a_product(shop.database, price_minor=2000, tax_class="standard"), 1)
    _, _, quote = await client.ask("POST", "/api/checkout/quote", {"country": "CA", "shipping_method": "standard"})
    amounts = {name: quote[name]["amount_minor"] for name in ("subtotal", "shipping", "tax", "total")}
    assert amounts == {"subtotal": 2000, "shipping": 499, "tax": 125, "total": 2624}
    address = {**msgspec.to_builtins(ADDRESS), "country": "CA"}
    _, _, order = await client.buy(shipping_address=address, shipping_method="standard", expected_total_minor=2624)
    assert order["total"]["amount_minor"] == 2624
    await client.put(order["lines"][0]["sku"], 1)
    changed = await client.buy(shipping_address=address, shipping_method="standard", expected_total_minor=1)
    assert_problem(changed, 409, "total-changed", "expected_total_minor")


async def test_orders_are_listed_page_by_page_newest_first(client: Client, shop: Shop) -> None:
    sku = await a_product(shop.database)
    numbers = []
    for _ in range(5):
        await client.put(sku, 1)
        numbers.append((await client.buy())[2]["number"])
    seen: list[str] = []
    path = "/api/orders?limit=2"
    while True:
        _, _, page = await client.ask("GET", path)
        seen += [one["number"] for one in page["items"]]
        if page["next"] is None:
            break
        path = f"/api/orders?limit=2&after={page['next']}"
    assert seen == numbers[::-1]
    assert_problem(await client.ask("GET", "/api/orders?after=made-up"), 422, "bad-input", "after")


async def test_the_rate_limit_answers_429_with_the_time_to_wait(shop_url: str) -> None:
    # from an address of its own, so that the other tests may go on logging in
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(local_addr=("127.0.0.3", 0))) as session:
        stranger = Client(session, shop_url)
        for _ in range(200):
            status, headers, document = await stranger.ask(
                "POST", "/api/login", {"email": "a@b.de", "password": "wrong password"}
            )
            if status == 429:
                break
            assert status == 401
        assert_problem((status, headers, document), 429, "too-many-requests")
        assert 1 <= int(headers["Retry-After"]) <= 60


async def test_the_doors_for_operators_answer(shop_url: str) -> None:
    async with aiohttp.ClientSession() as session:
        client = Client(session, shop_url)
        assert (await client.ask("GET", "/healthz"))[0] == 200
        assert (await client.ask("GET", "/readyz"))[2] == dict.fromkeys(("ready", "database", "carts", "cache", "graph"), True)
        assert "securecart_requests_total" in (await client.ask("GET", "/metrics"))[2]
        schema = (await client.ask("GET", "/api/openapi.json"))[2]
        assert {"/api/checkout", "/api/cart", "/api/products/{slug}"} <= set(schema["paths"])
        status, headers, page = await client.ask("GET", "/api/docs")
        assert status == 200
        assert "//" not in page.replace("<!doctype html>", "")
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert (await client.ask("GET", "/static/vendor/swagger-ui-bundle.js"))[0] == 200
