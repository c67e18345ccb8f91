"""How the replay's households behave before a shop that is slow, busy, forgetful or gone: a scripted one, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from securecart.demo import client as door
from securecart.demo import replay
from securecart.demo.replay import Schedule, Times, key_of
from securecart.demo.source import Basket
from securecart.errors import BasketRefused, DataMissing, ShopAway

CART = {"lines": [], "missing": [], "subtotal": {"amount_minor": 300, "currency": "USD"}, "version": 1}
PAID = {"number": "A-1", "status": "paid"}
BASKET = Basket(17, 4, ((1, 2), (5, 1)))

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ScriptedShop:
    """Answers each path from its own list, the last entry for ever, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.bodies: list[str] = []
        self.script: dict[str, list[tuple[int, object, dict[str, str]] | None]] = {
            "/api/accounts": [(201, {"token": "t-1"}, {})],
            "/api/login": [(200, {"token": "t-2"}, {})],
            "/api/cart": [(200, CART, {})],
            "/api/checkout": [(201, PAID, {})],
            "/api/orders/A-1": [(200, PAID, {})],
        }

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.text())
        self.asked.append(
            (request.path, request.headers.get("Authorization", ""), request.headers.get("Idempotency-Key", "")),
        )
        steps = self.script[request.path]
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        if step is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        status, body, headers = step
        return web.json_response(body, status=status, headers=headers)

    def keys(self) -> list[str]:
        return [key for path, _, key in self.asked if path == "/api/checkout"]


@pytest.fixture
def scripted() -> ScriptedShop:
    return ScriptedShop()


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "PAUSE_MIN_S", 0.001)
    monkeypatch.setattr(door, "PAUSE_MAX_S", 0.002)
    monkeypatch.setattr(replay, "LOOK_AGAIN_S", 0.001)


@asynccontextmanager
async def client_of(scripted: ScriptedShop, folder: Path) -> AsyncIterator[door.Client]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", scripted.answer)
    async with (
        TestServer(application) as server,
        door.connect(str(server.make_url("/")), "inside", tokens=folder / "tokens", connections=4) as client,
    ):
        yield client


async def buy(scripted: ScriptedShop, folder: Path) -> Times:
    times = Times()
    async with client_of(scripted, folder) as client:
        await replay._buy(client, BASKET, times)
    return times


async def test_a_basket_is_a_log_in_a_cart_and_a_checkout(scripted: ScriptedShop, tmp_path: Path) -> None:
    times = await buy(scripted, tmp_path)
    assert scripted.asked == [
        ("/api/accounts", "", ""),
        ("/api/cart", "Bearer t-1", ""),
        ("/api/checkout", "Bearer t-1", "cj-17"),
    ]
    assert scripted.bodies[1] == '{"lines":[{"sku":"CJ-1","quantity":2},{"sku":"CJ-5","quantity":1}]}'
    assert '"expected_total_minor":300' in scripted.bodies[2]
    assert len(times.checkouts) == 1


async def test_a_session_is_kept_for_the_next_run(scripted: ScriptedShop, tmp_path: Path) -> None:
    await buy(scripted, tmp_path)
    scripted.asked.clear()
    await buy(scripted, tmp_path)
    assert [path for path, _, _ in scripted.asked] == ["/api/cart", "/api/checkout"]
    assert (tmp_path / "tokens").stat().st_mode & 0o077 == 0


async def test_a_household_that_is_known_logs_in(scripted: ScriptedShop, tmp_path: Path) -> None:
    scripted.script["/api/accounts"] = [(409, {"code": "email-taken", "detail": ""}, {})]
    await buy(scripted, tmp_path)
    assert scripted.asked[-1] == ("/api/checkout", "Bearer t-2", "cj-17")


async def test_a_session_that_is_gone_is_renewed_in_the_middle(scripted: ScriptedShop, tmp_path: Path) -> None:
    scripted.script["/api/accounts"] = [(201, {"token": "t-1"}, {}), (409, {"code": "email-taken", "detail": ""}, {})]
    scripted.script["/api/checkout"] = [(401, {"code": "unauthorized", "detail": ""}, {}), (201, PAID, {})]
    await buy(scripted, tmp_path)
    assert scripted.asked[-1] == ("/api/checkout", "Bearer t-2", "cj-17")


async def test_a_shop_that_breaks_off_or_is_busy_is_asked_again_with_the_same_key(scripted: ScriptedShop, tmp_path: Path) -> None:
    scripted.script["/api/checkout"] = [None, (503, {}, {}), (429, {}, {"Retry-After": "0"}), (500, {}, {}), (201, PAID, {})]
    await buy(scripted, tmp_path)
    assert scripted.keys() == ["cj-17"] * 5


async def test_a_shop_that_asks_for_time_gets_it(scripted: ScriptedShop, tmp_path: Path) -> None:
    scripted.script["/api/checkout"] = [(429, {}, {"Retry-After": "1"}), (201, PAID, {})]
    times = await buy(scripted, tmp_path)
    assert times.checkouts[0] >= 1


async def test_a_shop_that_stays_away_ends_the_replay_with_a_sentence(
    scripted: ScriptedShop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "PATIENCE_S", 0.01)
    scripted.script["/api/cart"] = [(503, {}, {})]
    with pytest.raises(ShopAway, match="run the replay again: it goes on where it stopped"):
        await buy(scripted, tmp_path)


async def test_a_pending_order_is_watched_until_it_is_paid(scripted: ScriptedShop, tmp_path: Path) -> None:
    pending = {"number": "A-1", "status": "pending"}
    scripted.script["/api/checkout"] = [(202, pending, {})]
    scripted.script["/api/orders/A-1"] = [(200, pending, {}), (503, {}, {}), (200, PAID, {})]
    await buy(scripted, tmp_path)
    assert scripted.keys() == ["cj-17"]


async def test_an_order_that_can_no_longer_be_paid_is_followed_by_another(scripted: ScriptedShop, tmp_path: Path) -> None:
    scripted.script["/api/checkout"] = [(201, {"number": "A-0", "status": "cancelled"}, {}), (402, {}, {}), (201, PAID, {})]
    await buy(scripted, tmp_path)
    assert scripted.keys() == ["cj-17", "cj-17.2", "cj-17.3"]


async def test_a_cart_that_is_not_the_one_shown_is_filled_again(scripted: ScriptedShop, tmp_path: Path) -> None:
    scripted.script["/api/checkout"] = [
        (409, {"code": "cart-empty", "detail": ""}, {}),
        (409, {"code": "total-changed", "detail": ""}, {}),
        (201, PAID, {}),
    ]
    await buy(scripted, tmp_path)
    assert [path for path, _, _ in scripted.asked[1:]] == ["/api/cart", "/api/checkout"] * 3
    assert scripted.keys() == ["cj-17"] * 3


@pytest.mark.parametrize(
    ("path", "status", "code", "error", "says"),
    [
        ("/api/cart", 422, "bad-input", DataMissing, "securecart demo load"),
        ("/api/checkout", 409, "out-of-stock", BasketRefused, "basket 17: .* Run `securecart demo load`"),
        ("/api/checkout", 422, "idempotency-key-reused", BasketRefused, "basket 17: No."),
    ],
)
async def test_a_refusal_is_told_in_a_sentence(
    scripted: ScriptedShop, tmp_path: Path, path: str, status: int, code: str, error: type[Exception], says: str
) -> None:
    scripted.script[path] = [(status, {"code": code, "detail": "No."}, {})]
    with pytest.raises(error, match=says):
        await buy(scripted, tmp_path)


async def test_a_shopper_who_fails_stops_the_others_with_the_same_sentence(scripted: ScriptedShop, tmp_path: Path) -> None:
    scripted.script["/api/checkout"] = [(422, {"code": "bad-input", "detail": "No."}, {})]
    baskets = [Basket(number, number, ((1, 1),)) for number in range(20)]
    async with client_of(scripted, tmp_path) as client:
        with pytest.raises(BasketRefused):
            await replay._shop(client, baskets, Times(), 4, lambda _: None)


def test_a_household_never_shops_twice_at_once_and_keeps_its_order() -> None:
    schedule = Schedule([Basket(1, 7, ()), Basket(2, 7, ()), Basket(3, 8, ()), Basket(4, 7, ())])
    first, other = schedule.take(), schedule.take()
    assert first is not None
    assert other is not None
    assert (first.basket_id, other.basket_id, schedule.take()) == (1, 3, None)
    second = schedule.done(7)
    assert second is not None
    assert second.basket_id == 2
    third = schedule.done(7)
    assert third is not None
    assert (third.basket_id, schedule.done(7), schedule.done(8)) == (4, None, None)


def test_a_free_household_is_taken_again_later() -> None:
    schedule = Schedule(iter([Basket(1, 7, ()), Basket(2, 7, ())]))
    first = schedule.take()
    assert first is not None
    assert schedule.done(7) is None
    second = schedule.take()
    assert second is not None
    assert second.basket_id == 2


def test_percentiles_of_nothing_and_of_one_time() -> None:
    assert replay._percentiles([]).p99 is None
    assert replay._percentiles([0.25]) == replay.Percentiles(250.0, 250.0, 250.0)
    assert replay._percentiles([n / 1000 for n in range(101)]) == replay.Percentiles(50.0, 95.0, 99.0)


def test_a_later_attempt_has_a_key_of_its_own() -> None:
    assert [key_of(9, attempt) for attempt in (1, 2)] == ["cj-9", "cj-9.2"]
