"""Inventory: how much of each SKU there is, where, and what is promised to whom.

Owns the tables location, stock, allocation and hold. For every SKU at every place, received is always taken plus
available, and taken is what orders are allocated: held while the payment is not known, sold once it is. An order that is
not paid is released; a cancelled order is restocked where its units came from. Many orders are served by one statement.
Row locks are taken in SKU order, and by whoever changes orders as well before the orders, so two orders can wait for each
other but never deadlock.

To reserve: `lock` the SKUs, let each order `take` from the shelves in its turn, then `hold` what was taken. To finish:
`sell` what an order holds, which changes no stock; or `lock_held`, then `release` it.
"""

from securecart.inventory.actions import add_location, available, hold, levels, lock, lock_held, receive, release, restock, sell
from securecart.inventory.model import Hold, Level, Receipt, Shelves, Shortage, Taken

__all__ = [
    "Hold",
    "Level",
    "Receipt",
    "Shelves",
    "Shortage",
    "Taken",
    "add_location",
    "available",
    "hold",
    "levels",
    "lock",
    "lock_held",
    "receive",
    "release",
    "restock",
    "sell",
]
