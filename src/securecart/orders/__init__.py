"""Orders: the record of what was bought, and its life from pending to paid, declined, cancelled or refunded.

Owns the tables orders, order_line and order_change. An order is opened once per shopper and idempotency key,
changes its status only from the status it is known to have, and notes every change with a sentence.
"""

from securecart.orders.actions import (
    cancel,
    decide_all,
    find,
    find_by_key,
    find_opened,
    list_of,
    lock,
    open_all,
    overdue,
    record_refund,
)
from securecart.orders.model import (
    Decided,
    Decision,
    NewOrder,
    Opened,
    Order,
    OrderChange,
    OrderLine,
    OrderSummary,
    PaymentSeen,
    Pending,
    Record,
    Status,
    new_number,
    placed,
)

__all__ = [
    "Decided",
    "Decision",
    "NewOrder",
    "Opened",
    "Order",
    "OrderChange",
    "OrderLine",
    "OrderSummary",
    "PaymentSeen",
    "Pending",
    "Record",
    "Status",
    "cancel",
    "decide_all",
    "find",
    "find_by_key",
    "find_opened",
    "list_of",
    "lock",
    "new_number",
    "open_all",
    "overdue",
    "placed",
    "record_refund",
]
