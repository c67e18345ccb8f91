"""Looking around: home, categories, search, one product."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlencode

from litestar import Response, get
from litestar.params import FromPath
from msgspec import Struct

from securecart import catalog, inventory
from securecart.app import Shop
from securecart.catalog import CategoryNode, Product, ProductCard, SearchQuery, SearchResults
from securecart.errors import NotFound, StoreAway
from securecart.sessions import Session
from securecart.values import Money
from securecart.web.storefront.pages import AnyRequest, Visit, answer, page, render, visit

__all__ = ["routes"]

PAGE_LENGTH = 24
ROW_LENGTH = 5
SUGGESTIONS = 6
TEXT_LENGTH_MAX = 200

SORTS = {
    "relevance": "Featured",
    "price_asc": "Price, low to high",
    "price_desc": "Price, high to low",
    "newest": "Newest",
    "name": "Name",
}


class Row(Struct, frozen=True):
    """A shelf of the home page."""

    name: str
    href: str
    products: list[ProductCard]


class Offer(Struct, frozen=True):
    """A variant as it can be bought now."""

    sku: str
    title: str
    price: Money | None
    available: int

    @property
    def sellable(self) -> bool:
        """Whether it has a price and stock."""
        return self.price is not None and self.available > 0


class Link(Struct, frozen=True):
    """A filter on the page: where its link leads, and how many products are behind it."""

    name: str
    href: str
    count: int = 0


class Choice(Struct, frozen=True):
    """One value of a facet, with the address that turns it on or off."""

    value: str
    count: int
    selected: bool
    href: str


class Facet(Struct, frozen=True):
    """An attribute to filter by."""

    name: str
    values: list[Choice]


@get("/")
async def home(request: AnyRequest, shop: Shop, session: Session | None) -> Response[str]:
    """The way in: departments with their sizes, and a few shelves."""
    here = await visit(request, shop, session)
    tree = sorted((node for node in await catalog.category_tree(shop.database, shop.cache) if node.count), key=lambda n: -n.count)
    shelves = [("Just in", "/search?sort=newest", "", "newest")]
    shelves += [(node.name, f"/c/{node.slug}", node.slug, "relevance") for node in tree[:3]]
    found = await asyncio.gather(*(_shelf(shop, category, sort) for _, _, category, sort in shelves))
    rows = [Row(name, href, cards) for (name, href, _, _), cards in zip(shelves, found, strict=True) if cards]
    stock = await _stock(shop, [card for row in rows for card in row.products])
    count = sum(node.count for node in tree)
    return await page(here, "home.html", tiles=tree[:14], product_count=count, department_count=len(tree), rows=rows, stock=stock)


@get("/c/{slug:str}")
async def category(request: AnyRequest, shop: Shop, session: Session | None, slug: FromPath[str]) -> Response[str]:
    """A category's products, to narrow down and to sort."""
    trail = _path_to(await catalog.category_tree(shop.database, shop.cache), slug)
    if not trail:
        raise NotFound(noun="category", key=slug)
    here = await visit(request, shop, session)
    query = _query(request, shop, category=slug)
    facts = {"heading": trail[-1].name, "title": trail[-1].name, "trail": trail[:-1], "in_aisle": trail[0].slug}
    return await _listing(here, query, children={node.slug for node in trail[-1].children}, **facts)


@get("/search")
async def search(request: AnyRequest, shop: Shop, session: Session | None) -> Response[str]:
    """Everything that fits the words, or all products where there are none."""
    here = await visit(request, shop, session)
    query = _query(request, shop, category=request.query_params.get("category", ""))
    heading = f"Results for “{query.text}”" if query.text else "All products"
    return await _listing(here, query, children=None, heading=heading, title="Search", trail=[], searched=query.text)


@get("/search/suggestions")
async def suggestions(request: AnyRequest, shop: Shop, session: Session | None) -> Response[str]:
    """The first few products for what has been typed so far; a part of a page."""
    text = request.query_params.get("q", "").strip()[:TEXT_LENGTH_MAX]
    items: list[ProductCard] = []
    if text:
        query = SearchQuery(text=text, currency=shop.settings.currency, limit=SUGGESTIONS)
        items = (await catalog.search(shop.database, shop.cache, query)).items
    return answer(Visit(request, shop, session), render("parts/suggestions.html", {"text": text, "items": items}))


@get("/p/{slug:str}")
async def product(request: AnyRequest, shop: Shop, session: Session | None, slug: FromPath[str]) -> Response[str]:
    """One product: what it is, what it costs, whether there is any."""
    shown = await catalog.product(shop.database, shop.cache, slug)
    here = await visit(request, shop, session)
    offers = await _offers(shop, shown)
    last = shown.breadcrumb[-1] if shown.breadcrumb else None
    more = [card for card in await _shelf(shop, last.slug if last else "", "relevance", ROW_LENGTH + 1) if card.slug != slug]
    return await page(
        here,
        "product.html",
        product=shown,
        offers=offers,
        sellable=any(offer.sellable for offer in offers),
        chosen=next((offer.sku for offer in offers if offer.sellable), ""),
        more=more[:ROW_LENGTH],
        more_name=last.name if last else "the shop",
        more_href=f"/c/{last.slug}" if last else "/search",
        stock=await _stock(shop, more),
        in_aisle=shown.breadcrumb[0].slug if shown.breadcrumb else "",
    )


async def _listing(here: Visit, query: SearchQuery, *, children: set[str] | None, **facts: Any) -> Response[str]:
    shop = here.shop
    results = await catalog.search(shop.database, shop.cache, query)
    path = here.request.url.path
    ranges = [count for count in results.categories if count.slug != query.category]
    if children is not None:
        ranges = [count for count in ranges if count.slug in children]
    return await page(
        here,
        "listing.html",
        query=query,
        results=results,
        categories=[Link(each.name, _category_href(path, query, each.slug), each.count) for each in ranges],
        facets=_facets(path, query, results),
        active=_active(path, query, results),
        cleared=_href(path, query, facets=[], category=""),
        kept=[(name, value) for name, value in _parameters(path, query) if name != "sort"],
        sorts=list(SORTS.items()),
        first_page=_href(path, query) if query.after else "",
        next_page=_href(path, query, after=results.next) if results.next else "",
        stock=await _stock(shop, results.items),
        **facts,
    )


def _query(request: AnyRequest, shop: Shop, *, category: str) -> SearchQuery:
    """The search in the address; what makes no sense there is left out."""
    given = request.query_params
    sort = given.get("sort", "relevance")
    return SearchQuery(
        text=given.get("q", "").strip()[:TEXT_LENGTH_MAX],
        category=category,
        facets=[facet for facet in given.getall("facet", []) if "=" in facet],
        sort=sort if sort in SORTS else "relevance",  # type: ignore[arg-type]
        currency=shop.settings.currency,
        after=given.get("after") or None,
        limit=PAGE_LENGTH,
    )


def _parameters(path: str, query: SearchQuery) -> list[tuple[str, str]]:
    """The search as query parameters; a category's page has its category in the path."""
    parameters = [("q", query.text)] if query.text else []
    if query.category and not path.startswith("/c/"):
        parameters.append(("category", query.category))
    parameters += [("facet", facet) for facet in query.facets]
    if query.sort != "relevance":
        parameters.append(("sort", query.sort))
    return parameters


def _href(
    path: str, query: SearchQuery, *, facets: Sequence[str] | None = None, category: str | None = None, after: str | None = None
) -> str:
    """The address of the same search with other facets or another category, or its next page."""
    changed = SearchQuery(
        text=query.text,
        category=query.category if category is None else category,
        facets=list(query.facets if facets is None else facets),
        sort=query.sort,
        currency=query.currency,
    )
    parameters = _parameters(path, changed) + ([("after", after)] if after else [])
    return f"{path}?{urlencode(parameters)}" if parameters else path


def _category_href(path: str, query: SearchQuery, slug: str) -> str:
    return f"/c/{slug}" if path.startswith("/c/") else _href(path, query, category=slug)


def _facets(path: str, query: SearchQuery, results: SearchResults) -> list[Facet]:
    """Every facet that can narrow, with an address for each value: chosen when it was not, given up when it was."""
    shown = []
    for facet in results.facets:
        choices = []
        for value in facet.values:
            pair = f"{facet.name}={value.value}"
            others = [one for one in query.facets if one != pair]
            href = _href(path, query, facets=others if value.selected else [*others, pair])
            choices.append(Choice(value.value, value.count, value.selected, href))
        if any(choice.selected or choice.count < results.total for choice in choices):
            shown.append(Facet(facet.name, choices))
    return shown


def _active(path: str, query: SearchQuery, results: SearchResults) -> list[Link]:
    """The filters in force, each with the address without it."""
    active = [
        Link(pair.replace("=", ": ", 1), _href(path, query, facets=[one for one in query.facets if one != pair]))
        for pair in query.facets
    ]
    if query.category and not path.startswith("/c/"):
        names = {count.slug: count.name for count in results.categories}
        active.append(Link(names.get(query.category, query.category), _href(path, query, category="")))
    return active


def _path_to(nodes: Iterable[CategoryNode], slug: str) -> list[CategoryNode]:
    """The categories from the top down to the one with this slug; empty when there is none."""
    for node in nodes:
        if node.slug == slug:
            return [node]
        if below := _path_to(node.children, slug):
            return [node, *below]
    return []


async def _shelf(shop: Shop, category: str, sort: str, length: int = ROW_LENGTH) -> list[ProductCard]:
    query = SearchQuery(category=category, sort=sort, currency=shop.settings.currency, limit=length)  # type: ignore[arg-type]
    return (await catalog.search(shop.database, shop.cache, query)).items


async def _offers(shop: Shop, shown: Product) -> list[Offer]:
    currency = shop.settings.currency
    async with shop.database.read() as read:
        available = await inventory.available(read, [variant.sku for variant in shown.variants])
    prices = {
        variant.sku: next((price for price in variant.prices if price.currency == currency), None) for variant in shown.variants
    }
    return [Offer(variant.sku, variant.title, prices[variant.sku], available[variant.sku]) for variant in shown.variants]


async def _stock(shop: Shop, cards: Sequence[ProductCard]) -> dict[str, int]:
    """Units available by SKU; nothing when the answer cannot be had (the checkout will know)."""
    try:
        async with shop.database.read() as read:
            return await inventory.available(read, [card.sku for card in cards])
    except StoreAway:
        return {}


routes = [home, category, search, suggestions, product]
