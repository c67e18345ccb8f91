"""Rate limits: how often one client may do what is dear or can be abused, counted in the cache.

A client is its address, as the server sees it. The shop's own programs present the internal key and are
not counted. While the cache is away nothing is counted: a lost cache must not stop a sale.
"""

from __future__ import annotations

import hmac
import time
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from securecart.app import Shop
from securecart.errors import TooManyRequests

__all__ = ["INTERNAL_KEY_HEADER", "count", "limit"]

INTERNAL_KEY_HEADER = "x-securecart-internal-key"


def limit(name: str, times: int, *, seconds: int = 60) -> Guard:
    """A guard that lets each client through `times` in each window of `seconds`; `TooManyRequests` after that."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
        await count(connection, name, times, seconds=seconds)

    return guard


async def count(connection: ASGIConnection[Any, Any, Any, Any], name: str, times: int, *, seconds: int = 60) -> None:
    """Count this request against `name`; `TooManyRequests` once the client has used up its `times`."""
    shop: Shop = connection.app.state.shop
    if not shop.settings.rate_limits or _is_ours(connection, shop.settings.internal_key):
        return
    client = connection.client.host if connection.client else "unknown"
    if await shop.cache.count(f"limit:{name}:{client}", seconds=seconds) > times:
        raise TooManyRequests(retry_after=seconds - int(time.time()) % seconds)


def _is_ours(connection: ASGIConnection[Any, Any, Any, Any], key: str) -> bool:
    given = connection.headers.get(INTERNAL_KEY_HEADER, "")
    return bool(key) and hmac.compare_digest(given.encode(), key.encode())
