"""Who gets what while stock is locked: all or nothing, never more than is free, in order of arrival."""

from __future__ import annotations

import contextlib
import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecart.errors import OutOfStock
from securecart.inventory import Shelves, Taken
from securecart.inventory.model import Place
from securecart.values import Line

SKUS = st.sampled_from("ABC")
STOCK = st.dictionaries(st.tuples(SKUS, st.integers(1, 3)), st.integers(0, 8), max_size=9)
ORDER = st.lists(st.builds(Line, SKUS, st.integers(1, 6)), min_size=1, max_size=4)
ORDERS = st.lists(ORDER, max_size=8)

Free = dict[tuple[str, int], int]


def shelves_of(stock: Free) -> Shelves:
    return Shelves(Place(sku, place, free) for (sku, place), free in sorted(stock.items()))


def naively(stock: Free, lines: list[Line]) -> Free | None:
    """One unit after the other, from the first place that has one; None, and nothing taken, when one is not to be had."""
    left = copy.copy(stock)
    for sku in [line.sku for line in lines for _ in range(line.quantity)]:
        place = next((place for place in (1, 2, 3) if left.get((sku, place), 0) > 0), None)
        if place is None:
            return None
        left[sku, place] -= 1
    return left


def without(stock: Free, taken: list[Taken]) -> Free:
    left = copy.copy(stock)
    for one in taken:
        left[one.sku, one.location_id] -= one.quantity
    return left


@given(stock=STOCK, orders=ORDERS)
def test_orders_are_judged_one_after_the_other_as_by_a_clerk_with_a_list(stock: Free, orders: list[list[Line]]) -> None:
    shelves = shelves_of(stock)
    for lines in orders:
        left = naively(stock, lines)
        if left is None:
            with pytest.raises(OutOfStock):
                shelves.take(lines)
        else:
            taken = shelves.take(lines)
            stock = without(stock, taken)
            assert stock == left
            assert min(one.quantity for one in taken) > 0
            assert len({(one.sku, one.location_id) for one in taken}) == len(taken)


@given(stock=STOCK, lines=ORDER)
def test_a_refusal_names_just_what_falls_short_and_by_how_much(stock: Free, lines: list[Line]) -> None:
    try:
        shelves_of(stock).take(lines)
    except OutOfStock as refused:
        short = {one.sku: (one.wanted, one.available) for one in refused.facts["shortages"]}
    else:
        short = {}
    wanted = {sku: sum(line.quantity for line in lines if line.sku == sku) for sku in {line.sku for line in lines}}
    free = {sku: sum(units for (other, _), units in stock.items() if other == sku) for sku in wanted}
    assert short == {sku: (wanted[sku], free[sku]) for sku in sorted(wanted) if wanted[sku] > free[sku]}


@given(stock=STOCK, first=ORDER, second=ORDER)
def test_what_is_given_back_is_there_for_the_next(stock: Free, first: list[Line], second: list[Line]) -> None:
    shelves = shelves_of(stock)
    with contextlib.suppress(OutOfStock):  # then nothing was taken, and there is nothing to give back
        shelves.give_back(shelves.take(first))
    assert (naively(stock, second) is None) == is_refused(shelves, second)


def is_refused(shelves: Shelves, lines: list[Line]) -> bool:
    try:
        shelves.take(lines)
    except OutOfStock:
        return True
    return False
