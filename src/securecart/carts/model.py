"""The noun, and the pure rules of changing it."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from securecart.errors import BadInput
from securecart.values import Line

LINES_MAX = 250
QUANTITY_MAX = 999
TRAIL_MAX = 16
BEGIN = ""

Lines = tuple[Line, ...]


class Cart(Struct, frozen=True):
    """What a shopper holds. `version` rises with every change and `change` names the last one; both are empty for no cart.

    `trail` are the names of the latest changes, the last one last; a cart's first change stands after `BEGIN`.
    """

    lines: Lines = ()
    version: int = 0
    change: str = ""
    trail: tuple[str, ...] = ()

    def after(self, change: str, lines: Lines, *, first_version: int) -> Cart:
        """This cart once `change` has made these its lines; a cart that begins now begins at `first_version`."""
        if self.version == 0:
            return Cart(lines, first_version, change, (BEGIN, change))
        return Cart(lines, self.version + 1, change, (*self.trail, change)[-TRAIL_MAX:])

    def knows_since(self, version: int) -> bool:
        """Whether the trail names every change that was made since the cart had this version."""
        if version == self.version:
            return True
        return BEGIN in self.trail if version == 0 else version < self.version <= version + len(self.trail)


class Bought(Struct, frozen=True):
    """The state of a shopper's cart that an order has bought."""

    shopper_id: str
    version: int
    change: str


def name_of_taking_out(change: str) -> str:
    """How the trail names the change that took out what was bought of the cart as `change` had left it."""
    return f"-{change}"


def checked(lines: Iterable[Line]) -> Lines:
    """The lines with each SKU once; `BadInput` when that is too many of one, or too many SKUs."""
    total: dict[str, int] = {}
    for line in lines:
        if line.quantity < 1:
            raise BadInput(field="quantity", problem=f"A line needs a quantity of at least 1; {line.sku} has {line.quantity}.")
        total[line.sku] = total.get(line.sku, 0) + line.quantity
    for sku, quantity in total.items():
        if quantity > QUANTITY_MAX:
            raise BadInput(
                field="quantity", problem=f"A cart holds at most {QUANTITY_MAX} of one thing; {sku} would be {quantity}."
            )
    if len(total) > LINES_MAX:
        raise BadInput(field="lines", problem=f"A cart holds at most {LINES_MAX} different things.")
    return tuple(Line(sku, quantity) for sku, quantity in total.items())


def with_quantity(lines: Lines, sku: str, quantity: int) -> Lines:
    """The lines with this much of the SKU, in its place; 0 takes it out."""
    total = {line.sku: line.quantity for line in lines} | {sku: quantity}
    return checked(Line(each, count) for each, count in total.items() if each != sku or count)


def joined(account: Lines, guest: Lines) -> Lines:
    """Both carts' lines together, what the guest just chose last; never refused, because logging in must not fail.

    Of one thing there are at most as many as a cart may hold, and of too many things the account's oldest go.
    """
    before = {line.sku: line.quantity for line in account}
    chosen = [Line(line.sku, min(before.pop(line.sku, 0) + line.quantity, QUANTITY_MAX)) for line in guest]
    return (*(Line(sku, quantity) for sku, quantity in before.items()), *chosen)[-LINES_MAX:]


def without(lines: Lines, bought: Lines) -> Lines:
    """What is left when the bought units are taken out."""
    gone = {line.sku: line.quantity for line in bought}
    left = (Line(line.sku, line.quantity - gone.get(line.sku, 0)) for line in lines)
    return tuple(line for line in left if line.quantity > 0)
