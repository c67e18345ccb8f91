"""The reader that docs/event-log.md shows, run as written."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Any

from securecart import carts, checkout, readers
from securecart.app import Shop
from securecart.orders import history
from securecart.readers import READERS
from securecart.values import Line
from tests.orders_for_tests import a_guest, a_product, a_wish

GUIDE = Path(__file__).parents[2] / "docs" / "event-log.md"


async def test_the_guides_reader_reads_what_is_bought(shop: Shop) -> None:
    found = re.search(r"test_event_log_guide.py -->\n```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    written: dict[str, Any] = {}
    exec(found[1], written)
    counter = written["COUNTER"]
    shopper, sku = a_guest(), await a_product(shop.database)

    async def buy() -> int:
        await carts.replace(shop.dynamodb, shopper.shopper_id, [Line(sku, 1)], days=1)
        order = await checkout.place(shop.till, shopper, a_wish(), secrets.token_hex(8), currency="USD")
        await readers.catch_up(shop.stores)
        key = await history.find(shop.dynamodb, order.number)
        assert key is not None
        return key.order_id

    try:
        before = await buy()
        await readers.catch_up(shop.stores, [counter])  # begins with a rebuild
        after = await buy()
        await readers.catch_up(shop.stores, [counter])
        assert {before, after} <= written["bought"]
    finally:
        async with shop.database.transaction() as tx:
            await tx.execute("DELETE FROM reader WHERE name = 'counter'")


def test_the_guide_knows_every_reader() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    assert [reader.name for reader in READERS if f"| `{reader.name}` |" not in guide] == []
