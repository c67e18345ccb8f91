"""Buy real baskets through the shop's own HTTP door, as the households that bought them.

Baskets go in time order, several households at once, but never two baskets of one household: its next waits
for the one before. Whatever breaks, a basket is asked for again under the same idempotency key, which the
shop answers with the first order; so an interrupted replay that is started again neither loses nor doubles one.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import date
from http import HTTPStatus
from pathlib import Path
from statistics import quantiles
from typing import TypeVar

import msgspec
from msgspec import Struct

from securecart.demo import expected, source
from securecart.demo.client import PATIENCE_S, Client, Problem, connect, email_of
from securecart.demo.source import Basket, Files, sku_of
from securecart.errors import BasketRefused, DataMissing, NotRunning, StoreAway
from securecart.settings import Settings
from securecart.stores import postgres
from securecart.stores.postgres import Fresh, one, statements_of, value
from securecart.values import Address, Line, Money

__all__ = ["Report", "Schedule", "buy_baskets", "key_of"]

SQL = statements_of(__package__)
CURRENCY = "USD"
SESSIONS_FILE = "demo-sessions.txt"
DECIDED_WITHIN_S = 120.0
LOOK_AGAIN_S = 0.5
ATTEMPTS_MAX = 5
PAID = frozenset({"paid", "partially_refunded", "refunded"})

T = TypeVar("T")
# told which stage is how far: "baskets", 25, 3000
Progress = Callable[[str, int, int], None]


class Percentiles(Struct, frozen=True):
    """Milliseconds below which so many percent of the times lie; None where nothing was timed."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class Latency(Struct, frozen=True):
    """How long the shop took, in milliseconds: for the checkout request, and from log-in or cart to paid order."""

    checkout: Percentiles
    basket: Percentiles


class Recorded(Struct, frozen=True):
    """What the orders database holds of some baskets; revenue in US cents."""

    orders: int
    lines: int
    revenue: int


class Report(Struct, frozen=True):
    """How a replay ended. Money is in cents of `currency`, `rate` in baskets a second of this run."""

    baskets: int
    orders: int
    lines: int
    revenue_recorded: int
    revenue_expected: int
    equal: bool
    rate: float
    latency: Latency
    currency: str
    seconds: float
    already_done: int
    skipped_baskets: int
    skipped_lines: int
    orders_expected: int
    lines_expected: int
    log_ins: int
    repeats: int


class CartShown(Struct, frozen=True):
    """The part of a cart's answer that the shopper agrees to."""

    subtotal: Money
    missing: tuple[str, ...] = ()


class Placed(Struct, frozen=True):
    """The part of an order's answer that decides what to do next."""

    number: str
    status: str


class Wish(Struct, frozen=True):
    """The body of a checkout."""

    email: str
    shipping_address: Address
    shipping_method: str
    payment_token: str
    currency: str
    expected_total_minor: int


class Schedule:
    """Hands out baskets in time order, and holds back those of a household that is shopping."""

    def __init__(self, baskets: Iterable[Basket]) -> None:
        self._rest: Iterator[Basket] = iter(baskets)
        self._waiting: dict[int, deque[Basket]] = {}

    def take(self) -> Basket | None:
        """The next basket of a household that is free, which is busy from now on; None when there is none left."""
        for basket in self._rest:
            if basket.household_id not in self._waiting:
                self._waiting[basket.household_id] = deque()
                return basket
            self._waiting[basket.household_id].append(basket)
        return None

    def done(self, household: int) -> Basket | None:
        """The household's next basket if one waits; otherwise the household is free again."""
        if self._waiting[household]:
            return self._waiting[household].popleft()
        del self._waiting[household]
        return None


class Times(Struct):
    """Seconds each basket and each checkout took."""

    baskets: list[float] = []
    checkouts: list[float] = []


async def buy_baskets(
    settings: Settings, files: Files, *, limit: int, since: date | None = None, shoppers: int = 16, progress: Progress
) -> Report:
    """Buy the first `limit` baskets from `since` on, and hold the orders database against the files."""
    if not settings.web_url or not settings.postgres_url:
        raise NotRunning(home=str(settings.home_path))
    baskets, skipped = source.baskets(files, limit=limit, since=since)
    keys = [key_of(basket.basket_id) for basket in baskets]
    bought = await _patiently(settings, lambda fresh: _bought(fresh, keys, baskets))
    todo = [basket for basket in baskets if key_of(basket.basket_id) not in bought]
    progress("baskets", len(bought), len(baskets))

    times = Times()
    began = time.perf_counter()
    tokens = Path(settings.home_path) / SESSIONS_FILE
    async with connect(settings.web_url, settings.internal_key, tokens=tokens, connections=shoppers) as client:
        await _shop(client, todo, times, shoppers, lambda done: progress("baskets", len(bought) + done, len(baskets)))
    seconds = time.perf_counter() - began

    recorded = await _patiently(settings, lambda fresh: _recorded(fresh, keys))
    due = expected.revenue_of(files, limit=limit, since=since)
    found = (recorded.orders, recorded.lines, recorded.revenue)
    return Report(
        baskets=due.baskets,
        orders=recorded.orders,
        lines=recorded.lines,
        revenue_recorded=recorded.revenue,
        revenue_expected=due.revenue,
        equal=found == (due.orders, due.lines, due.revenue),
        rate=round(len(times.baskets) / seconds, 1) if times.baskets else 0.0,
        latency=Latency(_percentiles(times.checkouts), _percentiles(times.baskets)),
        currency=CURRENCY,
        seconds=round(seconds, 2),
        already_done=len(bought),
        skipped_baskets=skipped.baskets,
        skipped_lines=skipped.lines,
        orders_expected=due.orders,
        lines_expected=due.lines,
        log_ins=client.log_ins,
        repeats=client.repeats,
    )


def key_of(basket_id: int, attempt: int = 1) -> str:
    """The idempotency key of a basket; a later attempt follows an order that can no longer be paid."""
    return f"cj-{basket_id}" if attempt == 1 else f"cj-{basket_id}.{attempt}"


async def _shop(client: Client, baskets: list[Basket], times: Times, shoppers: int, progress: Callable[[int], None]) -> None:
    schedule = Schedule(baskets)

    async def shopper() -> None:
        basket = schedule.take()
        while basket is not None:
            began = time.perf_counter()
            await _buy(client, basket, times)
            times.baskets.append(time.perf_counter() - began)
            progress(len(times.baskets))
            basket = schedule.done(basket.household_id) or schedule.take()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(shoppers):
                group.create_task(shopper())
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from several


async def _buy(client: Client, basket: Basket, times: Times) -> None:
    """Fill the cart and check out until the basket is paid for; `BasketRefused` when the shop will not sell it."""
    attempt = 1
    for _ in range(ATTEMPTS_MAX):
        total = await _fill_cart(client, basket)
        began = time.perf_counter()
        outcome = await _check_out(client, basket, key_of(basket.basket_id, attempt), total)
        if outcome in PAID:
            times.checkouts.append(time.perf_counter() - began)
            return
        if outcome != "again":
            attempt += 1
    raise BasketRefused(basket=basket.basket_id, why=f"no paid order after {ATTEMPTS_MAX} attempts.")


async def _fill_cart(client: Client, basket: Basket) -> int:
    """Put the basket into the household's cart, whole; the total that the shop shows for it, in cents."""
    body = msgspec.json.encode({"lines": [Line(sku_of(product), quantity) for product, quantity in basket.lines]})
    answer = await client.ask(basket.household_id, "PUT", f"/api/cart?currency={CURRENCY}", body)
    if answer.status != HTTPStatus.OK:
        problem = msgspec.json.decode(answer.body, type=Problem)
        if answer.status == HTTPStatus.UNPROCESSABLE_ENTITY:
            raise DataMissing(problem=f"The shop does not know the demo's goods ({problem.detail}) Run `securecart demo load`.")
        raise BasketRefused(basket=basket.basket_id, why=problem.detail)
    return msgspec.json.decode(answer.body, type=CartShown).subtotal.amount_minor


async def _check_out(client: Client, basket: Basket, key: str, total: int) -> str:
    """Buy what is in the cart: `paid`, `again` when the cart was not the one shown, else what became of the order."""
    body = msgspec.json.encode(_wish(basket.household_id, total))
    answer = await client.ask(basket.household_id, "POST", "/api/checkout", body, {"Idempotency-Key": key})
    if answer.status in {HTTPStatus.CREATED, HTTPStatus.OK, HTTPStatus.ACCEPTED}:
        order = msgspec.json.decode(answer.body, type=Placed)
        return await _wait_until_decided(client, basket, order) if order.status == "pending" else order.status
    if answer.status == HTTPStatus.PAYMENT_REQUIRED:
        return "declined"
    problem = msgspec.json.decode(answer.body, type=Problem)
    if problem.code in {"cart-empty", "cart-changed", "total-changed"}:
        return "again"
    why = f"{problem.detail} Run `securecart demo load` for more." if problem.code == "out-of-stock" else problem.detail
    raise BasketRefused(basket=basket.basket_id, why=why)


async def _wait_until_decided(client: Client, basket: Basket, order: Placed) -> str:
    """Ask for a pending order until the shop knows whether it is paid."""
    give_up_at = time.monotonic() + DECIDED_WITHIN_S
    status = order.status
    while status == "pending":
        if time.monotonic() > give_up_at:
            raise BasketRefused(
                basket=basket.basket_id, why=f"its order {order.number} is still pending; run the replay again later."
            )
        await asyncio.sleep(LOOK_AGAIN_S)
        answer = await client.ask(basket.household_id, "GET", f"/api/orders/{order.number}")
        if answer.status == HTTPStatus.OK:
            status = msgspec.json.decode(answer.body, type=Placed).status
    # Who settled it takes the goods out of the cart a moment later; the next basket must not be in there by then.
    await asyncio.sleep(LOOK_AGAIN_S)
    return status


def _wish(household: int, total: int) -> Wish:
    address = Address(
        f"Household {household}", f"{household} Market Street", "Springfield", f"{household:05d}", "US", region="OH"
    )
    return Wish(email_of(household), address, "pickup", f"tok_card_household-{household}", CURRENCY, total)


async def _bought(fresh: Fresh, keys: list[str], baskets: list[Basket]) -> frozenset[str]:
    if baskets and not await value(fresh, SQL["is_known"], sku_of(baskets[0].lines[0][0])):
        raise DataMissing(problem="The demo's goods are not in the shop. Run `securecart demo load` first.")
    return frozenset(row["key"] for row in await fresh.fetch(SQL["baskets_bought"], keys))


async def _recorded(fresh: Fresh, keys: list[str]) -> Recorded:
    found = await one(fresh, SQL["recorded_orders"], Recorded, keys)
    return found or Recorded(0, 0, 0)


async def _patiently(settings: Settings, ask: Callable[[Fresh], Awaitable[T]]) -> T:
    """Ask the orders database, waiting up to a minute for it to come back; `StoreAway` when it does not."""
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        try:
            database = await postgres.connect(settings.postgres_url, pool_size=1)
            try:
                async with database.fresh() as fresh:
                    return await ask(fresh)
            finally:
                await database.close()
        except StoreAway:
            if time.monotonic() > give_up_at:
                raise
            await asyncio.sleep(1)


def _percentiles(seconds: list[float]) -> Percentiles:
    if len(seconds) < 2:  # noqa: PLR2004 - a quantile needs two
        only = round(seconds[0] * 1000, 1) if seconds else None
        return Percentiles(only, only, only)
    cuts = quantiles(seconds, n=100, method="inclusive")
    return Percentiles(*(round(cuts[percent - 1] * 1000, 1) for percent in (50, 95, 99)))
