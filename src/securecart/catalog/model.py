"""The nouns of the catalogue: what a product page, a price tag, a search and its answer are made of."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from securecart.values import CurrencyCode, Money, Sku

LIMIT_MAX = 100

Sort = Literal["relevance", "price_asc", "price_desc", "newest", "name"]


class CategoryRef(Struct, frozen=True):
    """A category on the way from the top to a product."""

    slug: str
    name: str


class CategoryNode(Struct, frozen=True):
    """A category with the products in it and below it, and the categories below it."""

    slug: str
    name: str
    count: int
    children: list[CategoryNode]


class Variant(Struct, frozen=True):
    """One thing that can be bought; its title says what sets it apart ("Blue, 500 ml")."""

    sku: str
    title: str
    prices: list[Money]


class Product(Struct, frozen=True):
    """A product page."""

    slug: str
    title: str
    description: str
    brand: str
    breadcrumb: list[CategoryRef]
    attributes: dict[str, str]
    tax_class: str
    image_url: str
    variants: list[Variant]


class CachedPage(Struct, frozen=True):
    """A product page as bytes of JSON, ready to be sent, with its entity tag (quotes included)."""

    body: bytes
    etag: str


class PricedItem(Struct, frozen=True):
    """What a SKU is and costs; its category is the deepest one, empty when it has none."""

    sku: str
    slug: str
    title: str
    price: Money
    tax_class: str
    category: str


class ProductCard(Struct, frozen=True):
    """A product in a list: the SKU and price are those of its cheapest variant in the currency asked for."""

    slug: str
    title: str
    brand: str
    image_url: str
    sku: str
    price: Money | None
    category: str
    variants: int


class SearchQuery(Struct, frozen=True):
    """What to look for. A facet is `Name=value`; values of one name widen the search, another name narrows it."""

    text: str = ""
    category: str = ""
    facets: list[str] = field(default_factory=list)
    sort: Sort = "relevance"
    currency: str = "USD"
    after: str | None = None
    limit: int = 24


class CategoryCount(Struct, frozen=True):
    """How many of the products found are in a category or below it."""

    slug: str
    name: str
    count: int


class FacetValue(Struct, frozen=True):
    """How many products would be found with this value chosen."""

    value: str
    count: int
    selected: bool


class Facet(Struct, frozen=True):
    """An attribute that the products found can be told apart by."""

    name: str
    values: list[FacetValue]


class SearchResults(Struct, frozen=True):
    """A page of what was found. When `total_capped`, there are at least `total` products, and counts cover that many."""

    items: list[ProductCard]
    total: int
    total_capped: bool
    categories: list[CategoryCount]
    facets: list[Facet]
    next: str | None
    corrected: str | None


Amount = Annotated[int, Meta(ge=0, le=10**15)]
Name = Annotated[str, Meta(min_length=1, max_length=120)]


class NewVariant(Struct, frozen=True):
    """A variant as a source gives it, with its price in minor units by currency."""

    sku: Sku
    prices: dict[CurrencyCode, Amount]
    title: Annotated[str, Meta(max_length=200)] = ""


class NewProduct(Struct, frozen=True):
    """A product as a source gives it; `categories` are names from the top down, `line` is where its source has it."""

    slug: Annotated[str, Meta(min_length=1, max_length=120, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    title: Annotated[str, Meta(min_length=1, max_length=500)]
    variants: Annotated[list[NewVariant], Meta(min_length=1, max_length=200)]
    description: Annotated[str, Meta(max_length=20_000)] = ""
    brand: Annotated[str, Meta(max_length=120)] = ""
    categories: Annotated[list[Name], Meta(max_length=8)] = field(default_factory=list)
    attributes: dict[Name, Annotated[str, Meta(max_length=10_000)]] = field(default_factory=dict)
    tax_class: Annotated[str, Meta(min_length=1, max_length=40)] = "standard"
    image_url: Annotated[str, Meta(max_length=500)] = ""
    active: bool = True
    line: int = 0


class Rejected(Struct, frozen=True):
    """A row of a source that was not taken, and why."""

    line: int
    reason: str


class ImportReport(Struct, frozen=True):
    """What an import did, counted in products; `rejections` counts them all, `rejected` names the first ones."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejections: int = 0
    rejected: list[Rejected] = field(default_factory=list)
