"""The reader that teaches the graph, from orders in the real database: each counts once, whatever is repeated or killed."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from securecart import fraud, readers
from securecart.app import Shop
from securecart.errors import StoreAway
from securecart.events import AccountMade, Event, OrderDeclined, OrderMarked, OrderPlaced
from securecart.fraud import Attempt, Lesson
from securecart.readers import Stores
from securecart.readers import graph as graph_reader
from securecart.stores import graph as graph_store
from securecart.stores.postgres import log
from tests.graphs import Process, running

WITHIN_S = 5.0


async def an_order(shop: Shop, *, card: str, status: str = "paid", shopper_id: str = "") -> tuple[int, str]:
    """The id and the number of an order that was paid with this card."""
    number = f"SC-{secrets.token_hex(6)}"
    async with shop.database.transaction() as tx:
        order_id = await tx.fetchval(
            "INSERT INTO orders (number, shopper_id, idempotency_key, request_digest, cart_version, cart_change, status, email,"
            " currency, subtotal_minor, shipping_minor, tax_minor, tax_included, total_minor, shipping_method, shipping_address,"
            " billing_address)"
            " VALUES ($1, $2, $1, '', 1, '', $3, $4, 'EUR', 500, 0, 0, true, 500, 'pickup', $5, $5) RETURNING id",
            number,
            shopper_id or f"guest:{secrets.token_hex(6)}",
            status,
            f"{number}@example.com",
            {"name": "A", "line1": f"{number} Street", "line2": "", "city": "C", "postcode": "1", "region": "", "country": "DE"},
        )
        await tx.execute(
            "INSERT INTO payment (order_id, gateway, status, currency, amount_minor, card_fingerprint)"
            " VALUES ($1, 'sandbox', 'captured', 'EUR', 500, $2)",
            order_id,
            card,
        )
    return order_id, number


def placed(order_id: int) -> OrderPlaced:
    return OrderPlaced(order_id, "guest:x", "SC", 1, "")


async def of_card(stores: Stores, card: str) -> tuple[int, int, int]:
    """Orders, accounts and frauds that the graph counts for the card."""
    attempt = Attempt(at=4 * 10**15, account="guest:nobody", amount_minor=1, currency="EUR", card=card)
    (known,) = await fraud.ask_past(stores.graph, [attempt], within_s=WITHIN_S)
    return known.past.card.orders, known.past.card.accounts, known.past.card.frauds


async def test_orders_are_taught_as_they_are_and_each_once(shop: Shop) -> None:
    card = secrets.token_hex(8)
    bought, _ = await an_order(shop, card=card)
    declined, _ = await an_order(shop, card=card, status="declined")
    pending, _ = await an_order(shop, card=card, status="pending")
    facts: Sequence[Event] = [placed(bought), OrderDeclined(declined, "x"), placed(pending), placed(bought)]
    for _ in range(2):
        await graph_reader.read(shop.stores, facts)
        assert await of_card(shop.stores, card) == (2, 2, 0)

    for is_fraud in (True, True, False):
        async with shop.database.transaction() as tx:
            await fraud.mark(tx, [bought], is_fraud=is_fraud, source="operator", said_by="ada")
        for _ in range(2):
            await graph_reader.read(shop.stores, [OrderMarked(bought, "x"), placed(bought)])
            assert await of_card(shop.stores, card) == (2, 2, int(is_fraud))


async def test_an_account_is_known_by_when_it_was_made(shop: Shop) -> None:
    async with shop.database.transaction() as tx:
        account_id = await tx.fetchval(
            "INSERT INTO account (email, password_hash) VALUES ($1, '') RETURNING id", f"{secrets.token_hex(6)}@example.com"
        )
    await graph_reader.read(shop.stores, [AccountMade(str(account_id))])
    attempt = Attempt(at=4 * 10**15, account=f"account:{account_id}", amount_minor=1, currency="EUR")
    (known,) = await fraud.ask_past(shop.graph, [attempt], within_s=WITHIN_S)
    async with shop.database.read() as read:
        made_at = await read.fetchval("SELECT created_at FROM account WHERE id = $1", account_id)
    assert known.account_made_at == fraud.microseconds(made_at)


async def test_a_rebuild_makes_it_whole_again_and_differences_are_seen(shop: Shop, tmp_path: Path) -> None:
    async with running(tmp_path / "graph", **{"memory-mb": 256}) as (_, own):
        stores = msgspec.structs.replace(shop.stores, graph=own)
        card = secrets.token_hex(8)
        order_id, number = await an_order(shop, card=card)
        told: list[int] = []
        assert await graph_reader.rebuild(stores, told.append) == sum(told) > 0
        assert await graph_reader.differences(stores) == 0
        assert await of_card(stores, card) == (1, 1, 0)

        (lesson,) = [one for one in await lessons_of(shop, order_id) if one.number == number]
        none = msgspec.structs.replace(lesson, order_id=2**60, number=f"{number}-none")
        await fraud.teach(own, [msgspec.structs.replace(lesson, status="refunded"), none])
        assert await graph_reader.differences(stores) == 2
        await graph_reader.rebuild(stores, told.append)
        assert await graph_reader.differences(stores) == 0


async def lessons_of(shop: Shop, order_id: int) -> list[Lesson]:
    async with shop.database.fresh() as fresh:
        return await fraud.lessons(fresh, [order_id])


async def test_killed_while_it_is_taught_it_loses_nothing_that_it_confirmed(shop: Shop, tmp_path: Path) -> None:
    """Facts that the reader was told of again after a crash, since it does not know whether they were kept, count once."""
    card = secrets.token_hex(8)
    ids = [(await an_order(shop, card=card))[0] for _ in range(60)]
    process = Process(tmp_path / "graph", **{"memory-mb": 256})
    await process.start()
    client = await graph_store.connect(process.url)
    try:
        stores = msgspec.structs.replace(shop.stores, graph=client)
        confirmed = 0
        for life in range(4):
            batches = asyncio.Queue[int]()

            async def taught(told: asyncio.Queue[int] = batches, first: int = confirmed) -> None:
                for place in range(first, len(ids), 3):
                    await graph_reader.read(stores, [placed(order_id) for order_id in ids[place : place + 3]])
                    told.put_nowait(place + 3)

            teaching = asyncio.create_task(taught())
            for _ in range(3):
                confirmed = await batches.get()
            await process.end(signal.SIGKILL)
            with pytest.raises(StoreAway):
                await teaching
            while not batches.empty():
                confirmed = batches.get_nowait()
            await process.start()
            while client.breaker.is_open():  # noqa: ASYNC110 - the client looks by itself
                await asyncio.sleep(0.05)
            orders, shared_by, _ = await of_card(stores, card)
            assert confirmed <= orders <= confirmed + 3, f"life {life}"
            assert orders == shared_by
        await graph_reader.read(stores, [placed(order_id) for order_id in ids])
        assert await of_card(stores, card) == (60, 60, 0)
    finally:
        await client.close()
        if process.child is not None:
            await process.end(signal.SIGKILL)


async def test_the_log_leads_to_the_graph(shop: Shop) -> None:
    """What is published is taught by the reader of the table, which all regions share."""
    card = secrets.token_hex(8)
    order_id, _ = await an_order(shop, card=card)
    async with shop.database.transaction() as tx:
        await log.publish(tx, [placed(order_id)])
    await readers.catch_up(shop.stores, [one for one in readers.READERS if one.name == "graph"])
    assert await of_card(shop.stores, card) == (1, 1, 0)
