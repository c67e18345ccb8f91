"""The cache (Valkey or Redis): remembers what is cheap to lose, counts what must be quick.

A cache that is away must never stop a sale. Every call here answers within a fraction of a second: a read
finds nothing but what this very process wrote a moment ago, a write goes no further than that, a counter counts as zero.
After a failure the cache is left alone until it answers again, so that a dead server costs one time-out and not one a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

from prometheus_client import Counter
from valkey.asyncio import Valkey
from valkey.exceptions import ValkeyError

from securecart.grouping import Grouped
from securecart.patience import CACHE, Breaker
from securecart.stores.cache.spare import Spare

__all__ = ["Cache", "connect"]

T = TypeVar("T")

CONNECTIONS_MAX = 32
KEYS_A_CALL = 1_000
GROUP_MAX = 500
AWAY_NUMBER = -1
AWAY = (ValkeyError, OSError, TimeoutError)

_failures = Counter("securecart_cache_failures_total", "Calls that the cache did not answer.")


class Cache:
    """Bytes by key, each with a time to live in seconds.

    `loading` is held by whoever works out what was not found here, and `under_way` is what this process works out now: a
    lost cache must not send everybody to the database at once, where they would take the connections that checkouts need.
    """

    def __init__(self, client: Valkey, *, loads_at_once: int = 4) -> None:
        self.breaker = Breaker(CACHE, self.answers)
        self.loading = asyncio.Semaphore(loads_at_once)
        self.under_way: dict[str, asyncio.Task[bytes]] = {}
        self._client = client
        self._spare = Spare()
        # the client's pool raises when it is used up, which would look like a dead server; callers queue here instead
        self._turn = asyncio.Semaphore(CONNECTIONS_MAX)
        # a call of the client costs more than all the rest of a look-up, so what is asked at the same time shares one
        self._get: Grouped[str, bytes | None] = Grouped(self.get_many, most=GROUP_MAX)
        self._put: Grouped[tuple[str, bytes, int], None] = Grouped(self._put_all, most=GROUP_MAX)

    async def get(self, key: str) -> bytes | None:
        """The bytes kept under `key`, or None when there are none or the cache is away."""
        return await self._get(key)

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The bytes kept under each key, in order, None where there are none."""
        if self.breaker.is_open():
            return [self._spare.get(key) for key in keys]
        nothing: list[bytes | None] = [None] * len(keys)
        return await self._ask(lambda: self._client.mget(list(keys)), nothing) if keys else nothing

    async def put(self, key: str, content: bytes, *, seconds: int) -> None:
        """Keep `content` for at most `seconds`."""
        await self._put((key, content, seconds))

    async def drop(self, keys: Iterable[str | bytes]) -> bool:
        """Forget these keys; whether the server did."""
        names = list(keys)
        self._spare.drop(names)
        parts = [names[start : start + KEYS_A_CALL] for start in range(0, len(names), KEYS_A_CALL)]
        return all([await self._ask(functools.partial(self._client.unlink, *part), AWAY_NUMBER) >= 0 for part in parts])

    async def drop_all(self, prefix: str) -> int | None:
        """Forget every key that begins so; how many there were, None when the server did not do it."""
        nothing: tuple[int, list[bytes]] = (AWAY_NUMBER, [])
        dropped, cursor = 0, 0
        while True:
            look = functools.partial(self._client.scan, cursor, match=f"{prefix}*", count=KEYS_A_CALL)
            cursor, found = await self._ask(look, nothing)
            if cursor == AWAY_NUMBER or not await self.drop(found):
                return None
            dropped += len(found)
            if cursor == 0:
                return dropped

    async def count(self, key: str, *, seconds: int) -> int:
        """How often `key` was counted in the running window of `seconds`, this time included; 0 when away."""
        name = f"{key}:{int(time.time()) // seconds}"

        async def send() -> int:
            async with self._client.pipeline(transaction=False) as pipeline:
                pipeline.incr(name)
                pipeline.expire(name, seconds + 1)
                return int((await pipeline.execute())[0])

        return await self._ask(send, 0)

    async def answers(self) -> bool:
        """Whether the server answers at this moment."""
        try:
            return bool(await self._client.ping())
        except AWAY:
            return False

    async def close(self) -> None:
        """Close the connections, once what is under way has its answer."""
        self.breaker.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * CACHE.answer_s):
                for _ in range(CONNECTIONS_MAX):
                    await self._turn.acquire()
        await self._client.aclose()

    async def _put_all(self, asked: Sequence[tuple[str, bytes, int]]) -> Sequence[None]:
        async def send() -> None:
            async with self._client.pipeline(transaction=False) as pipeline:
                for key, content, seconds in asked:
                    pipeline.set(key, content, ex=seconds)
                await pipeline.execute()

        if not self.breaker.is_open():
            await self._ask(send, None)
        if self.breaker.is_open():
            for key, content, seconds in asked:
                self._spare.put(key, content, seconds=seconds)
        return [None] * len(asked)

    async def _ask(self, call: Callable[[], Awaitable[Any]], otherwise: T) -> T:
        """What the server answers to `call`, or `otherwise` while it is away."""
        if self.breaker.is_open():
            return otherwise
        async with self._turn:
            if self.breaker.is_open():  # it was lost while others had all connections
                return otherwise
            began = time.monotonic()
            try:
                answer: T = await call()
            except AWAY:
                _failures.inc()
                self.breaker.missed(began)
                return otherwise
        self.breaker.heard()
        return answer


def connect(url: str, *, loads_at_once: int = 4) -> Cache:
    """A cache client for `url`; nothing is sent before the first call."""
    return Cache(
        Valkey.from_url(
            url.replace("redis://", "valkey://", 1).replace("rediss://", "valkeys://", 1),
            socket_timeout=CACHE.answer_s,
            socket_connect_timeout=CACHE.connect_s,
            max_connections=CONNECTIONS_MAX + 1,  # one more, to look whether it is back
        ),
        loads_at_once=loads_at_once,
    )
