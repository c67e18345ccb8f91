"""A network between the shop and DynamoDB that loses answers: the engine has done what was asked, and nobody hears of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import cast

import aiohttp
from aiodynamo.http.types import Request, RequestFailed, Response

from securecart.stores.dynamodb import DynamoDB

WRITES = frozenset({"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"})


class Network:
    """Stands where the HTTP client stands; `dynamodb` is the store as seen through it.

    `loses` says of each write, counted from 0, whether its answer is lost. `before` runs when the first write
    has been sent and has not arrived; `meanwhile` runs between the first loss and the moment the client hears
    of it. `sent` names every call in order.
    """

    def __init__(
        self,
        dynamodb: DynamoDB,
        *,
        loses: Callable[[int], bool] = lambda write: write == 0,
        before: Callable[[], Awaitable[object]] | None = None,
        meanwhile: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._through = dynamodb.client.http
        self._loses = loses
        self._before = before
        self._meanwhile = meanwhile
        self._writes = 0
        self.sent: list[str] = []
        self.lost = 0
        client = dataclasses.replace(dynamodb.client, http=self)
        self.dynamodb = DynamoDB(client, dynamodb._session, dynamodb._prefix)

    async def __call__(self, request: Request) -> Response:
        action = cast("dict[str, str]", request.headers)["X-Amz-Target"].rpartition(".")[2]
        self.sent.append(action)
        number, self._writes = self._writes, self._writes + (action in WRITES)
        if action in WRITES and self._before is not None:
            before, self._before = self._before, None
            await before()
        answer = await self._through(request)
        if action in WRITES and self._loses(number):
            self.lost += 1
            if self._meanwhile is not None:
                meanwhile, self._meanwhile = self._meanwhile, None
                await meanwhile()
            raise RequestFailed(aiohttp.ServerDisconnectedError())
        return answer
