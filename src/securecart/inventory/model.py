"""The nouns of stock."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from securecart.values import Sku


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
