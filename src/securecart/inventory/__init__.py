"""Inventory: how much of each SKU there is, where, and what is promised to whom.

Owns the tables location, stock, reservation and allocation. For every SKU at every place, received is always
sold plus reserved plus available. An order first holds what it wants; once paid, that is sold, otherwise it
is released; a cancelled order is restocked where its units came from. Many orders are served by one statement.
Row locks are taken in SKU order, and by whoever changes orders as well before the orders, so two orders can wait for each
other but never deadlock.

To reserve: `lock` the SKUs, let each order `take` from the shelves in its turn, then `hold` what was taken. To finish:
`lock_held` what the orders hold, then `sell` or `release` it.
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
