"""A shopper reads what they wrote, though every replica stands still: by cookie, by header, by the cache, and without it."""

from __future__ import annotations

import asyncio
import secrets
import socket
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
import uvicorn

from securecart import catalog
from securecart.app import Shop
from securecart.catalog import actions
from securecart.events import ProductsChanged
from securecart.readers import Stores
from securecart.readers import cache as cache_reader
from securecart.settings import Settings
from securecart.stores.postgres import NEWEST
from securecart.web import create_app, positions
from tests.orders_for_tests import ADDRESS, a_product
from tests.replicas import Cluster, a_cluster, until

WISH = {"email": "ada@example.com", "shipping_method": "pickup", "payment_token": "tok_visa", "shipping_address": ADDRESS}


@pytest.fixture(scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with a_cluster(tmp_path_factory.mktemp("positions"), replicas=1) as made:
        yield made


class Door:
    """The shop's HTTP door in this process, over a database with a replica."""

    def __init__(self, url: str, shop: Shop) -> None:
        self.url = url
        self.shop = shop


@pytest.fixture(scope="module")
async def door(cluster: Cluster, engines: Settings) -> AsyncIterator[Door]:
    settings = msgspec.structs.replace(engines, postgres_url=cluster.url(), rate_limits=False, replica_lag_seconds=600.0)
    with warnings.catch_warnings(action="ignore"):  # Litestar's, about what its next version will want
        application = create_app(settings)
    async with served(application) as url:
        app = application._app._app  # type: ignore[attr-defined]  # inside what stands around it
        shop: Shop = app.state.shop
        await until(lambda: len(shop.database._routes.view.readers) == 1)  # type: ignore[union-attr]
        yield Door(url, shop)


@asynccontextmanager
async def served(application: Any) -> AsyncIterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(application, log_config=None, access_log=False, lifespan="on"))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await until(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await task


@pytest.fixture
async def paused(cluster: Cluster, door: Door) -> AsyncIterator[str]:
    """The SKU of a product that the replica knows; from here on the replica replays nothing."""
    sku = await a_product(door.shop.database)
    (replica,) = cluster.replicas
    await cluster.all_replayed()
    await replica.ask("SELECT pg_wal_replay_pause()")
    await until(lambda: replica.ask("SELECT pg_get_wal_replay_pause_state() = 'paused'"))
    yield sku
    await replica.ask("SELECT pg_wal_replay_resume()")


class Program:
    """A program with a bearer token; it sends back the headers that it chose to keep."""

    def __init__(self, http: aiohttp.ClientSession, url: str, token: str) -> None:
        self._http = http
        self._url = url
        self.headers = {"Authorization": f"Bearer {token}"}

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
        sent = None if body is None else msgspec.json.encode(body)
        given = {**self.headers, **headers, **({"Content-Type": "application/json"} if sent else {})}
        async with self._http.request(method, self._url + path, data=sent, headers=given) as response:
            return response.status, response.headers, msgspec.json.decode(await response.read())

    async def buy(self, sku: str) -> tuple[str, Any]:
        """The number of a new order, and the headers of the answer."""
        await self.ask("PUT", "/api/cart", {"lines": [{"sku": sku, "quantity": 1}]})
        status, headers, order = await self.ask("POST", "/api/checkout", WISH, **{"Idempotency-Key": secrets.token_hex(8)})
        assert status == 201, order
        return order["number"], headers

    async def sees(self, number: str, **headers: str) -> bool:
        """Whether the order is in the list and has a page of its own."""
        status, _, page = await self.ask("GET", "/api/orders", **headers)
        listed = status == 200 and number in {one["number"] for one in page["items"]}
        status, _, _ = await self.ask("GET", f"/api/orders/{number}", **headers)
        assert listed == (status == 200)
        return listed


@pytest.fixture
async def program(door: Door) -> AsyncIterator[Program]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        async with http.post(door.url + "/api/sessions") as response:
            session = await response.json()
        yield Program(http, door.url, session["token"])


async def forget(door: Door, program: Program) -> None:
    """The cache loses what it knows of this shopper."""
    _, _, me = await program.ask("GET", "/api/me")
    await door.shop.cache.drop([positions._key(me["shopper_id"])])


async def test_without_a_position_the_replica_would_be_believed(door: Door, program: Program, paused: str) -> None:
    """What the other tests here are about: forgotten everywhere, the order is not to be seen."""
    number, _ = await program.buy(paused)
    await forget(door, program)
    assert not await program.sees(number)


async def test_a_program_that_sends_the_header_back(door: Door, program: Program, paused: str) -> None:
    number, headers = await program.buy(paused)
    await forget(door, program)
    assert await program.sees(number, **{positions.HEADER: headers[positions.HEADER]})


async def test_a_program_that_ignores_the_header(program: Program, paused: str) -> None:
    number, _ = await program.buy(paused)
    assert await program.sees(number)


async def test_without_the_cache_the_writer_is_read(
    door: Door, program: Program, paused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, headers = await program.buy(paused)
    await forget(door, program)
    monkeypatch.setattr(door.shop.cache.breaker, "is_open", lambda: True)
    assert await program.sees(number)
    assert await program.sees(number, **{positions.HEADER: headers[positions.HEADER]})


async def test_a_cache_that_has_just_come_back_is_not_believed(
    door: Door, program: Program, paused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, _ = await program.buy(paused)
    await forget(door, program)
    monkeypatch.setattr(door.shop.cache.breaker, "back_at", asyncio.get_running_loop().time())
    assert await program.sees(number)


async def test_a_browser_carries_it_in_a_cookie(door: Door, paused: str) -> None:
    jar = aiohttp.CookieJar(unsafe=True)
    origin = {"Origin": door.url}
    async with aiohttp.ClientSession(cookie_jar=jar, headers=origin) as http:
        async with http.post(door.url + "/cart/add", data={"sku": paused, "quantity": "1"}) as response:
            assert response.status == 200
        async with http.get(door.url + "/checkout") as response:
            page = await response.text()
        form = {name: page.split(f'name="{name}" value="')[1].split('"')[0] for name in ("csrf_token", "key")}
        form |= {"email": "ada@example.com", "shipping_method": "pickup", "payment_token": "tok_visa", "name": "Ada"}
        form |= {"line1": "1 Market Street", "city": "Springfield", "postcode": "12345", "country": "US"}
        async with http.post(door.url + "/checkout", data=form) as response:
            assert "/orders/SC-" in str(response.url), await response.text()
            number = response.url.path.rpartition("/")[2]
        kept = {one.key: one for one in jar}
        assert int(kept[positions.COOKIE].value) > 0
        shoppers = [key async for key in door.shop.cache._client.scan_iter("position:*")]
        await door.shop.cache.drop(shoppers)
        async with http.get(door.url + "/account/orders") as response:
            assert number in await response.text()
        async with http.get(f"{door.url}/orders/{number}") as response:
            assert response.status == 200


async def test_nonsense_in_the_header_is_nothing(program: Program, paused: str) -> None:
    number, _ = await program.buy(paused)
    for nonsense in ("", "soon", "-1", "9" * 30):
        assert await program.sees(number, **{positions.HEADER: nonsense})
    assert positions._number("9" * 19) == NEWEST
    assert positions._number("\N{ARABIC-INDIC DIGIT ONE}") == 0


async def test_a_page_from_a_replica_behind_a_change_is_not_kept(door: Door, paused: str) -> None:
    shop, slug = door.shop, paused.lower()

    async def title() -> str:
        return (await catalog.product(shop.database, shop.cache, slug)).title

    before = await title()
    async with shop.database.transaction() as tx:
        await tx.execute("UPDATE product SET title = 'Changed' WHERE slug = $1", slug)
        await tx.execute("UPDATE price SET amount_minor = 777 WHERE sku = $1", paused)
    await cache_reader.read(Stores(shop.database, shop.dynamodb, shop.cache, shop.graph), [ProductsChanged((slug,), (paused,))])
    assert (before != "Changed", await title()) == (True, "Changed")
    priced = await catalog.price_cached(shop.database, shop.cache, [paused], "USD")
    assert priced[paused].price.amount_minor == 777
    assert await title() == "Changed"


async def test_a_load_that_a_change_overtook_is_not_kept(door: Door, paused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was begun before the change was heard of, on the replica, and ends after the change's pages were dropped."""
    shop, slug = door.shop, paused.lower()
    stores = Stores(shop.database, shop.dynamodb, shop.cache, shop.graph)
    await cache_reader.read(stores, [ProductsChanged((slug,), ())])
    async with shop.database.transaction() as tx:
        await tx.execute("UPDATE product SET title = 'Overtaken' WHERE slug = $1", slug)
    page = actions._page

    async def overtaken(read: Any, wanted: str) -> bytes:
        loaded: bytes = await page(read, wanted)
        if not done.is_set():
            done.set()
            await cache_reader.read(stores, [ProductsChanged((slug,), ())])
        return loaded

    done = asyncio.Event()
    monkeypatch.setattr(actions, "_page", overtaken)
    await catalog.product(shop.database, shop.cache, slug)
    assert done.is_set()
    assert (await catalog.product(shop.database, shop.cache, slug)).title == "Overtaken"


async def test_a_shop_of_one_node_sends_no_position(shop_url: str, uncounted: dict[str, str], shop: Shop) -> None:
    sku = await a_product(shop.database)
    async with aiohttp.ClientSession(headers=uncounted, cookie_jar=aiohttp.DummyCookieJar()) as http:
        async with http.post(shop_url + "/api/sessions") as response:
            session = await response.json()
        _, headers = await Program(http, shop_url, session["token"]).buy(sku)
    assert positions.HEADER not in headers
    assert not any(positions.COOKIE in one for one in headers.getall("Set-Cookie", []))


async def test_metrics_tell_each_nodes_lag(door: Door, cluster: Cluster, paused: str) -> None:
    del paused
    await a_product(door.shop.database)
    (replica,) = cluster.replicas
    label = f'{{node="127.0.0.1:{replica.port}",role="replica"}}'

    async def told(name: str) -> float:
        async with aiohttp.ClientSession() as http, http.get(door.url + "/metrics") as response:
            lines = dict(line.rsplit(" ", 1) for line in (await response.text()).splitlines() if not line.startswith("#"))
        return float(lines[name + label])

    async def is_late() -> bool:
        return await told("securecart_replica_lag_bytes") > 0 and await told("securecart_replica_lag_seconds") > 0

    await until(is_late)
    assert await told("securecart_node_serves") == 1
