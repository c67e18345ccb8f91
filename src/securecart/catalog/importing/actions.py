"""Write products in batches: judge each, then send a batch as a handful of set-based statements."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Any

import msgspec
from msgspec import Struct

from securecart.catalog.actions import TREE_KEY, cache_keys
from securecart.catalog.importing.shelves import Shown, columns, fill_shelves
from securecart.catalog.importing.words import letters, slug_of, words
from securecart.catalog.model import ImportReport, NewProduct, Rejected
from securecart.events import ProductsChanged
from securecart.patience import POSTGRES_LONG
from securecart.stores.cache import Cache
from securecart.stores.postgres import Database, Transaction, log, statements_of

SQL = statements_of(__package__)

BATCH_PRODUCTS = 1_000
FACT_PRODUCTS = 250
REJECTED_KEPT = 100
DIGEST_VERSION = b"1"  # another number makes every product count as changed: raise it when the shelf is filled differently
WHOLE_SHOP = 0

Source = Iterable[NewProduct | Rejected] | AsyncIterable[NewProduct | Rejected]

_SAID_BETTER = {
    "slug": "only a to z, 0 to 9 and single dashes between them",
    "variants": "a SKU has letters, digits and . _ / - only, a currency is three capital letters",
}
_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(NewProduct)


class Known(Struct, frozen=True):
    """A product that is there already."""

    id: int
    source_digest: bytes
    category_ids: list[int]


class Weighed(Struct, frozen=True):
    """A product that can be sold, with the digest that it is recognised by."""

    product: NewProduct
    digest: bytes

    def is_like(self, known: Known | None) -> bool:
        """Whether the last import made of it what this one would."""
        return known is not None and known.source_digest == self.digest


class Change(Struct, frozen=True):
    """A product that is to be written, with the digest that it will be recognised by."""

    product: NewProduct
    digest: bytes
    before: Known | None
    skus_before: list[str]


async def import_products(
    database: Database,
    cache: Cache,
    source: Source,
    *,
    progress: Callable[[ImportReport], None] | None = None,
    reject: Callable[[Rejected], None] | None = None,
) -> ImportReport:
    """Write the source's products, a thousand a transaction; those unchanged since the last import cost no write.

    A product that does not fit is left out and counted, all the others are in; `reject` is told of each, `progress`
    of every batch. Ending early leaves whole batches, and the same import again carries on.
    """
    run = _Run(database, cache, reject)
    try:
        async for batch in _batches(source):
            await run.write(batch)
            if progress is not None:
                progress(run.report())
        await refresh_counts(database)
        await cache.drop([TREE_KEY])
    finally:
        run.seen.close()
    return run.report()


async def refresh_counts(database: Database) -> None:
    """Make the counts anew that imports have outdated; nothing happens when none are."""
    async with database.transaction() as tx:
        await tx.execute(SQL["take_turn"], timeout=POSTGRES_LONG.answer_s)
        stale = [row["category_id"] for row in await tx.fetch(SQL["find_stale"])]
        if not stale:
            return
        await tx.execute(SQL["tidy_shelves"], timeout=POSTGRES_LONG.answer_s)
        await tx.execute(SQL["clear_counts"], stale, timeout=POSTGRES_LONG.answer_s)
        await tx.execute(SQL["fill_counts"], stale, timeout=POSTGRES_LONG.answer_s)
        await tx.execute(SQL["clear_currencies"])
        await tx.execute(SQL["fill_currencies"], timeout=POSTGRES_LONG.answer_s)
        await tx.execute(SQL["clear_stale"], stale)


class _Run:
    """One import from its first batch to its last."""

    def __init__(self, database: Database, cache: Cache, reject: Callable[[Rejected], None] | None) -> None:
        self.seen = _Seen()
        self._database = database
        self._cache = cache
        self._tell = reject
        self._counts = Counter[str]()
        self._rejected: list[Rejected] = []
        self._categories: dict[str, int] = {}

    def report(self) -> ImportReport:
        """What was done so far."""
        done = self._counts
        return ImportReport(done["created"], done["updated"], done["unchanged"], done["rejected"], list(self._rejected))

    async def write(self, batch: Sequence[Weighed | Rejected]) -> None:
        """Judge a batch and write what is new or changed, in one transaction."""
        for item in batch:
            if isinstance(item, Rejected):
                self._reject(item)
        fit = [item for item in batch if isinstance(item, Weighed)]
        async with self._database.transaction() as tx:
            await tx.execute(SQL["take_turn"], timeout=POSTGRES_LONG.answer_s)
            changes = await self._judge(tx, fit)
            if changes:
                await _write(tx, changes, await self._place(tx, changes))
                await log.publish(tx, _facts(changes))
        for change in changes:
            self._counts["created" if change.before is None else "updated"] += 1
        # the log's cache reader drops them too, even if this process dies here; done at once, the next visitor sees the change
        await self._cache.drop(_outdated(changes))

    async def _judge(self, tx: Transaction, fit: Sequence[Weighed]) -> list[Change]:
        known = await _known(tx, [one.product.slug for one in fit])
        unlike = [one for one in fit if not one.is_like(known.get(one.product.slug))]
        new_skus = [variant.sku for one in unlike for variant in one.product.variants]
        owners = {
            row["sku"]: row["slug"] for row in await tx.fetch(SQL["owned_skus"], new_skus, [one.id for one in known.values()])
        }
        skus_of: dict[str, list[str]] = {}
        for sku, slug in owners.items():
            skus_of.setdefault(slug, []).append(sku)
        changes = []
        for one in fit:
            product, before = one.product, known.get(one.product.slug)
            if reason := self.seen.conflict(product) or _taken(product, owners):
                self._reject(Rejected(product.line, reason))
                continue
            self.seen.note(product)
            if one.is_like(before):
                self._counts["unchanged"] += 1
                continue
            skus_before = skus_of.get(product.slug, [])
            changes.append(Change(product, one.digest, before, skus_before))
            _hand_over(owners, product, skus_before)
        return changes

    async def _place(self, tx: Transaction, changes: Sequence[Change]) -> list[list[int]]:
        """The ids of each change's categories from the top down; categories that are new are made."""
        paths = [_path(change.product) for change in changes]
        unknown = {slug: (slug, name, parent) for path in paths for slug, name, parent in path if slug not in self._categories}
        depth = max((len(path) for path in paths), default=0)
        for level in range(depth):
            fresh = {path[level] for path in paths if len(path) > level and path[level][0] in unknown}
            if fresh:
                slugs, names, parents = zip(
                    *sorted({slug: (slug, name, parent) for slug, name, parent in fresh}.values()), strict=True
                )
                await tx.execute(SQL["add_categories"], slugs, names, parents)
        if unknown:
            self._categories |= {row["slug"]: row["id"] for row in await tx.fetch(SQL["find_categories"], list(unknown))}
        return [[self._categories[slug] for slug, _, _ in path] for path in paths]

    def _reject(self, rejected: Rejected) -> None:
        self._counts["rejected"] += 1
        if len(self._rejected) < REJECTED_KEPT:
            self._rejected.append(rejected)
        if self._tell is not None:
            self._tell(rejected)


class _Seen:
    """Which slugs and SKUs the source had so far, on disk when they are many: an import's memory does not grow."""

    def __init__(self) -> None:
        self._book = sqlite3.connect("", isolation_level=None)
        self._book.execute("PRAGMA journal_mode = OFF")
        self._book.execute("PRAGMA synchronous = OFF")
        self._book.execute("CREATE TABLE seen (key TEXT PRIMARY KEY, line INTEGER) WITHOUT ROWID")
        self._book.execute("BEGIN")

    def conflict(self, product: NewProduct) -> str | None:
        """Why the product cannot follow what the source had before, or None."""
        line = self._line(f"p {product.slug}")
        if line is not None:
            return f"slug {product.slug!r} appeared before in line {line}; the rows of one product must follow each other"
        for variant in product.variants:
            line = self._line(f"v {variant.sku}")
            if line is not None:
                return f"SKU {variant.sku!r} appeared before in line {line}"
        return None

    def note(self, product: NewProduct) -> None:
        """Remember the product's names."""
        keys = [f"p {product.slug}", *(f"v {variant.sku}" for variant in product.variants)]
        self._book.executemany("INSERT INTO seen VALUES (?, ?)", [(key, product.line) for key in keys])

    def close(self) -> None:
        """Forget everything."""
        self._book.close()

    def _line(self, key: str) -> int | None:
        row = self._book.execute("SELECT line FROM seen WHERE key = ?", (key,)).fetchone()
        return None if row is None else int(row[0])


async def _batches(source: Source) -> AsyncIterator[list[Weighed | Rejected]]:
    """The source in batches, weighed; a synchronous one is read ahead in a thread while the last batch is written."""
    if isinstance(source, AsyncIterable):
        batch: list[Weighed | Rejected] = []
        async for item in source:
            batch.append(_weigh(item))
            if len(batch) == BATCH_PRODUCTS:
                yield batch
                batch = []
        if batch:
            yield batch
        return
    iterator = iter(source)
    ahead = asyncio.create_task(asyncio.to_thread(_take, iterator))
    while batch := await ahead:
        ahead = asyncio.create_task(asyncio.to_thread(_take, iterator))
        yield batch


def _take(iterator: Iterator[NewProduct | Rejected]) -> list[Weighed | Rejected]:
    return [_weigh(item) for item in islice(iterator, BATCH_PRODUCTS)]


def _weigh(item: NewProduct | Rejected) -> Weighed | Rejected:
    if isinstance(item, Rejected):
        return item
    try:
        return Weighed(item, _digest(item))
    except ValueError as error:
        return Rejected(item.line, str(error))


def readable(error: msgspec.ValidationError) -> str:
    """Which field of a product does not fit, and how."""
    reason, _, path = str(error).partition(" - at `$.")
    field = path.rstrip("`") or "product"
    return f"{field}: {_SAID_BETTER.get(field.partition('[')[0], reason) if 'regex' in reason else reason}"


def _digest(product: NewProduct) -> bytes:
    """What the product is recognised by; `ValueError` says why it cannot be sold."""
    packed = _encoder.encode(msgspec.structs.replace(product, line=0))
    try:
        _decoder.decode(packed)  # a struct made in code was never held against its constraints
    except msgspec.ValidationError as error:
        raise ValueError(readable(error)) from error
    texts = [product.title, product.description, product.brand, product.tax_class, product.image_url, *product.categories]
    texts += [variant.title for variant in product.variants]
    if any("\0" in text for text in (*texts, *product.attributes, *product.attributes.values())):
        raise ValueError("a text contains the character NUL")
    skus = [variant.sku for variant in product.variants]
    if len(set(skus)) < len(skus):
        raise ValueError(f"SKU {next(sku for sku in skus if skus.count(sku) > 1)!r} appears twice in the product")
    return blake2b(packed, digest_size=16, key=DIGEST_VERSION).digest()


async def _known(tx: Transaction, slugs: Sequence[str]) -> dict[str, Known]:
    found = await tx.fetch(SQL["known_products"], list(slugs))
    return {row["slug"]: Known(row["id"], row["source_digest"], row["category_ids"]) for row in found}


def _taken(product: NewProduct, owners: dict[str, str]) -> str | None:
    for variant in product.variants:
        owner = owners.get(variant.sku, product.slug)
        if owner != product.slug:
            return f"SKU {variant.sku!r} belongs to the product {owner!r}"
    return None


def _hand_over(owners: dict[str, str], product: NewProduct, skus_before: Sequence[str]) -> None:
    """Note who owns what once the product is written: SKUs it has given up are free for those that come after."""
    for sku in skus_before:
        owners.pop(sku, None)
    owners.update((variant.sku, product.slug) for variant in product.variants)


def _path(product: NewProduct) -> list[tuple[str, str, str]]:
    """Slug, name and parent's slug of each of the product's categories, from the top down."""
    path: list[tuple[str, str, str]] = []
    for name in product.categories:
        parent = path[-1][0] if path else ""
        path.append((f"{parent}_{slug_of(name)}" if parent else slug_of(name), name, parent))
    return path


async def _write(tx: Transaction, changes: Sequence[Change], places: Sequence[Sequence[int]]) -> None:
    rows = [_product_row(change, place) for change, place in zip(changes, places, strict=True)]
    ids = {row["slug"]: row["id"] for row in await tx.fetch(SQL["keep_products"], rows)}
    before = [change.before.id for change in changes if change.before is not None]
    await _write_variants(tx, changes, ids, before)
    shown = [
        Shown(ids[change.product.slug], change.product, place)
        for change, place in zip(changes, places, strict=True)
        if change.product.active
    ]
    if before:
        await tx.execute(SQL["clear_shelf"], before)
    await fill_shelves(tx, shown)
    met = Counter(word for change in changes for word in words(_named(change.product)))
    if met:
        ordered = sorted(met)
        await tx.execute(SQL["keep_words"], ordered, [letters(word) for word in ordered], [met[word] for word in ordered])
    stale = {WHOLE_SHOP, *(one for place in places for one in place)}
    stale.update(one for change in changes if change.before is not None for one in change.before.category_ids)
    await tx.execute(SQL["mark_stale"], sorted(stale))


async def _write_variants(tx: Transaction, changes: Sequence[Change], ids: dict[str, int], before: Sequence[int]) -> None:
    variants = [
        (variant.sku, ids[change.product.slug], variant.title, position)
        for change in changes
        for position, variant in enumerate(change.product.variants)
    ]
    prices = [
        (variant.sku, currency, amount)
        for change in changes
        for variant in change.product.variants
        for currency, amount in sorted(variant.prices.items())
    ]
    if before:
        await tx.execute(SQL["drop_variants"], before, [sku for sku, *_ in variants])
        await tx.execute(SQL["drop_prices"], before, *columns(prices, 3)[:2])
    await tx.execute(SQL["keep_variants"], *columns(variants, 4))
    await tx.execute(SQL["keep_prices"], *columns(prices, 3))


def _product_row(change: Change, place: Sequence[int]) -> dict[str, Any]:
    product = change.product
    return {
        "slug": product.slug,
        "title": product.title,
        "description": product.description,
        "brand": product.brand,
        "attributes": product.attributes,
        "tax_class": product.tax_class,
        "image_url": product.image_url,
        "active": product.active,
        "category_ids": place,
        "digest": change.digest.hex(),
    }


def _named(product: NewProduct) -> list[str]:
    return [product.title, product.brand, *product.categories]


def _facts(changes: Sequence[Change]) -> list[ProductsChanged]:
    """What readers need to know of what changed, some hundred products a fact; what is new, nobody has kept yet."""
    updated = [change for change in changes if change.before is not None]
    parts = (updated[start : start + FACT_PRODUCTS] for start in range(0, len(updated), FACT_PRODUCTS))
    return [ProductsChanged(tuple(change.product.slug for change in part), _skus(part)) for part in parts]


def _skus(changes: Sequence[Change]) -> tuple[str, ...]:
    """Those that the products had before and those they have now."""
    skus = {sku for change in changes for sku in change.skus_before}
    return tuple(sorted(skus.union(variant.sku for change in changes for variant in change.product.variants)))


def _outdated(changes: Sequence[Change]) -> list[str]:
    """The cache's keys of what changed; what is new cannot have been kept."""
    updated = [change for change in changes if change.before is not None]
    currencies = {currency for change in updated for variant in change.product.variants for currency in variant.prices}
    return cache_keys([change.product.slug for change in updated], _skus(updated), currencies) if updated else []
