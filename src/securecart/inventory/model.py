"""The nouns of stock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

from msgspec import Meta, Struct

from securecart.errors import OutOfStock
from securecart.values import Line, Sku


class Receipt(Struct, frozen=True):
    """Goods that arrived at a location (its code)."""

    sku: Sku
    quantity: Annotated[int, Meta(ge=1, le=1_000_000_000)]
    location: str = "main"


class Shortage(Struct, frozen=True):
    """A SKU of which more was wanted than is available."""

    sku: str
    wanted: int
    available: int


class Level(Struct, frozen=True):
    """The stock of one SKU at one location; received = sold + reserved + available."""

    sku: str
    location: str
    received: int
    sold: int
    reserved: int

    @property
    def available(self) -> int:
        """Units that can still be promised."""
        return self.received - self.sold - self.reserved


class Place(Struct, frozen=True):
    """Units of a SKU that can be promised at one location."""

    sku: str
    location_id: int
    free: int


class Taken(Struct, frozen=True):
    """Units of a SKU that an order gets from one location."""

    sku: str
    location_id: int
    quantity: int


class Hold(Struct, frozen=True):
    """What an order was given, to be held for it until its payment is known."""

    order_id: int
    taken: Sequence[Taken]


class Shelves:
    """What can be promised of some SKUs while their stock is locked: each order is judged against what is left.

    An order gets all of its units or none: lines of one SKU are summed, and locations are drawn on in order.
    """

    def __init__(self, places: Iterable[Place]) -> None:
        self._free: dict[str, dict[int, int]] = {}
        for place in places:
            self._free.setdefault(place.sku, {})[place.location_id] = place.free

    def take(self, lines: Iterable[Line]) -> list[Taken]:
        """The units for an order, which nobody else gets any more; `OutOfStock` says what falls short, and takes nothing."""
        wanted: dict[str, int] = {}
        for line in lines:
            wanted[line.sku] = wanted.get(line.sku, 0) + line.quantity
        left = {sku: sum(self._free.get(sku, {}).values()) for sku in wanted}
        short = [Shortage(sku, quantity, left[sku]) for sku, quantity in sorted(wanted.items()) if left[sku] < quantity]
        if short:
            raise OutOfStock(field="lines", skus=", ".join(one.sku for one in short), shortages=short)
        return [taken for sku, quantity in wanted.items() for taken in self._draw(sku, quantity)]

    def give_back(self, taken: Sequence[Taken]) -> None:
        """Undo `take`, for an order that turned out to be there already."""
        for one in taken:
            self._free[one.sku][one.location_id] += one.quantity

    def _draw(self, sku: str, quantity: int) -> Iterable[Taken]:
        free = self._free[sku]
        for location, units in free.items():
            drawn = min(units, quantity)
            if drawn > 0:
                free[location] -= drawn
                quantity -= drawn
                yield Taken(sku, location, drawn)
