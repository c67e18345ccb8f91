"""The nouns of the shop's payment book."""

from __future__ import annotations

from msgspec import Struct


class OpenRefund(Struct, frozen=True):
    """Money that the shop decided to give back; `done` once the gateway has confirmed it. Amounts in minor units."""

    id: int
    order_id: int
    gateway_id: str
    amount_minor: int
    currency: str
    reason: str
    done: bool
