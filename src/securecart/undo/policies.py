"""What each table of the shop is to whoever brings rows back."""

from __future__ import annotations

from securecart.ops.recovery.deciding import Policy

__all__ = ["BOOKS", "CATALOGUE", "CHUNK_ORDERS", "CHUNK_PRODUCTS", "CHUNK_SKUS", "POLICY", "SHELVES"]

# what search knows, made by the catalogue from its other tables, and made anew by it where those come back
SHELVES = frozenset({"shelf", "shelf_price", "shelf_count", "shelf_currency", "shelf_stale"})
# the event log, its readers' places and lists of what was done tell of what happened, and stay as they are
BOOKS = frozenset({"event", "reader", "migration", "recovery", "corrected"})

POLICY = Policy(
    follows=SHELVES | BOOKS,
    # what is sold or released is held no more, an import takes away what its source has no more, old notices are forgotten
    transient=frozenset({"hold", "allocation", "variant", "price", "gateway_notice"}),
    counters={"stock": ("received", "taken"), "word": ("seen",)},
    # whoever changes orders locks their stock first
    first=("stock",),
)

# the tables from which shelves are made
CATALOGUE = frozenset({"category", "product", "variant", "price", "facet"})

# at most so many in a fact
CHUNK_ORDERS, CHUNK_PRODUCTS, CHUNK_SKUS = 250, 250, 500
