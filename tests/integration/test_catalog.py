"""Importing, looking up and searching against the real database: a catalogue of three thousand products of its own."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from securecart import catalog
from securecart.app import Shop
from securecart.catalog import NewProduct, NewVariant, SearchQuery, SearchResults
from securecart.catalog import actions as looking
from securecart.catalog.importing import actions as importing
from securecart.catalog.searching import actions as searching
from securecart.errors import BadInput, NotFound
from securecart.settings import Settings
from securecart.stores.cache import Cache
from securecart.stores.postgres import Database
from tests.catalog_for_tests import a_database, products

COUNT = 3_000
SORTS = ("price_asc", "price_desc", "newest", "name")


@pytest.fixture(scope="module")
def cache(shop: Shop) -> Cache:
    return shop.cache


@pytest.fixture(scope="module")
async def kitchen(engines: Settings, cache: Cache) -> AsyncIterator[Database]:
    async with a_database(engines, f"kitchen-{secrets.token_hex(4)}") as database:
        report = await catalog.import_products(database, cache, products(COUNT))
        assert (report.created, report.rejections) == (COUNT, 0)
        yield database


async def look(database: Database, **query: object) -> SearchResults:
    """A search past the cache."""
    async with database.read() as read:
        return await searching._search(read, searching._checked(SearchQuery(**query)))  # type: ignore[arg-type]


async def walk(database: Database, **query: object) -> list[str]:
    """The slugs of every page, one after the other."""
    slugs: list[str] = []
    after: str | None = None
    while True:
        page = await look(database, after=after, **query)
        slugs += [card.slug for card in page.items]
        after = page.next
        if after is None:
            return slugs


def a_product(name: str, *variants: NewVariant, **facts: object) -> NewProduct:
    return NewProduct(name, name.title(), list(variants) or [NewVariant(name.upper(), {"USD": 100})], **facts)  # type: ignore[arg-type]


def unique() -> str:
    return f"t{secrets.token_hex(5)}"


async def everything(database: Database) -> list[asyncpg.Record]:
    """Every row that an import may write, and where it lies: a rewritten row lies elsewhere."""
    tables = ("product", "variant", "price", "category", "facet", "shelf", "shelf_price", "shelf_count", "word")
    async with database.read() as read:
        return [row for table in tables for row in await read.fetch(f"SELECT ctid::text, * FROM {table} ORDER BY ctid")]


async def test_importing_twice_writes_nothing(kitchen: Database, cache: Cache) -> None:
    before = await everything(kitchen)
    report = await catalog.import_products(kitchen, cache, products(COUNT))
    assert (report.created, report.updated, report.unchanged) == (0, 0, COUNT)
    assert await everything(kitchen) == before


async def test_a_changed_product_is_seen_at_once(database: Database, cache: Cache) -> None:
    slug = unique()
    old, new = f"{slug}-OLD", f"{slug}-NEW"
    await catalog.import_products(database, cache, [a_product(slug, NewVariant(old, {"USD": 100, "EUR": 90}))])
    assert (await catalog.product(database, cache, slug)).variants[0].sku == old
    assert (await catalog.price_cached(database, cache, [old], "USD"))[old].price.amount_minor == 100
    changed = a_product(slug, NewVariant(new, {"USD": 200}), brand="Acme")
    report = await catalog.import_products(database, cache, [changed])
    assert (report.created, report.updated) == (0, 1)
    page = await catalog.product(database, cache, slug)
    assert (page.brand, [variant.sku for variant in page.variants]) == ("Acme", [new])
    assert list(await catalog.price_cached(database, cache, [old, new], "USD")) == [new]
    async with database.read() as read:
        assert await catalog.price(read, [new], "EUR") == {}


async def test_a_price_that_goes_goes_everywhere(database: Database, cache: Cache) -> None:
    slug = unique()
    await catalog.import_products(database, cache, [a_product(slug, NewVariant(slug, {"USD": 100, "EUR": 90}))])
    await catalog.import_products(database, cache, [a_product(slug, NewVariant(slug, {"USD": 100}))])
    async with database.read() as read:
        assert await catalog.price(read, [slug], "EUR") == {}
        rows = await read.fetch("SELECT currency FROM shelf_price JOIN product ON id = product_id WHERE slug = $1", slug)
    assert [row["currency"] for row in rows] == ["USD"]


async def test_a_product_off_sale_has_no_page_no_price_and_is_not_found(database: Database, cache: Cache) -> None:
    slug = unique()
    await catalog.import_products(database, cache, [a_product(slug)])
    assert (await look(database, text=slug)).total == 1
    await catalog.import_products(database, cache, [a_product(slug, active=False)])
    assert (await look(database, text=slug)).total == 0
    with pytest.raises(NotFound):
        await catalog.product(database, cache, slug)
    assert await catalog.price_cached(database, cache, [slug.upper()], "USD") == {}


async def test_a_sku_of_another_product_is_refused_and_the_rest_goes_in(database: Database, cache: Cache) -> None:
    slug = unique()
    taken = NewVariant(f"{slug}-X", {"USD": 1})
    await catalog.import_products(database, cache, [a_product(slug, taken)])
    thief = a_product(f"{slug}-thief", taken, line=7)
    report = await catalog.import_products(database, cache, [thief, a_product(f"{slug}-good")])
    assert (report.created, report.rejections, report.rejected[0].line) == (1, 1, 7)
    assert slug in report.rejected[0].reason
    with pytest.raises(NotFound):
        await catalog.product(database, cache, f"{slug}-thief")


async def test_a_sku_can_move_once_its_owner_gave_it_up(database: Database, cache: Cache) -> None:
    slug = unique()
    moving, staying = NewVariant(f"{slug}-M", {"USD": 1}), NewVariant(f"{slug}-S", {"USD": 1})
    await catalog.import_products(database, cache, [a_product(slug, moving, staying)])
    report = await catalog.import_products(database, cache, [a_product(slug, staying), a_product(f"{slug}-b", moving)])
    assert (report.created, report.updated, report.rejections) == (1, 1, 0)
    assert [one.sku for one in (await catalog.product(database, cache, f"{slug}-b")).variants] == [moving.sku]
    assert [one.sku for one in (await catalog.product(database, cache, slug)).variants] == [staying.sku]


@pytest.mark.parametrize(
    ("flawed", "reason"),
    [
        (a_product("Bad Slug"), "slug"),
        (a_product("nul", description="a\0b"), "NUL"),
        (a_product("twice", NewVariant("TW", {}), NewVariant("TW", {})), "twice"),
        (a_product("negative", NewVariant("NEG", {"USD": -1})), "variants"),
        (a_product("surrogate", brand="\ud800"), "surrogate"),
    ],
)
async def test_a_product_that_cannot_be_sold_is_refused(
    database: Database, cache: Cache, flawed: NewProduct, reason: str
) -> None:
    report = await catalog.import_products(database, cache, [flawed])
    assert (report.created, report.rejections) == (0, 1)
    assert reason in report.rejected[0].reason


async def test_a_product_with_more_text_than_search_can_hold_is_sold_like_its_neighbours(
    database: Database, cache: Cache
) -> None:
    prefix = unique()
    words = {f"part {n}": " ".join(f"{n}word{m}" for m in range(200)) for n in range(900)}
    goods = [a_product(f"{prefix}-a"), a_product(f"{prefix}-b", attributes=words), a_product(f"{prefix}-c")]
    report = await catalog.import_products(database, cache, goods)
    assert (report.created, report.rejections) == (3, 0)


async def test_a_source_that_fails_leaves_whole_products_and_can_be_repeated(database: Database, cache: Cache) -> None:
    prefix = unique()
    goods = [a_product(f"{prefix}-{n}") for n in range(1_500)]

    def breaking() -> Iterator[NewProduct]:
        yield from goods[:1_200]
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="gone"):
        await catalog.import_products(database, cache, breaking())
    report = await catalog.import_products(database, cache, goods)
    assert (report.created, report.unchanged) == (500, 1_000)
    async with database.read() as read:
        assert await read.fetchval("SELECT count(*) FROM shelf_stale") == 0


async def test_a_new_category_is_in_the_tree_at_once(database: Database, cache: Cache) -> None:
    name = unique()
    before = [node.slug for node in await catalog.category_tree(database, cache)]
    await catalog.import_products(database, cache, [a_product(name, categories=[name])])
    after = [node.slug for node in await catalog.category_tree(database, cache)]
    assert name not in before
    assert name in after


async def test_two_imports_at_once_agree(database: Database, cache: Cache) -> None:
    prefix = unique()
    goods = [a_product(f"{prefix}-{n}", categories=[prefix, f"Part {n % 3}"]) for n in range(300)]
    reports = await asyncio.gather(*(catalog.import_products(database, cache, goods) for _ in range(3)))
    assert sum(report.created for report in reports) == 300
    assert sum(report.unchanged for report in reports) == 600
    node = next(node for node in await catalog.category_tree(database, cache) if node.name == prefix)
    assert (node.count, [child.count for child in node.children]) == (300, [100, 100, 100])


async def test_many_who_ask_at_once_share_one_page(kitchen: Database, cache: Cache) -> None:
    await cache.drop(["catalog:product:kitchen-1"])
    pages = await asyncio.gather(*(catalog.product_json(kitchen, cache, "kitchen-1") for _ in range(50)))
    assert len({page.etag for page in pages}) == 1
    assert msgspec.json.decode(pages[0].body)["slug"] == "kitchen-1"
    assert await catalog.product_json(kitchen, cache, "kitchen-1") == pages[0]


async def test_a_card_names_the_cheapest_variant(database: Database, cache: Cache) -> None:
    slug = unique()
    dear, cheap = NewVariant(f"{slug}-A", {"USD": 900}, "Large"), NewVariant(f"{slug}-B", {"USD": 300}, "Small")
    await catalog.import_products(database, cache, [a_product(slug, dear, cheap, categories=["Odds", slug])])
    card = (await look(database, text=slug)).items[0]
    assert (card.sku, card.price and card.price.amount_minor, card.variants, card.category) == (cheap.sku, 300, 2, f"odds_{slug}")
    async with database.read() as read:
        item = (await catalog.price(read, [dear.sku], "USD"))[dear.sku]
    assert (item.title, item.category) == (f"{slug.title()}, Large", f"odds_{slug}")


@pytest.mark.parametrize("currency", ["USD", "EUR", "CHF"])
@pytest.mark.parametrize("sort", SORTS)
async def test_pages_of_the_whole_shop_visit_each_product_once_in_order(kitchen: Database, sort: str, currency: str) -> None:
    slugs = await walk(kitchen, sort=sort, currency=currency, limit=100)
    assert len(slugs) == len(set(slugs)) == COUNT
    goods = {product.slug: product for product in products(COUNT)}
    if sort.startswith("price"):
        prices = [goods[slug].variants[0].prices.get(currency) for slug in slugs]
        known = [price for price in prices if price is not None]
        assert prices[: len(known)] == sorted(known, reverse=sort == "price_desc"), "those without a price come last"
    elif sort == "newest":
        assert slugs == [f"kitchen-{number}" for number in range(COUNT, 0, -1)]


QUERIES = st.fixed_dictionaries(
    {
        "text": st.sampled_from(["", "mug", "red", "caf", "table -red", "maker 3"]),
        "category": st.sampled_from(["", "kitchen", "kitchen_tableware", "kitchen_cooking_pan"]),
        "facets": st.lists(
            st.sampled_from(["Colour=Red", "Colour=Blue", "Size=Large", "Brand=Maker 3"]), max_size=3, unique=True
        ),
        "sort": st.sampled_from([*SORTS, "relevance"]),
        "currency": st.sampled_from(["USD", "EUR"]),
        "limit": st.integers(20, 100),
    }
)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=QUERIES)
async def test_pages_visit_each_product_found_exactly_once(kitchen: Database, query: dict[str, object]) -> None:
    first = await look(kitchen, **query)
    slugs = await walk(kitchen, **query)
    assert len(slugs) == len(set(slugs)) == first.total
    assert not first.total_capped


async def test_facets_narrow_by_name_and_widen_by_value(kitchen: Database) -> None:
    goods = list(products(COUNT))
    red_or_blue = [one for one in goods if one.attributes["Colour"] in {"Red", "Blue"} and one.attributes["Size"] == "Large"]
    found = await look(kitchen, facets=["Colour=Red", "Colour=Blue", "Size=Large"])
    assert found.total == len(red_or_blue)
    colours = next(facet for facet in found.facets if facet.name == "Colour")
    large = [one for one in goods if one.attributes["Size"] == "Large"]
    assert {value.value: value.count for value in colours.values} == {
        colour: sum(one.attributes["Colour"] == colour for one in large) for colour in ("Red", "Green", "Blue", "Black")
    }
    assert {value.value for value in colours.values if value.selected} == {"Red", "Blue"}


@pytest.mark.parametrize("query", [{}, {"category": "kitchen_tableware"}, {"text": "mug"}, {"facets": ["Colour=Red"]}])
async def test_counts_kept_and_counts_made_are_the_same(kitchen: Database, query: dict[str, object]) -> None:
    found = await look(kitchen, **query)
    goods = [one for one in products(COUNT) if not query.get("facets") or one.attributes["Colour"] == "Red"]
    if "category" in query:
        goods = [one for one in goods if one.categories[1] == "Tableware"]
    if "text" in query:
        goods = [one for one in goods if one.categories[2] == "Mug"]
    assert found.total == len(goods)
    sizes = next(facet for facet in found.facets if facet.name == "Size")
    assert {value.value: value.count for value in sizes.values} == {
        size: sum(one.attributes["Size"] == size for one in goods) for size in ("Small", "Medium", "Large")
    }


async def test_text_forgives_accents_endings_and_unfinished_words(kitchen: Database) -> None:
    assert (await look(kitchen, text="cafe press")).total == (await look(kitchen, text="Café presses")).total > 0
    assert (await look(kitchen, text="tea")).total == (await look(kitchen, text="teapot")).total > 0


@pytest.mark.parametrize(
    ("typed", "meant"), [("ketle", "kettle"), ("teaopt", "teapot"), ("mgu", "mug"), ("red kettel", "red kettle")]
)
async def test_a_mistyped_word_is_corrected_and_said(kitchen: Database, typed: str, meant: str) -> None:
    found = await look(kitchen, text=typed)
    assert found.corrected == meant
    assert found.total == (await look(kitchen, text=meant)).total > 0


async def test_nothing_is_found_for_what_is_not_there(kitchen: Database) -> None:
    for text in ("zzxxqq", "the", "&!", "'"):
        found = await look(kitchen, text=text)
        assert (found.total, found.items, found.next, found.corrected) == (0, [], None, None)


@pytest.mark.parametrize(
    "text", ["'", "a:*", "mug & | !", '"mug', "\\", "mug' OR 1=1", "facet/1", ":*", "mug -", "💥 mug", "a" * 200]
)
async def test_no_text_is_taken_for_query_language(kitchen: Database, text: str) -> None:
    assert (await look(kitchen, text=text)).total >= 0


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"sort": "best"}, "sort"),
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"after": "nonsense"}, "after"),
        ({"after": "WyJuYW1lIiwxLDJd"}, "after"),
        ({"facets": ["Colour"]}, "facet"),
        ({"facets": ["=Red"]}, "facet"),
        ({"currency": "dollars"}, "currency"),
        ({"text": "x" * 201}, "q"),
        ({"text": "a\0"}, "q"),
    ],
)
async def test_a_search_that_makes_no_sense_names_the_field(
    kitchen: Database, cache: Cache, query: dict[str, object], field: str
) -> None:
    with pytest.raises(BadInput) as refused:
        await catalog.search(kitchen, cache, SearchQuery(**query))  # type: ignore[arg-type]
    assert refused.value.field == field


async def test_a_cursor_belongs_to_its_order(kitchen: Database) -> None:
    page = await look(kitchen, sort="price_asc")
    with pytest.raises(BadInput) as refused:
        await look(kitchen, sort="price_desc", after=page.next)
    assert refused.value.field == "after"


async def test_an_unknown_category_is_not_found(kitchen: Database, cache: Cache) -> None:
    with pytest.raises(NotFound):
        await catalog.search(kitchen, cache, SearchQuery(category="cellar"))


HOT: dict[str, tuple[str, list[object]]] = {
    "price_items": ("catalog", [["KIT-1", "KIT-2"], "USD"]),
    "find_product": ("catalog", ["kitchen-7"]),
    "understand": ("searching", ["red", "mug", "kitchen", ["Colour"], ["Red"], "USD"]),
    "page_by_rank": ("searching", ["'teapot' & 'blue'", "'teapot' & 'blue'", -1e16, 0, 25, 5000]),
    "page_by_number": ("searching", ["'teapot' & 'blue'", "price_asc", "USD", -1e16, 0, 25]),
    "page_by_name": ("searching", ["'teapot' & 'blue'", "", 0, 25]),
    "walk_price_asc": ("searching", ["'red'", "USD", -1e16, 0, 25]),
    "walk_price_desc": ("searching", [None, "USD", -1e16, -(2**62), 25]),
    "walk_newest": ("searching", [None, -(2**62), 25]),
    "walk_name": ("searching", ["'red'", "", 0, 25]),
    "count_matches": ("searching", ["'teapot' & 'blue'", None, 5001]),
    "find_cards": ("searching", [list(range(1, 25)), "USD"]),
    "known_products": ("importing", [["kitchen-1", "kitchen-2"]]),
    "owned_skus": ("importing", [["KIT-1", "KIT-2"], [1, 2]]),
}
LARGE = {"product", "variant", "price", "shelf", "shelf_price"}


@pytest.mark.parametrize("name", HOT)
async def test_a_hot_query_reads_no_table_from_end_to_end(kitchen: Database, name: str) -> None:
    package, arguments = HOT[name]
    statements = {"catalog": looking.SQL, "searching": searching.SQL, "importing": importing.SQL}[package]
    async with kitchen.read() as read:
        plan = await read.fetchval(f"EXPLAIN (FORMAT JSON) {statements[name]}", *arguments)
    assert not scanned(msgspec.json.decode(plan)) & LARGE


def scanned(plan: object) -> set[str]:
    """The tables that a plan reads from end to end."""
    if isinstance(plan, list):
        return {name for part in plan for name in scanned(part)}
    if not isinstance(plan, dict):
        return set()
    own = {plan["Relation Name"]} if plan.get("Node Type") == "Seq Scan" else set()
    return own | {name for part in plan.values() for name in scanned(part)}
