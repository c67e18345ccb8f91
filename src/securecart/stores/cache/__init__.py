"""The cache (Valkey or Redis): remembers what is cheap to lose, counts what must be quick.

A cache that is away must never stop a sale. Every call here answers within a fraction of a second: a read
finds nothing, a write is dropped, a counter counts as zero. After a failure the cache is left alone for a
second, so that a dead server costs one time-out a second and not one a request.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from prometheus_client import Counter
from valkey.asyncio import Valkey
from valkey.exceptions import ValkeyError

__all__ = ["Cache", "connect"]

TIMEOUT_S = 0.25
PAUSE_AFTER_FAILURE_S = 1.0
AWAY = (ValkeyError, OSError, TimeoutError)

_failures = Counter("securecart_cache_failures_total", "Calls that the cache did not answer.")


class Cache:
    """Bytes by key, each with a time to live in seconds."""

    def __init__(self, client: Valkey) -> None:
        self._client = client
        self._away_until = 0.0

    async def get(self, key: str) -> bytes | None:
        """The bytes kept under `key`, or None when there are none or the cache is away."""
        if self._away():
            return None
        try:
            found: bytes | None = await self._client.get(key)
        except AWAY:
            self._leave_alone()
            return None
        return found

    async def get_many(self, keys: list[str]) -> list[bytes | None]:
        """The bytes kept under each key, in order, None where there are none."""
        if not keys or self._away():
            return [None] * len(keys)
        try:
            found: list[bytes | None] = await self._client.mget(keys)
        except AWAY:
            self._leave_alone()
            return [None] * len(keys)
        return found

    async def put(self, key: str, content: bytes, *, seconds: int) -> None:
        """Keep `content` for at most `seconds`."""
        if self._away():
            return
        try:
            await self._client.set(key, content, ex=seconds)
        except AWAY:
            self._leave_alone()

    async def drop(self, keys: Iterable[str]) -> None:
        """Forget these keys."""
        names = list(keys)
        if not names or self._away():
            return
        try:
            await self._client.delete(*names)
        except AWAY:
            self._leave_alone()

    async def count(self, key: str, *, seconds: int) -> int:
        """How often `key` was counted in the running window of `seconds`, this time included; 0 when away."""
        if self._away():
            return 0
        window = int(time.time()) // seconds
        name = f"{key}:{window}"
        try:
            async with self._client.pipeline(transaction=False) as pipeline:
                pipeline.incr(name)
                pipeline.expire(name, seconds + 1)
                counted: int = (await pipeline.execute())[0]
        except AWAY:
            self._leave_alone()
            return 0
        return counted

    async def answers(self) -> bool:
        """Whether the server answers at this moment."""
        try:
            return bool(await self._client.ping())
        except AWAY:
            return False

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _away(self) -> bool:
        return time.monotonic() < self._away_until

    def _leave_alone(self) -> None:
        _failures.inc()
        self._away_until = time.monotonic() + PAUSE_AFTER_FAILURE_S


def connect(url: str) -> Cache:
    """A cache client for `url`; nothing is sent before the first call."""
    return Cache(
        Valkey.from_url(
            url.replace("redis://", "valkey://", 1).replace("rediss://", "valkeys://", 1),
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            max_connections=64,
        )
    )
