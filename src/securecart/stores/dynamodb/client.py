"""aiodynamo's client with the patience of our table: time-outs, repetitions and the breaker around each request."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import aiohttp
from aiodynamo.client import Client
from aiodynamo.errors import (
    ExpiredToken,
    InternalDynamoError,
    ProvisionedThroughputExceeded,
    RequestLimitExceeded,
    ServiceUnavailable,
    TableNotFound,
    Throttled,
)
from aiodynamo.models import RetryConfig, RetryTimeout

from securecart.patience import DYNAMODB, DYNAMODB_MANY, Breaker, Patience, repeat

__all__ = ["AWAY", "CONNECTIONS_MAX", "Once", "PatientClient"]

CONNECTIONS_MAX = 64

# What an engine that is down, starting or out of order looks like from here; the breaker counts these.
UNWELL = (OSError, TimeoutError, aiohttp.ClientError, InternalDynamoError, ServiceUnavailable)
# What may go well the next time: every write of the shop carries a version or a name, so a second copy does no harm.
PASSING = (*UNWELL, ExpiredToken, ProvisionedThroughputExceeded, RequestLimitExceeded, Throttled)
AWAY = (*PASSING, TableNotFound)

# What pages wait for; the rest moves many items at once, or makes tables.
OF_PAGES = frozenset({"GetItem", "BatchGetItem", "PutItem", "UpdateItem", "DeleteItem", "Query"})


class Once(RetryConfig):
    """Has the library itself try once: what comes after that is the table's to say."""

    def delays(self) -> Iterable[float]:
        """No pause, for there is no second try."""
        return ()

    async def attempts(self) -> AsyncIterator[None]:
        """One; the library then lets through what came of it."""
        yield
        raise RetryTimeout


@dataclasses.dataclass(frozen=True)
class PatientClient(Client):
    """Waits, repeats and stops asking as the table says; `StoreAway` at once while the breaker is open."""

    breaker: Breaker | None = None
    turns: asyncio.Semaphore = dataclasses.field(default_factory=lambda: asyncio.Semaphore(CONNECTIONS_MAX))

    async def send_request(self, *, action: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """The engine's answer to one request, which is sent again where that may help."""
        patience = DYNAMODB if action in OF_PAGES else DYNAMODB_MANY
        return await repeat(patience, PASSING, functools.partial(self._send, patience, action, payload))

    async def _send(self, patience: Patience, action: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        breaker = self.breaker
        assert breaker is not None
        async with self.turns:  # the clock of a request runs from when it is sent, not while others have all connections
            breaker.admit()
            began = time.monotonic()
            try:
                async with asyncio.timeout(patience.answer_s):
                    answer = await super().send_request(action=action, payload=payload)
            except TimeoutError:
                breaker.missed(began, in_vain=True)
                raise
            except UNWELL:
                breaker.missed(began)
                raise
            except Exception:
                breaker.heard()  # a refusal is an answer
                raise
            breaker.heard()
            return answer
