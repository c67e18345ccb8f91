"""A crowd that goes on buying until so many orders are placed, while somebody fills carts ahead of it.

It plays in the bench's own process: there is nothing beside it to measure, and it has to tell how it goes.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from array import array
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import IO
from urllib.parse import urlsplit

from bench import harness
from bench.acknowledged import Acknowledged
from bench.harness import RunningShop
from bench.load import Answer, Unexpected, Wire
from bench.placing import order_request, placed
from bench.prepared import Filled, Pile

__all__ = ["Book", "Crowd"]

STOCK = 4_000
STEP = 500
REST_S = 60.0
LOOK_EVERY_S = 0.02
LAST_WORDS_S = 30.0
REFUSED_WAIT_S = 1.0
TOO_BUSY = (429, 503)
HOUR_S = 3_600.0


class Book:
    """What shoppers were told, kept in a file, and how long each order took (microseconds), by tenth of the run and by hour."""

    def __init__(self, wanted: int, told: IO[str]) -> None:
        self.wanted = wanted
        self.count = 0
        self.refused = 0
        self.began = time.perf_counter()
        self.by_tenth = [array("I") for _ in range(10)]
        self.by_hour: dict[int, array[int]] = defaultdict(lambda: array("I"))
        self.ended_s: list[float] = []
        self._newest: deque[int] = deque(maxlen=100_000)
        self._told = told

    @property
    def elapsed_s(self) -> float:
        """Seconds since the first order was asked for."""
        return time.perf_counter() - self.began

    @property
    def tenth(self) -> int:
        """Which tenth of the run the next order is in, from 0."""
        return min(self.count * 10 // self.wanted, 9)

    def write(self, one: Acknowledged, took_ns: int) -> None:
        """An order was acknowledged."""
        took_us, now_s = took_ns // 1_000, self.elapsed_s
        self.by_tenth[self.tenth].append(took_us)
        self.by_hour[int(now_s // HOUR_S)].append(took_us)
        self._newest.append(took_us)
        self._told.write(f"{one.shopper_id} {one.number} {one.total_minor}\n")
        self.count += 1
        while len(self.ended_s) < self.count * 10 // self.wanted:
            self.ended_s.append(now_s)

    def interval_p99_ms(self) -> float:
        """Of the orders since this was asked last."""
        newest = sorted(self._newest)
        self._newest.clear()
        return harness.percentile(newest, 0.99) / 1_000 if newest else 0.0

    def told(self) -> Iterator[Acknowledged]:
        """All that shoppers were told, from the beginning."""
        self._told.seek(0)
        for line in self._told:
            shopper_id, number, total_minor = line.split()
            yield Acknowledged(shopper_id, number, int(total_minor))


class Crowd:
    """Callers who buy one prepared cart after the other; a cart's shopper rests a while before the next one."""

    def __init__(self, shop: RunningShop, pile: Pile, book: Book) -> None:
        self.starved_s = 0.0
        self._shop = shop
        self._pile = pile
        self._stock = min(STOCK, book.wanted)
        self._book = book
        self._asked = 0
        self._resting: deque[tuple[float, Filled]] = deque()
        self._stopping = False

    def stop(self) -> None:
        """Begin no more orders."""
        self._stopping = True

    async def buy_all(self, connections: int) -> None:
        """Place every order that the book wants, or as many as there is time for until `stop`."""
        await self._pile.top_up(self._stock)
        filling = asyncio.create_task(self._keep_filled())
        self._book.began = time.perf_counter()
        callers = [asyncio.create_task(self._buy_on()) for _ in range(connections)]
        try:
            done, _ = await asyncio.wait([filling, *callers], return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            self.stop()
            filling.cancel()
            _, late = await asyncio.wait(callers, timeout=LAST_WORDS_S)
            for caller in late:
                caller.cancel()
            await asyncio.gather(filling, *callers, return_exceptions=True)

    @property
    def _goes_on(self) -> bool:
        return not self._stopping and self._asked < self._book.wanted

    async def _keep_filled(self) -> None:
        """Fill carts a step at a time, never more than the stock of them."""
        while self._goes_on:
            self._wake_the_rested()
            ready = len(self._pile.filled)
            if ready <= self._stock - STEP:
                await self._pile.top_up(ready + STEP)
            else:
                await asyncio.sleep(LOOK_EVERY_S)

    def _wake_the_rested(self) -> None:
        until = time.monotonic() - REST_S
        while self._resting and self._resting[0][0] <= until:
            self._pile.bring_back([self._resting.popleft()[1]])

    async def _buy_on(self) -> None:
        address = urlsplit(self._shop.url)
        assert address.hostname is not None
        _, wire = await asyncio.get_running_loop().create_connection(Wire, address.hostname, address.port or 80)
        message = order_request(self._shop.host, self._shop.headers)
        try:
            while self._goes_on:
                if not self._pile.filled:
                    self.starved_s += LOOK_EVERY_S
                    await asyncio.sleep(LOOK_EVERY_S)
                    continue
                self._asked += 1
                cart = self._pile.take()
                answer = await self._until_taken(wire, message(cart.token, secrets.token_hex(16), cart.total_minor))
                if answer is None:
                    return
                order = placed(answer.body, cart.total_minor)
                self._book.write(Acknowledged(cart.shopper_id, order.number, cart.total_minor), answer.took_ns)
                self._resting.append((time.monotonic(), cart))
        finally:
            wire.close()

    async def _until_taken(self, wire: Wire, message: bytes) -> Answer | None:
        """The answer to an order; one that the shop is too busy for is sent again with its key, or given up at the end."""
        while True:
            answer = await wire.ask(message)
            if answer.status == 201:
                return answer
            if answer.status not in TOO_BUSY:
                said = answer.body[:300].decode(errors="replace")
                raise Unexpected(f"An order was answered with status {answer.status} instead of 201: {said}")
            self._book.refused += 1
            if self._stopping:
                return None
            await asyncio.sleep(REFUSED_WAIT_S)
