"""Payments: money asked of a card gateway, and the shop's own book of it.

Owns the tables payment, refund and gateway_notice. The gateway is spoken to over HTTP and never while a transaction is
open. Every call carries an idempotency key, so asking again after a lost answer moves no money twice. A card is
only ever a token; its number never reaches the shop.
"""

from securecart.payments.actions import (
    expect,
    find_outside_refund,
    finish_refund,
    forget_notices,
    keep_promise,
    open_refund,
    record,
    refuse_refund,
    see,
    unfinished,
    unfinished_refunds,
    wait_for_buyer,
    wake,
    want,
    was_seen,
    why_declined,
)
from securecart.payments.gateway import Gateway, connect
from securecart.payments.model import Card, Charge, Notice, OpenRefund, Wanted

__all__ = [
    "Card",
    "Charge",
    "Gateway",
    "Notice",
    "OpenRefund",
    "Wanted",
    "connect",
    "expect",
    "find_outside_refund",
    "finish_refund",
    "forget_notices",
    "keep_promise",
    "open_refund",
    "record",
    "refuse_refund",
    "see",
    "unfinished",
    "unfinished_refunds",
    "wait_for_buyer",
    "wake",
    "want",
    "was_seen",
    "why_declined",
]
