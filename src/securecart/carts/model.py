"""The noun, and the pure rules of changing it."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from securecart.errors import BadInput
from securecart.values import Line

LINES_MAX = 250
QUANTITY_MAX = 999

Lines = tuple[Line, ...]


class Cart(Struct, frozen=True):
    """What a shopper holds. `version` counts its changes, `change` names the last one; both are empty for no cart."""

    lines: Lines = ()
    version: int = 0
    change: str = ""


def checked(lines: Iterable[Line]) -> Lines:
    """The lines with each SKU once; `BadInput` when that is too many of one, or too many SKUs."""
    total: dict[str, int] = {}
    for line in lines:
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
    known = any(line.sku == sku for line in lines)
    changed = [Line(line.sku, quantity) if line.sku == sku else line for line in lines]
    if not known:
        changed.append(Line(sku, quantity))
    return checked(line for line in changed if line.quantity > 0)


def joined(lines: Lines, more: Lines) -> Lines:
    """Both carts' lines together, as much as a cart can hold: what is too much is left out, never refused."""
    total = {line.sku: line.quantity for line in lines}
    for line in more:
        if line.sku in total or len(total) < LINES_MAX:
            total[line.sku] = min(QUANTITY_MAX, total.get(line.sku, 0) + line.quantity)
    return tuple(Line(sku, quantity) for sku, quantity in total.items())


def without(lines: Lines, bought: Lines) -> Lines:
    """What is left when the bought units are taken out."""
    gone = {line.sku: line.quantity for line in bought}
    left = (Line(line.sku, line.quantity - gone.get(line.sku, 0)) for line in lines)
    return tuple(line for line in left if line.quantity > 0)
