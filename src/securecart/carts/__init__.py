"""Carts: what a shopper holds, from the first click to the order.

Owns the DynamoDB table of carts, one item a shopper. Every change is one write that counts only if the cart is
still at the version it was made for, so two tabs never lose each other's changes. A cart knows SKUs and
quantities and no prices. An untouched cart ends by itself.
"""

from securecart.carts.actions import (
    TABLE,
    add,
    load,
    look_at_all,
    merge,
    replace,
    set_quantity,
    take_out,
    take_out_many,
)
from securecart.carts.model import LINES_MAX, Bought, Cart, name_of_taking_out

__all__ = [
    "LINES_MAX",
    "TABLE",
    "Bought",
    "Cart",
    "add",
    "load",
    "look_at_all",
    "merge",
    "name_of_taking_out",
    "replace",
    "set_quantity",
    "take_out",
    "take_out_many",
]
