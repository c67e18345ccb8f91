"""How long the shop waits for each store, how often it asks again, and when it stops asking: one table.

Every time-out, every bounded retry with jitter and every circuit breaker of the shop takes its numbers from here, and
docs/availability.md shows the same table (a test compares them). `repeat` asks again, `Breaker` stops asking.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import stamina
from msgspec import Struct
from prometheus_client import Counter, Gauge

from securecart.errors import StoreAway
from securecart.telemetry import log

__all__ = [
    "CACHE",
    "DYNAMODB",
    "DYNAMODB_LEFT_OUT",
    "DYNAMODB_MANY",
    "FAILOVER",
    "GATEWAY",
    "GATEWAY_BOOK",
    "GLOBAL_TABLES",
    "GRAPH",
    "POSTGRES",
    "POSTGRES_LOCK",
    "POSTGRES_LONG",
    "READER",
    "READER_ANEW",
    "TABLE",
    "TABLE_RECOVERY",
    "WEB_READS",
    "Breaker",
    "Patience",
    "repeat",
]

T = TypeVar("T")


class Patience(Struct, frozen=True):
    """All in seconds: to connect, for an answer, for all tries together; the pauses between tries, each with jitter.

    `tries` counts the first one. After `open_after` failures in a row, or one that waited in vain while nobody else was
    answered, nobody is asked: the breaker. Every `open_for_s` it looks whether the store is back. 0 means that there is none.
    """

    name: str
    connect_s: float = 0.0
    answer_s: float = 0.0
    tries: int = 1
    retry_for_s: float = 0.0
    pause_s: float = 0.0
    pause_max_s: float = 0.0
    open_after: int = 0
    open_for_s: float = 0.0


POSTGRES = Patience("orders database", connect_s=3.0, answer_s=10.0)
# the setting failover_patience_seconds takes the place of its 8 seconds
FAILOVER = Patience("orders database, a change caught by a failover", tries=60, retry_for_s=8.0, pause_s=0.1, pause_max_s=0.5)
POSTGRES_LOCK = Patience("orders database, a row that somebody holds", answer_s=3.0)
POSTGRES_LONG = Patience("orders database, an import or a check of everything", connect_s=3.0, answer_s=600.0)
DYNAMODB = Patience(
    "cart and session store",
    connect_s=0.5,
    answer_s=1.5,
    tries=4,
    retry_for_s=2.5,
    pause_s=0.03,
    pause_max_s=0.3,
    open_after=5,
    open_for_s=0.5,
)
DYNAMODB_MANY = Patience(
    "cart and session store, many items at once",
    connect_s=0.5,
    answer_s=5.0,
    tries=4,
    retry_for_s=1.0,
    pause_s=0.03,
    pause_max_s=0.3,
    open_after=5,
    open_for_s=0.5,
)
DYNAMODB_LEFT_OUT = Patience(
    "cart and session store, items it had no room for", tries=7, retry_for_s=10.0, pause_s=0.05, pause_max_s=3.2
)
CACHE = Patience("cache", connect_s=0.25, answer_s=0.25, open_after=1, open_for_s=0.5)
# the setting graph_timeout_s takes the place of its 20 seconds
GRAPH = Patience(
    "graph", connect_s=0.5, answer_s=20.0, tries=6, retry_for_s=5.0, pause_s=0.02, pause_max_s=0.5, open_after=5, open_for_s=0.5
)
GATEWAY = Patience("card gateway", connect_s=1.0, answer_s=5.0, tries=2, retry_for_s=1.0, pause_s=0.1, pause_max_s=0.5)
GATEWAY_BOOK = Patience("card gateway, a page of its whole book", answer_s=30.0)
GLOBAL_TABLES = Patience(
    "the other region's tables, until it answers", connect_s=1.0, answer_s=3.0, tries=0, pause_s=0.1, pause_max_s=2.0
)
TABLE_RECOVERY = Patience(
    "tables that are kept or recovered", connect_s=1.0, answer_s=30.0, tries=8, retry_for_s=60.0, pause_s=0.2, pause_max_s=5.0
)
READER = Patience("a reader of the event log, at a fact that fails", tries=3, pause_s=0.2, pause_max_s=5.0)
READER_ANEW = Patience("a reader's work made anew when regions change", tries=60, retry_for_s=60.0, pause_s=0.2, pause_max_s=2.0)
WEB_READS = Patience("a page or a GET caught by a dying store", tries=8, retry_for_s=1.0, pause_s=0.05, pause_max_s=0.3)

TABLE = (
    POSTGRES,
    FAILOVER,
    POSTGRES_LOCK,
    POSTGRES_LONG,
    DYNAMODB,
    DYNAMODB_MANY,
    DYNAMODB_LEFT_OUT,
    CACHE,
    GRAPH,
    GATEWAY,
    GATEWAY_BOOK,
    GLOBAL_TABLES,
    TABLE_RECOVERY,
    READER,
    READER_ANEW,
    WEB_READS,
)

_repeated = Counter("securecart_repeated_calls_total", "Calls made again because the one before failed.", ["store"])
_opened = Counter("securecart_breaker_opened_total", "How often a breaker stopped asking its store.", ["store"])
_refused = Counter("securecart_breaker_refused_total", "Calls not made because the store's breaker was open.", ["store"])
_open = Gauge("securecart_breaker_open", "Processes whose breaker is open.", ["store"], multiprocess_mode="livesum")

stamina.instrumentation.set_on_retry_hooks(())  # it would log each repetition; they are counted here


async def repeat(patience: Patience, on: type[Exception] | tuple[type[Exception], ...], call: Callable[[], Awaitable[T]]) -> T:
    """What `call` answers; one that fails with `on` is made again, as often and for as long as `patience` has it.

    The last error is let through. Only for what is safe to repeat.
    """
    began = time.monotonic()
    try:
        return await call()
    except on as error:
        left_s = patience.retry_for_s - (time.monotonic() - began)
        if patience.tries <= 1 or left_s <= 0:
            raise
        failed: Exception | None = error
    # what goes well at once does not pay for the preparations of a retry; what failed counts as its first try
    async for attempt in stamina.retry_context(
        on=on,
        attempts=patience.tries,
        timeout=left_s,
        wait_initial=patience.pause_s,
        wait_max=patience.pause_max_s,
        wait_jitter=patience.pause_s,
    ):
        with attempt:
            if failed is not None:
                first, failed = failed, None
                raise first
            _repeated.labels(patience.name).inc()
            return await call()
    raise AssertionError  # stamina lets the last error through


class Breaker:
    """Stops asking a store that does not answer, so that nobody waits for it, and looks by itself whether it is back.

    `look` asks the store the cheapest question and says whether it answered; it is called only while the breaker is open.
    Who calls the store tells the breaker how it went: `heard` or `missed`. `turns` counts how often it has opened or closed.
    """

    def __init__(self, patience: Patience, look: Callable[[], Awaitable[bool]]) -> None:
        self.patience = patience
        self.turns = 0
        self.back_at = -math.inf  # monotonic: when the store had been away and was back last
        self._is_open = False
        self._look = look
        self._missed = 0
        self._heard_at = 0.0
        self._looking: asyncio.Task[None] | None = None

    def is_open(self) -> bool:
        """Whether the store is left alone at the moment."""
        return self._is_open

    def admit(self) -> None:
        """Nothing while the store is asked; `StoreAway` while it is not."""
        if self._is_open:
            raise self.refusal()

    def refusal(self) -> StoreAway:
        """The error for who would have asked; counted."""
        _refused.labels(self.patience.name).inc()
        return StoreAway(store=self.patience.name, retry_after=max(2, math.ceil(self.patience.open_for_s)))

    def heard(self) -> None:
        """The store has answered, whatever it said."""
        self._missed = 0
        self._heard_at = time.monotonic()

    def missed(self, began: float, *, in_vain: bool = False) -> None:
        """A call begun at `began` (monotonic) failed; `in_vain` when it waited as long as it may."""
        self._missed += 1
        unheard = in_vain and self._heard_at < began
        if not self._is_open and (unheard or self._missed >= self.patience.open_after > 0):
            self._open()

    def close(self) -> None:
        """Ask nobody any more, and look no longer; for the end of the process."""
        self._is_open = True
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
            _open.labels(self.patience.name).dec()

    def _open(self) -> None:
        self._is_open = True
        self.turns += 1
        log.warning("store does not answer, it is left alone until it does", store=self.patience.name)
        _opened.labels(self.patience.name).inc()
        _open.labels(self.patience.name).inc()
        self._looking = asyncio.create_task(self._look_until_back())

    async def _look_until_back(self) -> None:
        began = time.monotonic()
        while True:
            await asyncio.sleep(self.patience.open_for_s * random.uniform(0.75, 1.25))  # noqa: S311 - chance, not secrecy
            if await self._look():
                break
        self._looking = None
        self._is_open = False
        self.back_at = time.monotonic()
        self.turns += 1
        self.heard()
        _open.labels(self.patience.name).dec()
        log.info("store answers again", store=self.patience.name, away_s=round(time.monotonic() - began, 1))
