"""Payments: money asked of a card gateway, and the shop's own book of it.

Owns the tables payment and refund. The gateway is spoken to over HTTP and never while a transaction is open.
Every call carries an idempotency key, so asking again after a lost answer moves no money twice. A card is
only ever a token; its number never reaches the shop.
"""

from securecart.payments.actions import (
    expect,
    finish_refund,
    open_refund,
    record,
    unfinished_refunds,
    why_declined,
)
from securecart.payments.gateway import Charge, Gateway, connect
from securecart.payments.model import OpenRefund

__all__ = [
    "Charge",
    "Gateway",
    "OpenRefund",
    "connect",
    "expect",
    "finish_refund",
    "open_refund",
    "record",
    "unfinished_refunds",
    "why_declined",
]
