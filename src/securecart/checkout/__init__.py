"""Checkout: the script that composes the rooms into a paid order, and takes one back.

Owns the tables shipping_method and tax_rate. `place` is the one path from a cart to an order; `sweep` finishes
what a crash, a lost answer or a silent gateway left open; `cancel` and `refund` give money and goods back.
"""

from securecart.checkout.model import PlaceOrder, Quote, QuotedLine, ShippingMethod
from securecart.checkout.place import place, quote
from securecart.checkout.sweep import sweep
from securecart.checkout.till import Till
from securecart.checkout.undo import cancel, refund

__all__ = ["PlaceOrder", "Quote", "QuotedLine", "ShippingMethod", "Till", "cancel", "place", "quote", "refund", "sweep"]
