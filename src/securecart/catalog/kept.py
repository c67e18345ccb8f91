"""What was worked out once is kept in the cache, and neither its end nor the cache's sends everybody to the database.

- Many who miss the same key at once in this process share one load, and only so many loads are under way together.
- It is read behind the last change that the cache has heard of, and not kept when another was heard of meanwhile.
- What was loaded at the same time does not end at the same time.
- Shortly before a much asked key ends, one who asks works it out anew while all go on with what is there: early by ten
  times what the load took, times a random factor (after Vattani, Chierichetti and Lowenstein, "Optimal probabilistic
  cache stampede prevention", 2015).
"""

from __future__ import annotations

import asyncio
import random
import struct
import time
from collections.abc import Awaitable, Callable

from prometheus_client import Counter

from securecart.catalog import changes
from securecart.stores.cache import Cache
from securecart.stores.postgres import Database, Read

__all__ = ["read_through", "spread"]

SPREAD = 0.2
EARLY = 10.0
NEVER_EARLIER = 20.0  # the random factor is larger once in five hundred million times

# Before what is kept: the layout's number, when it ends (epoch seconds), and how long its load took (seconds).
_HEAD = struct.Struct("<Bdd")
LAYOUT = 1

_loads = Counter("securecart_cache_loads_total", "Loads of what the cache did not have, or not for long.", ["why"])
_missed, _ending = _loads.labels("missed"), _loads.labels("ending")

Load = Callable[[Read], Awaitable[bytes]]


def spread(seconds: int) -> int:
    """So many seconds or up to a fifth less, by chance, and at least one."""
    return max(1, round(seconds * random.uniform(1 - SPREAD, 1)))  # noqa: S311 - chance, not secrecy


async def read_through(database: Database, cache: Cache, key: str, seconds: int, load: Load) -> bytes:
    """The bytes of the cache, or loaded from the database and kept there for at most `seconds`; whatever `load` raises."""
    kept = await cache.get(key)
    if kept is not None and kept[:1] == bytes([LAYOUT]):
        _, ends_at, took_s = _HEAD.unpack_from(kept)
        if _is_due(ends_at - time.time(), took_s) and key not in cache.under_way:
            _ending.inc()
            _begin(database, cache, key, seconds, load)
        return kept[_HEAD.size :]
    task = cache.under_way.get(key)
    if task is None:
        _missed.inc()
        task = _begin(database, cache, key, seconds, load)
    return await asyncio.shield(task)


def _is_due(left_s: float, took_s: float) -> bool:
    """Whether it is time to work it out anew, by chance: the sooner it ends and the longer it takes, the likelier."""
    early_s = EARLY * took_s
    return left_s < NEVER_EARLIER * early_s and left_s < early_s * random.expovariate(1.0)


def _begin(database: Database, cache: Cache, key: str, seconds: int, load: Load) -> asyncio.Task[bytes]:
    task = cache.under_way[key] = asyncio.create_task(_load(database, cache, key, seconds, load))
    task.add_done_callback(lambda done: _finish(cache, key, done))
    return task


async def _load(database: Database, cache: Cache, key: str, seconds: int, load: Load) -> bytes:
    changed = await changes.look(cache)
    async with cache.loading:
        began = time.monotonic()
        async with database.read(changed if database.has_replicas else None) as read:
            content = await load(read)
        took_s = time.monotonic() - began
    if await changes.look(cache) != changed:
        return content
    kept_s = spread(seconds)
    await cache.put(key, _HEAD.pack(LAYOUT, time.time() + kept_s, took_s) + content, seconds=kept_s)
    return content


def _finish(cache: Cache, key: str, task: asyncio.Task[bytes]) -> None:
    del cache.under_way[key]
    if not task.cancelled():
        task.exception()  # those who wait see it; with nobody left to wait it is not worth a warning
