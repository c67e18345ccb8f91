"""Databases that hold one catalogue and nothing else, and products to fill them with."""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from securecart import migrations
from securecart.catalog import NewProduct, NewVariant
from securecart.engines import Home
from securecart.settings import Settings
from securecart.stores import postgres
from securecart.stores.postgres import Database

COLOURS = ("Red", "Green", "Blue", "Black")
SIZES = ("Small", "Medium", "Large")
KINDS = ("Mug", "Bowl", "Plate", "Kettle", "Teapot", "Tray", "Jug", "Café press", "Pan", "Ladle")


@asynccontextmanager
async def a_database(engines: Settings, name: str) -> AsyncIterator[Database]:
    """An empty shop beside the others, on the same server; gone at the end."""
    password = Home(Path(engines.home)).secret("postgres_superuser_password")
    admin = await asyncpg.connect(re.sub(r"//[^@]*@", f"//postgres:{password}@", engines.postgres_owner_url))
    await admin.execute(f'CREATE DATABASE "{name}" OWNER securecart_owner TEMPLATE template1')
    try:
        await migrations.apply(_beside(engines.postgres_owner_url, name))
        database = await postgres.connect(_beside(engines.postgres_url, name), pool_size=3)
        try:
            yield database
        finally:
            await database.close()
    finally:
        await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await admin.close()


def products(count: int, *, seed: int = 1) -> Iterator[NewProduct]:
    """Kitchenware in three currencies, one product in seven without a euro price; always the same for one seed."""
    dice = random.Random(seed)
    for number in range(1, count + 1):
        kind, colour, size = dice.choice(KINDS), dice.choice(COLOURS), dice.choice(SIZES)
        cents = dice.choice((99, 250, 250, 499, 1000, dice.randint(50, 90_000)))
        prices = {"USD": cents, "JPY": cents * 2} | ({} if number % 7 == 0 else {"EUR": cents + 1})
        yield NewProduct(
            slug=f"kitchen-{number}",
            title=f"{colour} {kind} no {number % 50}",
            variants=[NewVariant(f"KIT-{number}", prices)],
            description="For the table and the stove" if number % 9 else "Dishwasher proof",
            brand=f"Maker {number % 12}",
            categories=["Kitchen", "Cooking" if kind in {"Pan", "Ladle"} else "Tableware", kind],
            attributes={"Colour": colour, "Size": size},
            line=number,
        )


def _beside(url: str, name: str) -> str:
    return f"{url.rpartition('/')[0]}/{name}"
