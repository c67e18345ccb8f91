"""The order history against the real stores: what is found by shopper, by number, by status and day, and in which order."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from aiodynamo.errors import TransactionConflict

from securecart.app import Shop
from securecart.errors import StoreAway
from securecart.orders import OrderSummary, history, new_number
from securecart.orders.history import Entry, Key
from securecart.orders.history import actions as history_actions
from securecart.patience import DYNAMODB_LEFT_OUT
from securecart.stores import dynamodb as dynamodb_store

DAY = date(2001, 2, 3)
AT_ONCE = msgspec.structs.replace(DYNAMODB_LEFT_OUT, pause_s=0.0001, pause_max_s=0.001)
NOON = datetime(2001, 2, 3, 12, tzinfo=UTC)


def a_shopper() -> str:
    return f"guest:{secrets.token_hex(8)}"


def an_entry(shopper_id: str, order_id: int, status: str = "paid", placed_at: datetime = NOON) -> Entry:
    return msgspec.convert(
        {
            "order_id": order_id,
            "shopper_id": shopper_id,
            "number": new_number(),
            "status": status,
            "currency": "EUR",
            "total_minor": 1250,
            "items": 3,
            "placed_at": placed_at,
        },
        Entry,
    )


async def test_a_shoppers_orders_come_newest_first_page_by_page(shop: Shop) -> None:
    shopper = a_shopper()
    ids = [9, 10, 99, 100, 2**40, 1]
    await history.keep(shop.dynamodb, [an_entry(shopper, order_id) for order_id in ids])
    await history.keep(shop.dynamodb, [an_entry(a_shopper(), 50)])
    seen: list[OrderSummary] = []
    after: str | None = None
    for length in (4, 2):
        page, after = await history.list_of(shop.dynamodb, shopper, after=after, limit=4)
        assert len(page) == length
        seen += page
    assert after is None
    kept = {entry.number: entry.order_id for entry in await history.known(shop.dynamodb, [Key(shopper, one) for one in ids])}
    assert [kept[one.number] for one in seen] == sorted(ids, reverse=True)


async def test_an_entry_comes_back_as_it_was_kept_to_the_microsecond(shop: Shop) -> None:
    entry = an_entry(a_shopper(), 7, placed_at=datetime(2026, 11, 24, 23, 59, 59, 999_999, tzinfo=UTC))
    await history.keep(shop.dynamodb, [entry])
    assert await history.known(shop.dynamodb, [Key(entry.shopper_id, 7), Key(entry.shopper_id, 8)]) == [entry]
    assert await history.list_of(shop.dynamodb, entry.shopper_id, after=None, limit=5) == ([entry.summary], None)


async def test_keeping_an_order_again_changes_its_one_item(shop: Shop) -> None:
    entry = an_entry(a_shopper(), 7, "pending")
    await history.keep(shop.dynamodb, [entry])
    paid = msgspec.structs.replace(entry, status="paid")
    await history.keep(shop.dynamodb, [paid])
    await history.keep(shop.dynamodb, [paid])
    assert await history.list_of(shop.dynamodb, entry.shopper_id, after=None, limit=5) == ([paid.summary], None)


async def test_an_order_is_found_by_its_number(shop: Shop) -> None:
    entry = an_entry(a_shopper(), 7)
    await history.keep(shop.dynamodb, [entry])
    assert await history.find(shop.dynamodb, entry.number) == Key(entry.shopper_id, 7)
    await history.forget(shop.dynamodb, [Key(entry.shopper_id, 7)])
    assert await history.find(shop.dynamodb, entry.number) is None


async def test_a_days_orders_are_found_by_status_in_one_order_over_all_shards(shop: Shop) -> None:
    status, shopper = "refunded", a_shopper()
    today = [an_entry(shopper, 10_000 + number, status) for number in range(20)]
    others = [an_entry(shopper, 20_000, "paid"), an_entry(shopper, 20_001, status, NOON + timedelta(days=1))]
    await history.keep(shop.dynamodb, today + others)
    newest_first = today[::-1]
    assert await history.of_day(shop.dynamodb, status, DAY) == newest_first
    page = await history.of_day(shop.dynamodb, status, DAY, limit=7)
    assert page == newest_first[:7]
    assert await history.of_day(shop.dynamodb, status, DAY, before=page[-1].order_id, limit=5) == newest_first[7:12]
    moved = msgspec.structs.replace(today[3], status="cancelled")
    await history.keep(shop.dynamodb, [moved])
    assert await history.of_day(shop.dynamodb, status, DAY) == [entry for entry in newest_first if entry != today[3]]
    assert await history.of_day(shop.dynamodb, "cancelled", DAY) == [moved]


async def test_every_key_is_scanned_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_actions, "SCAN_ITEMS", 3)
    shopper = a_shopper()
    await history.keep(shop.dynamodb, [an_entry(shopper, order_id) for order_id in range(1, 9)])
    pages = [page async for page in history.scan(shop.dynamodb)]
    assert len(pages) > 2
    mine = [key.order_id for page in pages for key in page if key.shopper_id == shopper]
    assert sorted(mine) == list(range(1, 9))


async def test_what_the_engine_had_no_room_for_is_sent_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamodb_store, "DYNAMODB_LEFT_OUT", AT_ONCE)
    monkeypatch.setattr(shop.dynamodb, "_is_local", False)
    shopper, refused = a_shopper(), []
    send = type(shop.dynamodb.client).send_request

    async def crowded(client: object, *, action: str, payload: dict[str, dict[str, list[object]]]) -> dict[str, object]:
        if action != "BatchWriteItem":
            return await send(client, action=action, payload=payload)  # type: ignore[arg-type]
        ((name, writes),) = payload["RequestItems"].items()
        assert len(writes) <= 25
        left = writes[10:]
        refused.append(len(left))
        await send(client, action=action, payload={"RequestItems": {name: writes[:10]}})  # type: ignore[arg-type]
        return {"UnprocessedItems": {name: left} if left else {}}

    monkeypatch.setattr(type(shop.dynamodb.client), "send_request", crowded)
    await history.keep(shop.dynamodb, [an_entry(shopper, order_id) for order_id in range(1, 61)])
    page, _ = await history.list_of(shop.dynamodb, shopper, after=None, limit=100)
    assert len(page) == 60
    assert sorted(refused) == [0, 0, 0, 5, 5, 15, 15]


async def test_an_engine_that_never_has_room_is_away(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamodb_store, "DYNAMODB_LEFT_OUT", AT_ONCE)
    monkeypatch.setattr(shop.dynamodb, "_is_local", False)

    async def full(_client: object, *, action: str, payload: dict[str, object]) -> dict[str, object]:
        assert action == "BatchWriteItem"
        return {"UnprocessedItems": payload["RequestItems"]}

    monkeypatch.setattr(type(shop.dynamodb.client), "send_request", full)
    with pytest.raises(StoreAway):
        await history.keep(shop.dynamodb, [an_entry(a_shopper(), 1)])


async def test_a_local_engine_writes_in_transactions_and_in_batches_where_one_is_refused(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shopper, sent = a_shopper(), []
    send = type(shop.dynamodb.client).send_request

    async def contended(client: object, *, action: str, payload: dict[str, object]) -> dict[str, object]:
        sent.append(action)
        if sent == ["TransactWriteItems"] * 2:
            raise TransactionConflict
        return await send(client, action=action, payload=payload)  # type: ignore[arg-type]

    monkeypatch.setattr(type(shop.dynamodb.client), "send_request", contended)
    await history.keep(shop.dynamodb, [an_entry(shopper, order_id) for order_id in range(1, 121)])
    assert sent == ["TransactWriteItems", "TransactWriteItems", "BatchWriteItem"]
    page, _ = await history.list_of(shop.dynamodb, shopper, after=None, limit=200)
    assert len(page) == 120


async def test_what_gives_way_is_written_in_small_parts_with_pauses_between(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shopper = a_shopper()
    sent: list[int] = []
    pauses: list[float] = []
    send, pause = type(shop.dynamodb.client).send_request, asyncio.sleep

    async def counted(self: Any, *, action: str, payload: dict[str, Any]) -> Any:
        if action == "TransactWriteItems":
            sent.append(len(payload["TransactItems"]))
        return await send(self, action=action, payload=payload)

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        await pause(seconds)

    monkeypatch.setattr(type(shop.dynamodb.client), "send_request", counted)
    monkeypatch.setattr(asyncio, "sleep", noted)
    await history.keep(shop.dynamodb, [an_entry(shopper, order_id) for order_id in range(1, 26)], giving_way=True)
    assert sent == [10, 10, 5]
    assert len([seconds for seconds in pauses if seconds > 0]) == 2
    assert len(await history.known(shop.dynamodb, [Key(shopper, order_id) for order_id in range(1, 26)])) == 25
