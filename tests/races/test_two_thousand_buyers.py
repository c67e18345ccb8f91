"""A sale: two thousand buyers at the shop's own door, for fifty units, over as many connections as a server should bear."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import msgspec
from msgspec import Struct

from securecart import carts, sessions
from securecart.app import Shop
from securecart.sessions.model import hash_of
from securecart.stores.dynamodb import TableSpec
from tests.orders_for_tests import a_product, a_wish
from tests.shopping import captured, stock_of

BUYERS, UNITS, CONNECTIONS = 2000, 50, 256
ANSWERED_WITHIN_S = 8.0  # generous, for a machine busy with other things
TRANSACTION = 100


class Answer(Struct, frozen=True):
    """What a buyer heard: the order's number, or the error's code."""

    status: int
    said: str
    took_s: float


async def test_two_thousand_buyers_for_fifty_units(shop: Shop, shop_url: str, uncounted: dict[str, str]) -> None:
    sku = await a_product(shop.database, stock=UNITS)
    tokens = await two_thousand_full_carts(shop, sku)
    answers = await race(shop_url, tokens, uncounted)
    assert Counter((one.status, one.said if one.status == 409 else "") for one in answers) == {
        (201, ""): UNITS,
        (409, "out-of-stock"): BUYERS - UNITS,
    }
    numbers = [one.said for one in answers if one.status == 201]
    assert len(set(numbers)) == UNITS
    assert await stock_of(shop, sku) == (UNITS, 0, 0)
    async with shop.database.read() as read:
        written = await read.fetch(
            "SELECT number, status FROM orders JOIN order_line ON order_line.order_id = orders.id WHERE sku = $1", sku
        )
    assert {(one["number"], one["status"]) for one in written} == {(number, "paid") for number in numbers}
    assert await captured(shop, *numbers) == [100] * UNITS
    assert max(one.took_s for one in answers) < ANSWERED_WITHIN_S


async def race(url: str, tokens: list[str], headers: dict[str, str]) -> list[Answer]:
    """Everybody buys, `CONNECTIONS` at a time; each answer with its time from the request's first byte."""
    waiting, answers = deque(tokens), list[Answer]()
    body = msgspec.json.encode(a_wish())
    always = {**headers, "Content-Type": "application/json"}

    async def one_line_of_buyers(http: aiohttp.ClientSession) -> None:
        while waiting:
            mine = {"Authorization": f"Bearer {waiting.popleft()}", "Idempotency-Key": secrets.token_hex(8)}
            began = time.perf_counter()
            async with http.post(f"{url}/api/checkout", data=body, headers=mine) as response:
                said = msgspec.json.decode(await response.read())
            answers.append(Answer(response.status, said.get("number") or said["code"], time.perf_counter() - began))

    async with aiohttp.ClientSession(headers=always, connector=aiohttp.TCPConnector(limit=0)) as http:
        await asyncio.gather(*(one_line_of_buyers(http) for _ in range(CONNECTIONS)))
    return answers


async def two_thousand_full_carts(shop: Shop, sku: str) -> list[str]:
    """The tokens of guests who hold one unit each, written as the rooms write them, a hundred a call."""
    buyers = [(secrets.token_urlsafe(32), f"guest:{secrets.token_hex(8)}") for _ in range(BUYERS)]
    ends = {"N": str(int(time.time()) + 86_400)}
    held = {"L": [{"M": {"sku": {"S": sku}, "quantity": {"N": "1"}}}]}
    opened = [
        {"token_hash": {"S": hash_of(token)}, "shopper_id": {"S": shopper}, "days": {"N": "1"}, "expires_at": ends}
        for token, shopper in buyers
    ]
    filled = [
        {
            "shopper_id": {"S": shopper},
            "lines": held,
            "version": {"N": "1"},
            "trail": {"L": [{"S": ""}, {"S": secrets.token_hex(8)}]},
            "expires_at": ends,
        }
        for _, shopper in buyers
    ]
    await write(shop, sessions.TABLE, opened)
    await write(shop, carts.TABLE, filled)
    return [token for token, _ in buyers]


async def write(shop: Shop, table: TableSpec, items: Sequence[Mapping[str, Any]]) -> None:
    name = shop.dynamodb.name_of(table)
    async with shop.dynamodb.calls() as client:
        for start in range(0, len(items), TRANSACTION):
            puts = [{"Put": {"TableName": name, "Item": item}} for item in items[start : start + TRANSACTION]]
            await client.send_request(action="TransactWriteItems", payload={"TransactItems": puts})
