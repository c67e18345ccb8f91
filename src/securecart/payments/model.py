"""The nouns of the shop's payment book, and the words that a gateway says."""

from __future__ import annotations

import re
from typing import Any, Literal

from msgspec import Struct

TOKEN = re.compile(r"[A-Za-z0-9_-]{1,255}")

Said = Literal["captured", "authorised", "declined", "closed", "waiting"]
# "take" is a capture without the goods leaving the house
Decision = Literal["capture", "take", "void"]
# "disputed": the buyer's bank took the money back for fraud; "contested": for another reason; "suspected": the bank or the card
# network suspects fraud, and took nothing yet
Kind = Literal["charged", "ended", "refunded", "disputed", "contested", "suspected"]


class Card(Struct, frozen=True):
    """What a gateway tells about a card; `fingerprint` is the same for the same card, and nothing else.

    `country` is that of the bank which issued it (ISO 3166, two letters), empty where the gateway does not say.
    """

    brand: str = ""
    last4: str = ""
    fingerprint: str = ""
    country: str = ""


def is_token(text: str) -> bool:
    """Whether this could be a gateway's token: what could not is never sent as part of an address."""
    return TOKEN.fullmatch(text) is not None


class Charge(Struct, frozen=True):
    """A gateway's word on a reference, in minor units where it names an amount.

    `captured`: the money is the shop's. `authorised`: it is promised. `declined`: the card said no. `closed`: no money
    moved and none will. `waiting`: nothing is decided; when the buyer has to do something, `action` is what the
    buyer's browser needs for it.
    """

    status: Said
    id: str = ""
    card: Card = Card()
    decline_reason: str | None = None
    refunded_minor: int = 0
    action: dict[str, Any] | None = None


class Refunded(Struct, frozen=True):
    """A gateway's word on a refund."""

    id: str


class Notice(Struct, frozen=True):
    """What a gateway sends by itself: a hint that something happened to a reference, proven to come from the gateway.

    Where the gateway names only its own payment, `gateway_id` is that and the reference empty: it is asked for.
    """

    id: str
    kind: Kind
    reference: str
    gateway_id: str = ""


class OpenRefund(Struct, frozen=True):
    """Money that the shop decided to give back; `done` once the gateway has confirmed it. Amounts in minor units."""

    id: int
    order_id: int
    gateway_id: str
    amount_minor: int
    currency: str
    reason: str
    done: bool


class Wanted(Struct, frozen=True):
    """What the shop decided about promised money: to take it or to give the promise up. Amounts in minor units."""

    order_id: int
    number: str
    gateway_id: str
    amount_minor: int
    currency: str
    decision: Decision
