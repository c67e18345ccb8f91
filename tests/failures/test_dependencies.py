"""What shoppers meet while the cache or DynamoDB is away, dead or frozen, with the real engines, and that all comes back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psutil
import pytest

from securecart import accounts, carts, sessions
from securecart.app import Shop, open_shop
from securecart.drills import own_shop
from securecart.engines import Home
from securecart.patience import CACHE, DYNAMODB
from securecart.sessions import Session
from securecart.web.shoppers import COOKIE
from tests.orders_for_tests import ADDRESS, a_product

DEADLINE_S = 60.0
SLACK_S = 2.5  # a machine with other work
BUSY = {"Content-Type": "application/json"}


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    text: str
    waited_s: float

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Scene:
    """A whole shop with a supervisor, seen by a shopper with an account (cookie or bearer) and by somebody without a session."""

    shop: Shop
    home: Home
    http: aiohttp.ClientSession
    sku: str
    shopper: Session

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.shopper.token}"}

    @property
    def cookie(self) -> dict[str, str]:
        return {"Cookie": f"{COOKIE}={self.shopper.token}"}

    async def ask(self, method: str, path: str, headers: dict[str, str] | None = None, body: Any = None) -> Answer:
        began = time.monotonic()
        data = None if body is None else json.dumps(body)
        headers = {**(BUSY if body is not None else {}), **(headers or {})}
        async with self.http.request(method, path, headers=headers, data=data, allow_redirects=False) as answer:
            return Answer(answer.status, dict(answer.headers), await answer.text(), time.monotonic() - began)

    async def fill_cart(self, quantity: int = 1) -> None:
        lines = [{"sku": self.sku, "quantity": quantity}]
        answer = await self.ask("PUT", "/api/cart", self.bearer, {"lines": lines})
        assert answer.status == HTTPStatus.OK, answer.text

    async def check_out(self, key: str, token: str = "tok_visa") -> Answer:
        wish = {
            "email": "ada@example.com",
            "shipping_address": {name: getattr(ADDRESS, name) for name in ("name", "line1", "postcode", "city", "country")},
            "shipping_method": "pickup",
            "payment_token": token,
        }
        return await self.ask("POST", "/api/checkout", {**self.bearer, "Idempotency-Key": key}, wish)

    def pid(self, label: str) -> int:
        state = self.home.state()
        assert state is not None
        return next((engine.pid for engine in state.engines if engine.name == label), 0)

    @contextlib.asynccontextmanager
    async def away(self, label: str) -> AsyncIterator[None]:
        """The engine is dead as long as the block runs, then comes back."""
        self.home.hold(label)
        pid = self.pid(label)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not self.pid(label), f"{label} is gone")
        try:
            yield
        finally:
            self.home.release(label)
            await until(lambda: self.pid(label) not in {0, pid}, f"{label} is started again")

    @contextlib.asynccontextmanager
    async def frozen(self, label: str) -> AsyncIterator[None]:
        process = psutil.Process(self.pid(label))
        process.suspend()
        try:
            yield
        finally:
            process.resume()

    async def counted(self, metric: str) -> float:
        text = (await self.ask("GET", "/metrics")).text
        return sum(float(found) for found in re.findall(rf"^{re.escape(metric)} (\S+)$", text, re.MULTILINE))


async def all_is_well(scene: Scene) -> None:
    """No process leaves any store alone any more."""
    stores = (CACHE.name, DYNAMODB.name)
    deadline = time.monotonic() + DEADLINE_S
    while sum([await scene.counted(f'securecart_breaker_open{{store="{store}"}}') for store in stores]):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not after {DEADLINE_S} s"
        await asyncio.sleep(0.05)


async def carts_are_back(scene: Scene) -> float:
    """The seconds until every web process shows the cart, asked over many connections."""
    began = time.monotonic()
    in_a_row = 0
    while in_a_row < 20:
        answer = await scene.ask("GET", "/api/cart", {**scene.bearer, "Connection": "close"})
        in_a_row = in_a_row + 1 if answer.status == HTTPStatus.OK else 0
        assert time.monotonic() < began + DEADLINE_S, f"carts are not back: {answer}"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


@pytest.fixture(scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    folder: Path = tmp_path_factory.mktemp("dependencies") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECURECART_GATEWAY_TIMEOUT_S", "20")
        patch.setenv("SECURECART_RATE_LIMITS", "false")
        async with own_shop(folder, lambda _: None) as loaded, open_shop(loaded) as shop:
            sku = await a_product(shop.database, stock=100_000)
            hashed = await accounts.hash_password("a long password")
            async with shop.database.transaction() as tx:
                account = await accounts.register(tx, email="ada@example.com", password_hash=hashed, name="Ada")
            shopper = await sessions.start_for(
                shop.dynamodb, account_id=account.id, email=account.email, name=account.name, staff=False, days=30
            )
            async with aiohttp.ClientSession(loaded.web_url, cookie_jar=aiohttp.DummyCookieJar()) as http:
                made = Scene(shop, Home(loaded.home_path), http, sku, shopper)
                await made.fill_cart()
                assert (await made.check_out("first order")).status == HTTPStatus.CREATED
                yield made


async def test_without_a_cache_every_page_is_served_and_everything_is_bought(scene: Scene) -> None:
    pages = ["/", "/search?q=thing", "/search?sort=newest", f"/p/{scene.sku.lower()}", "/cart", "/account/orders", "/account"]
    calls = ["/api/products", f"/api/products/{scene.sku.lower()}", "/api/cart", "/api/orders", "/api/categories"]
    everything = [(path, scene.cookie) for path in pages] + [(path, scene.bearer) for path in calls]

    async def all_served() -> float:
        answers = await asyncio.gather(*(scene.ask("GET", path, headers) for path, headers in everything))
        assert [
            (path, one.status) for (path, _), one in zip(everything, answers, strict=True) if one.status != HTTPStatus.OK
        ] == []
        return max(one.waited_s for one in answers)

    await all_served()
    async with scene.away("valkey"):
        for round_number in range(5):
            assert await all_served() < CACHE.answer_s + SLACK_S
            await scene.fill_cart()
            assert (await scene.check_out(f"without cache {round_number}")).status == HTTPStatus.CREATED
        assert not await scene.shop.cache.answers()
    await all_served()


async def test_a_frozen_cache_costs_one_time_out(scene: Scene) -> None:
    path = f"/p/{scene.sku.lower()}"
    async with scene.frozen("valkey"):
        waited = [(await scene.ask("GET", path, {**scene.cookie, "Connection": "close"})) for _ in range(30)]
        assert [one.status for one in waited] == [HTTPStatus.OK] * 30
        assert max(one.waited_s for one in waited) < CACHE.answer_s + SLACK_S
        slow = [one for one in waited if one.waited_s > CACHE.answer_s]
        assert len(slow) < 6, "each process pays once, and no page twice"


async def test_without_dynamodb_pages_go_on_and_carts_say_so_and_come_back(scene: Scene) -> None:
    slug = scene.sku.lower()
    await all_is_well(scene)
    await scene.fill_cart(quantity=3)
    assert (await scene.ask("GET", "/account/orders", scene.cookie)).status == HTTPStatus.OK  # both are known to the cache now
    async with scene.away("dynamodb"):
        for _ in range(3):
            for path in ("/", f"/p/{slug}", "/search?q=thing", "/account/orders", "/account", f"/api/products/{slug}"):
                answer = await scene.ask("GET", path, {**scene.cookie, "Connection": "close"})
                assert (path, answer.status) == (path, HTTPStatus.OK)
                assert answer.waited_s < SLACK_S
        assert ">Ada<" in (await scene.ask("GET", "/account", scene.cookie)).text  # she is known, not logged out
        assert (await scene.ask("GET", "/api/orders", scene.bearer)).json["items"]

        page = await scene.ask("GET", "/cart", scene.cookie)
        assert (page.status, page.headers["Retry-After"]) == (HTTPStatus.SERVICE_UNAVAILABLE, "2")
        assert "Carts cannot be reached at the moment" in page.text
        call = await scene.ask("GET", "/api/cart", scene.bearer)
        assert (call.status, call.json["code"], call.headers["Retry-After"]) == (503, "store-away", "2")
        refused = [
            await scene.ask("POST", "/cart/add", {**scene.cookie, "Sec-Fetch-Site": "same-origin"}, {}),
            await scene.ask("POST", "/checkout", scene.cookie, {}),
            await scene.ask("POST", "/api/cart/lines", scene.bearer, {"sku": scene.sku, "quantity": 1}),
            await scene.check_out("nobody can look at the cart"),
            await scene.ask("POST", "/logout", scene.cookie, {}),
            await scene.ask("GET", "/login"),
            await scene.ask("POST", "/api/sessions"),
        ]
        assert [one.status for one in refused] == [HTTPStatus.SERVICE_UNAVAILABLE] * len(refused)
        assert all(one.headers["Retry-After"] for one in refused)
        assert await scene.counted('securecart_breaker_open{store="cart and session store"}') > 0

        nobody = [await scene.ask("GET", path) for path in ("/", f"/p/{slug}", "/search")]
        assert [one.status for one in nobody] == [HTTPStatus.OK] * 3
        stranger = {"Cookie": f"{COOKIE}=nobody-remembers-this-token"}
        assert (await scene.ask("GET", "/", stranger)).status == HTTPStatus.OK
        assert (await scene.ask("GET", "/account", stranger)).status == HTTPStatus.SERVICE_UNAVAILABLE  # and not "log in"
        ready = await scene.ask("GET", "/readyz")
        assert (ready.status, ready.json["carts"]) == (HTTPStatus.OK, False)
    await carts_are_back(scene)
    assert [line["quantity"] for line in (await scene.ask("GET", "/api/cart", scene.bearer)).json["lines"]] == [3]
    assert (await scene.check_out("after it came back")).status == HTTPStatus.CREATED
    assert await scene.counted('securecart_breaker_open{store="cart and session store"}') == 0


async def test_a_checkout_that_has_begun_completes_without_dynamodb(scene: Scene) -> None:
    await scene.fill_cart(quantity=2)
    buying = asyncio.create_task(scene.check_out("begun before", token="tok_slow"))

    async def at_the_gateway() -> bool:
        async with scene.shop.database.read() as read:
            return bool(await read.fetchval("SELECT true FROM orders WHERE idempotency_key = 'begun before'"))

    while not await at_the_gateway():
        assert not buying.done(), buying.result()
        await asyncio.sleep(0.02)
    async with scene.away("dynamodb"):
        answer = await buying
        assert (answer.status, answer.json["status"]) == (HTTPStatus.CREATED, "paid")
        again = await scene.ask("GET", f"/api/orders/{answer.json['number']}", scene.bearer)
        assert again.json["status"] == "paid"
    await carts_are_back(scene)
    deadline = time.monotonic() + DEADLINE_S
    while (await carts.load(scene.shop.dynamodb, scene.shopper.shopper_id)).lines:
        assert time.monotonic() < deadline, "the bought cart was not emptied"
        await asyncio.sleep(0.1)


async def test_a_frozen_dynamodb_makes_nobody_wait_twice(scene: Scene) -> None:
    await all_is_well(scene)
    await scene.fill_cart()
    assert (await scene.ask("GET", "/account/orders", scene.cookie)).status == HTTPStatus.OK
    async with scene.frozen("dynamodb"):
        both = [scene.ask("GET", "/account/orders", {**scene.cookie, "Connection": "close"}) for _ in range(20)]
        first = await asyncio.gather(*both)
        assert [one.status for one in first] == [HTTPStatus.OK] * 20
        assert max(one.waited_s for one in first) < DYNAMODB.answer_s + SLACK_S
        later = [await scene.ask("GET", f"/p/{scene.sku.lower()}", {**scene.cookie, "Connection": "close"}) for _ in range(30)]
        assert [one.status for one in later] == [HTTPStatus.OK] * 30
        assert sorted(one.waited_s for one in later)[20] < DYNAMODB.answer_s
        assert (await scene.ask("GET", "/api/cart", scene.bearer)).status == HTTPStatus.SERVICE_UNAVAILABLE
    await carts_are_back(scene)


async def test_who_has_logged_out_is_not_remembered(scene: Scene) -> None:
    guest = await sessions.start_guest(scene.shop.dynamodb, days=1)
    bearer = {"Authorization": f"Bearer {guest.token}"}
    assert (await scene.ask("GET", "/api/me", bearer)).status == HTTPStatus.OK
    assert await scene.shop.memory.recall(guest.token) is not None
    assert (await scene.ask("POST", "/api/logout", bearer)).status == HTTPStatus.NO_CONTENT
    assert await scene.shop.memory.recall(guest.token) is None


async def test_what_is_kept_of_a_session_holds_no_token(scene: Scene) -> None:
    guest = await sessions.start_guest(scene.shop.dynamodb, days=1)
    await scene.shop.memory.note(guest)
    client = scene.shop.cache._client
    kept = [(key, await client.get(key)) for key in await client.keys("session:*")]
    assert kept
    assert all(guest.token.encode() not in key + value for key, value in kept)
    assert await scene.shop.memory.recall(guest.token) == guest


async def test_both_helpers_away_at_once_still_leave_a_shop_window(scene: Scene) -> None:
    async with scene.away("valkey"), scene.away("dynamodb"):
        for path in ("/", f"/p/{scene.sku.lower()}", "/search?q=thing"):
            for headers in ({}, scene.cookie):
                assert (path, (await scene.ask("GET", path, headers)).status) == (path, HTTPStatus.OK)
    await carts_are_back(scene)


class Caller:
    """Asks for a page over and over, on one connection or on a new one each time, and notes what was lost, and where."""

    def __init__(self, scene: Scene, *, keeps_connection: bool) -> None:
        url = urlsplit(scene.shop.settings.web_url)
        self._address = (url.hostname, url.port)
        self._keeps = keeps_connection
        self._request = f"GET /api/products/{scene.sku.lower()} HTTP/1.1\r\nHost: shop\r\n\r\n".encode()
        self.asking: int | None = None  # the port of the connection on which an answer is waited for
        self.answered = 0
        self.lost: list[int] = []  # ports of connections that ended before the answer
        self.refused = 0

    async def run(self) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection(*self._address)
            except OSError:
                self.refused += 1
                continue
            port = writer.get_extra_info("sockname")[1]
            try:
                while await self._ask(reader, writer, port) and self._keeps:
                    pass
            finally:
                writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> bool:
        """Whether the connection is good for another request."""
        if reader.at_eof():
            return False  # told before anything was sent: any client would connect anew
        self.asking = port
        try:
            writer.write(self._request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = re.search(rb"content-length: (\d+)", head)
            assert length is not None
            await reader.readexactly(int(length[1]))
        except (OSError, asyncio.IncompleteReadError):
            self.lost.append(port)
            return False
        finally:
            self.asking = None
        self.answered += 1
        return True


@pytest.mark.parametrize("labels", [["web-1"], ["web-1", "web-2"]], ids=["one of two", "all"])
async def test_killed_web_processes_lose_what_is_in_their_hands_and_nothing_else(scene: Scene, labels: list[str]) -> None:
    callers = [Caller(scene, keeps_connection=number % 2 == 0) for number in range(64)]
    tasks = [asyncio.create_task(caller.run()) for caller in callers]
    await until(lambda: sum(caller.answered for caller in callers) > 500, "everybody is asking")
    victims = [psutil.Process(scene.pid(label)) for label in labels]
    for victim in victims:
        victim.suspend()  # what it has in hand is the same when it is counted and when it dies
    accepted = {one.raddr.port for victim in victims for one in victim.net_connections("tcp") if one.raddr}
    for victim in victims:
        victim.kill()
    answered = sum(caller.answered for caller in callers)
    await until(lambda: sum(caller.answered for caller in callers) > answered + 200, "the shop goes on")
    await until(lambda: all(scene.pid(label) not in {0, *(one.pid for one in victims)} for label in labels), "they are back")
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended
    lost = [port for caller in callers for port in caller.lost]
    assert lost, "or nothing was in hand and the test shows nothing"
    assert [port for port in lost if port not in accepted] == [], "lost in the line in front of the door"
    assert sum(caller.refused for caller in callers) == 0
