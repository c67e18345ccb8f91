"""Importing: products from elsewhere into the catalogue, thousands a second, safe to repeat.

A source of products is written in batches, each in a transaction of its own; a product is in with everything it has
or not at all. What has not changed since the last import is recognised by its digest and costs one comparison.
"""

from securecart.catalog.importing.actions import import_products, refresh_counts
from securecart.catalog.importing.columns import column_map
from securecart.catalog.importing.reading import read_products
from securecart.catalog.importing.shelves import find_outdated_shelves, refill_shelves, take_turn

__all__ = [
    "column_map",
    "find_outdated_shelves",
    "import_products",
    "read_products",
    "refill_shelves",
    "refresh_counts",
    "take_turn",
]
