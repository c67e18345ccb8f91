"""What the load makes of a product of the files: prices in three currencies, stock in two places, a page."""

from __future__ import annotations

from securecart.demo.load import prices_of, products_of, targets_of
from securecart.demo.source import Item
from securecart.inventory import Receipt

CHIPS = Item(824614, 69, "GROCERY", "Private", "BAG SNACKS", "POTATO CHIPS", "12 OZ")
SOAP = Item(900001, 7, "DRUG GM", "National", "SOAP - LIQUID & BAR", "BAR SOAP", "")


def test_a_price_is_rounded_half_up_in_each_currency_and_never_nothing() -> None:
    assert prices_of(250) == {"USD": 250, "EUR": 223, "GBP": 195}  # 222.5 and 195.0
    assert prices_of(1) == {"USD": 1, "EUR": 1, "GBP": 1}


def test_stock_is_five_years_of_sales_and_never_little() -> None:
    assert targets_of([SOAP], {SOAP.product_id: 60}) == [Receipt("CJ-900001", 300)]
    assert targets_of([SOAP], {}) == [Receipt("CJ-900001", 200)]


def test_what_sells_fast_is_kept_in_two_places() -> None:
    assert targets_of([CHIPS], {CHIPS.product_id: 101}) == [Receipt("CJ-824614", 202, "north"), Receipt("CJ-824614", 303, "main")]


def test_a_product_is_whole_and_in_its_place() -> None:
    chips, soap = products_of([CHIPS, SOAP], {CHIPS.product_id: 279, SOAP.product_id: 99})
    assert (chips.title, chips.slug) == ("Larder Lane Potato Chips, 12 oz", "larder-lane-potato-chips-12-oz-824614")
    assert chips.categories == ["Snacks & Candy", "Chips & Snacks"]
    assert chips.attributes == {
        "Kind": "Potato Chips",
        "Size": "12 oz",
        "Brand type": "Store brand",
        "Department": "Snacks & Candy",
    }
    assert chips.description == (
        "Potato Chips by Larder Lane, 12 oz. One of our own brands. Found in Snacks & Candy under Chips & Snacks."
    )
    assert [(variant.sku, variant.prices["USD"]) for variant in chips.variants] == [("CJ-824614", 279)]
    assert (chips.tax_class, soap.attributes["Brand type"], "Size" in soap.attributes) == ("zero", "National brand", False)
