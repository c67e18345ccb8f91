"""Order history: what a shopper bought, by shopper, newest first, in DynamoDB.

Owns the DynamoDB table of order histories, one item an order: a copy of what the orders database says, written again
from there whenever an order changes. It is found by shopper, by order number, and by status and day.
"""

from securecart.orders.history.actions import TABLE, entries, entries_after, find, forget, keep, known, list_of, of_day, scan
from securecart.orders.history.model import Entry, Key

__all__ = [
    "TABLE",
    "Entry",
    "Key",
    "entries",
    "entries_after",
    "find",
    "forget",
    "keep",
    "known",
    "list_of",
    "of_day",
    "scan",
]
