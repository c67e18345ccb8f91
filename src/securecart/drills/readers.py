"""The readers of a drill: they look at pages beside the shoppers, one after the other, and note what they got.

A reader is a browser with a session: it sends each request once, and an answer of 500 or above, or none, is a page that
failed. The page of an order belongs to a shopper who was told of it a moment ago: where it is missing, it is *stale*.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from http import HTTPStatus

from msgspec import Struct

from securecart.demo.client import Client
from securecart.drills.crowd import FIRST_HOUSEHOLD, Crowd
from securecart.drills.goods import AISLE, Goods
from securecart.drills.timeline import Timeline

__all__ = ["PAGES", "READERS", "UNNOTICED_OF_A_PAGE_S", "UNNOTICED_S", "PageRead", "Readers"]

READERS_A_PAGE = 3
PAUSE_S = (0.08, 0.2)
# A break counts, and counts whole, from about ten times the usual distance between two answers on: a busy machine makes
# shorter ones without any failover. Of all pages together an answer comes every 20 ms, of one kind every 60 ms.
UNNOTICED_S, UNNOTICED_OF_A_PAGE_S = 0.25, 0.5
SORTS = ("relevance", "price_asc", "price_desc", "newest", "name")
WORDS = ("goods", "drill", "plenty", "scarce")


class PageRead(Struct, frozen=True):
    """How one kind of page was served: counts, and times in seconds. `without_s` sums the breaks, `longest_s` is the longest."""

    page: str
    read: int
    failed: int
    stale: int
    without_s: float
    longest_s: float
    wait_s_p99: float
    wait_s_max: float


class Readers:
    """Readers of every kind of page; the `timeline` notes what they get as kind "read"."""

    def __init__(self, client: Client, goods: Goods, crowd: Crowd, *, timeline: Timeline, seed: int) -> None:
        self._client = client
        self._goods = goods
        self._crowd = crowd
        self._timeline = timeline
        self._seed = seed
        self._waits: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self._stale: Counter[str] = Counter()

    async def run(self) -> None:
        """Everybody reads until this is cancelled."""
        async with asyncio.TaskGroup() as group:
            for page in PAGES:
                for number in range(READERS_A_PAGE):
                    group.create_task(self._read(page, random.Random(f"{self._seed} {page} {number}")))  # noqa: S311

    def seen(self, *, since: float, until: float) -> list[PageRead]:
        """What came of each page in these moments."""
        return [self._page(page, since, until) for page in PAGES]

    async def _read(self, page: str, dice: random.Random) -> None:
        while True:
            asked = PAGES[page](self._goods, self._crowd, dice)
            if asked is not None:
                began = time.monotonic()
                answer = await self._client.look(*asked)
                self._waits[page].append((began, time.monotonic() - began))
                self._note(page, answer.status)
            await asyncio.sleep(dice.uniform(*PAUSE_S))

    def _note(self, page: str, status: int) -> None:
        if status == HTTPStatus.OK:
            self._timeline.succeeded("read", page)
        elif not status or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self._timeline.failed("read", page)
        else:
            self._stale[page] += 1

    def _page(self, page: str, since: float, until: float) -> PageRead:
        waits = sorted(took for began, took in self._waits[page] if since <= began + took <= until) or [0.0]
        line = self._timeline
        return PageRead(
            page=page,
            read=line.successes("read", page, since=since, until=until),
            failed=line.failures("read", page, since=since, until=until),
            stale=self._stale[page],
            without_s=round(line.total_without("read", page, since=since, until=until, unnoticed_s=UNNOTICED_OF_A_PAGE_S), 2),
            longest_s=round(line.longest_without("read", page, since=since, until=until), 2),
            wait_s_p99=round(waits[int(len(waits) * 0.99)], 3),
            wait_s_max=round(waits[-1], 3),
        )


def _product(goods: Goods, crowd: Crowd, dice: random.Random) -> tuple[int, str]:
    return _somebody(crowd, dice), f"/p/{dice.choice(goods.plenty + goods.scarce).lower()}"


def _listing(goods: Goods, crowd: Crowd, dice: random.Random) -> tuple[int, str]:
    del goods
    return _somebody(crowd, dice), f"/c/{AISLE}?sort={dice.choice(SORTS)}"


def _search(goods: Goods, crowd: Crowd, dice: random.Random) -> tuple[int, str]:
    number = dice.randrange(len(goods.plenty))
    return _somebody(crowd, dice), f"/search?q={dice.choice(WORDS)}+{number:03d}"


def _orders(goods: Goods, crowd: Crowd, dice: random.Random) -> tuple[int, str]:
    del goods
    return _somebody(crowd, dice), "/account/orders"


def _order(goods: Goods, crowd: Crowd, dice: random.Random) -> tuple[int, str] | None:
    del goods
    told = crowd.an_order(dice)
    return told and (told[0], f"/orders/{told[1]}")


def _somebody(crowd: Crowd, dice: random.Random) -> int:
    return FIRST_HOUSEHOLD + dice.randrange(crowd.shoppers)


# Each page, and who asks for which of its addresses next.
PAGES: dict[str, Callable[[Goods, Crowd, random.Random], tuple[int, str] | None]] = {
    "product": _product,
    "listing": _listing,
    "search": _search,
    "orders": _orders,
    "order": _order,
}
READERS = READERS_A_PAGE * len(PAGES)
