"""Catalog: what the shop sells, how it is named, sorted and priced.

Owns the tables category, product, variant, price and what search derives from them: facet, shelf, shelf_price,
shelf_count, shelf_stale and word. `price` is the truth that a checkout charges by; everything else may come from
the cache and be a minute or two old.
"""

from securecart.catalog import changes
from securecart.catalog.actions import CACHE_PREFIX, cache_keys, category_tree, price, price_cached, product, product_json
from securecart.catalog.importing import (
    column_map,
    find_outdated_shelves,
    import_products,
    read_products,
    refill_shelves,
    refresh_counts,
    take_turn,
)
from securecart.catalog.model import (
    CachedPage,
    CategoryCount,
    CategoryNode,
    CategoryRef,
    Facet,
    FacetValue,
    ImportReport,
    NewProduct,
    NewVariant,
    PricedItem,
    Product,
    ProductCard,
    Rejected,
    SearchQuery,
    SearchResults,
    Variant,
)
from securecart.catalog.searching import search

__all__ = [
    "CACHE_PREFIX",
    "CachedPage",
    "CategoryCount",
    "CategoryNode",
    "CategoryRef",
    "Facet",
    "FacetValue",
    "ImportReport",
    "NewProduct",
    "NewVariant",
    "PricedItem",
    "Product",
    "ProductCard",
    "Rejected",
    "SearchQuery",
    "SearchResults",
    "Variant",
    "cache_keys",
    "category_tree",
    "changes",
    "column_map",
    "find_outdated_shelves",
    "import_products",
    "price",
    "price_cached",
    "product",
    "product_json",
    "read_products",
    "refill_shelves",
    "refresh_counts",
    "search",
    "take_turn",
]
