"""Items asked for at the same time come in one request, each to who asked for it."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from typing import Any

import pytest
from aiodynamo.http.types import Request, RequestFailed, Response

from securecart import carts
from securecart.app import Shop
from securecart.carts import TABLE
from securecart.errors import StoreAway
from securecart.stores.dynamodb import DynamoDB
from securecart.values import Line
from tests.lost_answers import Network


async def shoppers_with_carts(shop: Shop, count: int) -> list[str]:
    names = [f"guest:{secrets.token_hex(8)}" for _ in range(count)]
    await asyncio.gather(*(carts.replace(shop.dynamodb, name, [Line(f"SKU-{name[6:]}", 1)], days=1) for name in names))
    return names


def sku_in(item: dict[str, Any] | None) -> str | None:
    return None if item is None else item["lines"][0]["sku"]


async def test_one_who_asks_alone_asks_for_the_item_itself(shop: Shop) -> None:
    (name,) = await shoppers_with_carts(shop, 1)
    network = Network(shop.dynamodb)
    assert sku_in(await network.dynamodb.get(TABLE, name)) == f"SKU-{name[6:]}"
    assert await network.dynamodb.get(TABLE, "guest:nobody") is None
    assert network.sent == ["GetItem", "GetItem"]


async def test_those_who_ask_together_share_a_request_and_get_their_own(shop: Shop) -> None:
    names = await shoppers_with_carts(shop, 5)
    network = Network(shop.dynamodb)
    wanted = [*names, "guest:nobody", names[0]]
    found = await asyncio.gather(*(network.dynamodb.get(TABLE, name) for name in wanted))
    assert [sku_in(item) for item in found] == [None if name == "guest:nobody" else f"SKU-{name[6:]}" for name in wanted]
    assert network.sent == ["BatchGetItem"]


async def test_what_a_throttled_table_left_out_is_asked_for_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    names = await shoppers_with_carts(shop, 4)
    send = type(shop.dynamodb.client).send_request
    asked: list[int] = []

    async def stingy(client: object, *, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        ((table, request),) = payload["RequestItems"].items()
        keys = request["Keys"]
        asked.append(len(keys))
        answer = await send(client, action=action, payload={"RequestItems": {table: {**request, "Keys": keys[:1]}}})  # type: ignore[arg-type]
        left = {table: {"Keys": keys[1:]}} if keys[1:] else {}
        return {**answer, "UnprocessedKeys": left}

    monkeypatch.setattr(type(shop.dynamodb.client), "send_request", stingy)
    found = await asyncio.gather(*(shop.dynamodb.get(TABLE, name) for name in names))
    assert [sku_in(item) for item in found] == [f"SKU-{name[6:]}" for name in names]
    assert asked == [4, 3, 2, 1]


async def test_all_who_ask_hear_at_once_that_the_engine_is_away(shop: Shop) -> None:
    tries: list[Request] = []

    async def nobody_answers(request: Request) -> Response:
        tries.append(request)
        raise RequestFailed(ConnectionRefusedError())

    away = DynamoDB(dataclasses.replace(shop.dynamodb.client, http=nobody_answers), shop.dynamodb._session, shop.dynamodb._prefix)
    heard = await asyncio.gather(*(away.get(TABLE, f"guest:{number}") for number in range(6)), return_exceptions=True)
    assert [type(one) for one in heard] == [StoreAway] * 6
    assert tries
    away.breaker.close()
