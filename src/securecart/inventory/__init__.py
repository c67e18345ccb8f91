"""Inventory: how much of each SKU there is, where, and what is promised to whom.

Owns the tables location, stock, reservation and allocation. For every SKU at every place, received is always
sold plus reserved plus available. An order first reserves; once paid, its reservation is sold, otherwise it
is released; a cancelled order is restocked where its units came from. Every verb takes its row locks in
SKU order, so two orders can wait for each other but never deadlock.
"""

from securecart.inventory.actions import add_location, available, levels, receive, release, reserve, restock, sell
from securecart.inventory.model import Level, Receipt, Shortage

__all__ = [
    "Level",
    "Receipt",
    "Shortage",
    "add_location",
    "available",
    "levels",
    "receive",
    "release",
    "reserve",
    "restock",
    "sell",
]
