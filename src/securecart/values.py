"""The few nouns that every room shares: Money, Line, Address, and the rule that moves a page along."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from securecart.errors import BadInput

# Minor-unit digits and symbol (ISO 4217). A shop that sells in another currency adds its row here.
CURRENCIES: dict[str, tuple[int, str]] = {
    "USD": (2, "$"),
    "EUR": (2, "€"),
    "GBP": (2, "£"),
    "CHF": (2, "CHF "),
    "JPY": (0, "¥"),
}

CurrencyCode = Annotated[str, Meta(pattern=r"^[A-Z]{3}$", description="ISO 4217 currency code")]
CountryCode = Annotated[str, Meta(pattern=r"^[A-Z]{2}$", description="ISO 3166-1 alpha-2 country code")]
Sku = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Quantity = Annotated[int, Meta(ge=1, le=999)]
# no control characters: they cannot be printed on a parcel, and some cannot be stored
Text = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
OptionalText = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]


class Money(Struct, frozen=True):
    """An amount in integer minor units (cents) with its currency; never a float."""

    amount_minor: int
    currency: CurrencyCode

    def __str__(self) -> str:
        """The amount as a shopper reads it: `$1,234.50`."""
        digits, symbol = CURRENCIES.get(self.currency, (2, f"{self.currency} "))
        sign = "-" if self.amount_minor < 0 else ""
        whole, part = divmod(abs(self.amount_minor), 10**digits)
        return f"{sign}{symbol}{whole:,}" + (f".{part:0{digits}d}" if digits else "")


class Line(Struct, frozen=True):
    """So many of one SKU. It has no price: what a thing costs is always asked of the catalogue."""

    sku: Sku
    quantity: Quantity


class Address(Struct, frozen=True, omit_defaults=True):
    """Where a parcel or a bill goes."""

    name: Text
    line1: Text
    city: Text
    postcode: Annotated[str, Meta(min_length=1, max_length=20, pattern=r"^[^\x00-\x1f\x7f]+$")]
    country: CountryCode
    line2: OptionalText = ""
    region: OptionalText = ""


def encode_cursor(*position: Any) -> str:
    """An opaque keyset cursor that remembers the last row's sort key."""
    return urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def decode_cursor(cursor: str, *types: Any) -> tuple[Any, ...]:
    """The position inside a cursor; `BadInput` when it was not made by `encode_cursor`."""
    try:
        raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        position: tuple[Any, ...] = msgspec.json.decode(raw, type=tuple[types])  # type: ignore[valid-type]
    except (ValueError, msgspec.DecodeError) as error:
        raise BadInput(field="after", problem="This cursor is not one that the shop gave out.") from error
    return position
