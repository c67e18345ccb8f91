"""Looking things up: what a SKU costs, a product's page, the tree of categories."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from hashlib import blake2b

import asyncpg
import msgspec

from securecart.catalog import changes
from securecart.catalog.kept import read_through, spread
from securecart.catalog.model import CachedPage, CategoryNode, PricedItem, Product
from securecart.errors import NotFound
from securecart.stores.cache import Cache
from securecart.stores.postgres import Database, Read, one, statements_of
from securecart.values import CURRENCIES, Money

SQL = statements_of(__package__)

CACHE_PREFIX = "catalog:"
PAGE_SECONDS = 120
PRICE_SECONDS = 60
TREE_KEY, TREE_SECONDS = "catalog:categories", 60

_prices = msgspec.json.Decoder(PricedItem)
_pages = msgspec.json.Decoder(Product)
_trees = msgspec.json.Decoder(list[CategoryNode])


async def price(read: Read, skus: Sequence[str], currency: str) -> dict[str, PricedItem]:
    """What each SKU is and costs now; one that is unknown, not on sale or without a price in `currency` is missing."""
    found = await read.fetch(SQL["price_items"], list(skus), currency)
    return {row["sku"]: _item(row, currency) for row in found}


async def price_cached(database: Database, cache: Cache, skus: Sequence[str], currency: str) -> dict[str, PricedItem]:
    """As `price`, at most a minute old: for showing, never for charging."""
    wanted = list(dict.fromkeys(skus))
    keys = [price_key(sku, currency) for sku in wanted]
    *kept, changed = await cache.get_many([*keys, changes.KEY])
    items = {sku: item for sku, raw in zip(wanted, kept, strict=True) if (item := _decoded(_prices, raw)) is not None}
    missing = [sku for sku in wanted if sku not in items]
    if missing:
        behind = changes.position_in(changed) if database.has_replicas else None
        async with cache.loading, database.read(behind) as read:
            fresh = await price(read, missing, currency)
        items |= fresh
        if await cache.get(changes.KEY) == changed:
            encode, seconds = msgspec.json.encode, spread(PRICE_SECONDS)
            puts = (cache.put(price_key(sku, currency), encode(item), seconds=seconds) for sku, item in fresh.items())
            await asyncio.gather(*puts)
    return items


async def product_json(database: Database, cache: Cache, slug: str) -> CachedPage:
    """A product's page as JSON, at most two minutes old (an import drops what it changes); `NotFound`."""
    kept = await read_through(database, cache, page_key(slug), PAGE_SECONDS, lambda read: _page(read, slug))
    etag, _, body = kept.partition(b"\n")
    return CachedPage(body, etag.decode())


async def product(database: Database, cache: Cache, slug: str) -> Product:
    """A product's page, at most two minutes old; `NotFound`."""
    return _pages.decode((await product_json(database, cache, slug)).body)


async def category_tree(database: Database, cache: Cache) -> list[CategoryNode]:
    """The top categories and everything below them, at most a minute old."""
    return _trees.decode(await read_through(database, cache, TREE_KEY, TREE_SECONDS, _tree))


def page_key(slug: str) -> str:
    """Where the cache keeps a product's page."""
    return f"catalog:product:{slug}"


def price_key(sku: str, currency: str) -> str:
    """Where the cache keeps what a SKU costs."""
    return f"catalog:price:{currency}:{sku}"


def cache_keys(slugs: Iterable[str], skus: Iterable[str], currencies: Iterable[str] = ()) -> list[str]:
    """The cache's keys of these pages and prices, in `currencies` and every one that the shop knows."""
    known = {*currencies, *CURRENCIES}
    return [*(page_key(slug) for slug in slugs), *(price_key(sku, currency) for sku in skus for currency in known)]


async def _page(read: Read, slug: str) -> bytes:
    found = await one(read, SQL["find_product"], Product, slug)
    if found is None:
        raise NotFound(noun="product", key=slug)
    body = msgspec.json.encode(found)
    return f'"{blake2b(body, digest_size=12).hexdigest()}"\n'.encode() + body


async def _tree(read: Read) -> bytes:
    found = await read.fetch(SQL["list_categories"])
    nodes: dict[int, CategoryNode] = {}
    top: list[CategoryNode] = []
    for row in found:
        node = nodes[row["id"]] = CategoryNode(row["slug"], row["name"], row["count"], [])
        siblings = top if row["parent_id"] is None else nodes[row["parent_id"]].children
        siblings.append(node)
    return msgspec.json.encode(top)


def _item(row: asyncpg.Record, currency: str) -> PricedItem:
    price_of = Money(row["amount_minor"], currency)
    return PricedItem(row["sku"], row["slug"], row["title"], price_of, row["tax_class"], row["category"])


def _decoded(decoder: msgspec.json.Decoder[PricedItem], raw: bytes | None) -> PricedItem | None:
    """What the cache kept, or None when it kept nothing or the shape of an older version."""
    if raw is None:
        return None
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None
