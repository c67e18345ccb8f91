"""Checkout: the script that composes the rooms into a paid order, and takes one back.

Owns the tables shipping_method and tax_rate. `place` is the one path from a cart to an order; `hear` acts upon what a
gateway sends by itself (`hear_of` on a hint from anywhere), and `look_again` when the buyer comes back; `sweep` finishes what
a crash, a lost answer or a silent gateway left open; `ship` sends the goods off; `cancel` and `refund` give money and goods back.
An order that looks like fraud is held until a person lets it go (`release`) or does not (`refuse`), or it lapses (`lapse`);
`mark` says what one turned out to be.
"""

from securecart.checkout.hear import hear, hear_of, look_again
from securecart.checkout.intake import Intake
from securecart.checkout.model import Opening, Pace, PlaceOrder, Quote, QuotedLine, ShippingMethod
from securecart.checkout.place import place, quote
from securecart.checkout.review import lapse, mark, refuse, release
from securecart.checkout.ship import ship
from securecart.checkout.sweep import sweep
from securecart.checkout.till import Till
from securecart.checkout.undo import cancel, refund

__all__ = [
    "Intake",
    "Opening",
    "Pace",
    "PlaceOrder",
    "Quote",
    "QuotedLine",
    "ShippingMethod",
    "Till",
    "cancel",
    "hear",
    "hear_of",
    "lapse",
    "look_again",
    "mark",
    "place",
    "quote",
    "refund",
    "refuse",
    "release",
    "ship",
    "sweep",
]
