"""What an order costs: taxes inside and outside the price, rounding, shipping, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecart.catalog import PricedItem
from securecart.checkout.model import AskQuote, ShippingRate, TaxRate, tax_on, total_up
from securecart.errors import BadInput
from securecart.values import Line, Money

ASK = AskQuote(country="DE", currency="EUR")
PICKUP = ShippingRate("pickup", "Pick up", 0, None)
STANDARD = ShippingRate("standard", "Standard", 499, 5000)
GERMAN = [TaxRate("standard", 190_000, included=True), TaxRate("reduced", 70_000, included=True)]
CANADIAN = [TaxRate("standard", 50_000, included=False)]


def item(sku: str, price_minor: int, tax_class: str = "standard") -> PricedItem:
    return PricedItem(
        sku=sku, slug=sku.lower(), title=sku, price=Money(price_minor, "EUR"), tax_class=tax_class, category="things"
    )


def test_tax_inside_the_price_does_not_raise_the_total() -> None:
    quote = total_up([Line("A", 2)], {"A": item("A", 1190)}, GERMAN, [PICKUP], ASK)
    assert (quote.subtotal.amount_minor, quote.tax.amount_minor, quote.total.amount_minor) == (2380, 380, 2380)


def test_tax_outside_the_price_is_added() -> None:
    quote = total_up([Line("A", 3)], {"A": item("A", 333)}, CANADIAN, [PICKUP], ASK)
    assert (quote.subtotal.amount_minor, quote.tax.amount_minor, quote.total.amount_minor) == (999, 50, 1049)


def test_each_line_is_taxed_at_the_rate_of_its_class_and_rounded_by_itself() -> None:
    items = {"A": item("A", 105, "reduced"), "B": item("B", 105, "standard")}
    quote = total_up([Line("A", 1), Line("B", 1)], items, GERMAN, [PICKUP], ASK)
    assert [line.tax.amount_minor for line in quote.lines] == [7, 17]


def test_shipping_is_taxed_at_the_standard_rate() -> None:
    quote = total_up([Line("A", 1)], {"A": item("A", 1000, "zero")}, CANADIAN, [STANDARD], ASK)
    assert (quote.shipping.amount_minor, quote.tax.amount_minor, quote.total.amount_minor) == (499, 25, 1524)


def test_shipping_is_free_from_its_threshold() -> None:
    below = total_up([Line("A", 1)], {"A": item("A", 4999)}, [], [STANDARD], ASK)
    at = total_up([Line("A", 1)], {"A": item("A", 5000)}, [], [STANDARD], ASK)
    assert (below.shipping.amount_minor, at.shipping.amount_minor) == (499, 0)


def test_a_sku_that_is_not_sold_names_the_field() -> None:
    with pytest.raises(BadInput) as refused:
        total_up([Line("GONE", 1)], {}, [], [PICKUP], ASK)
    assert refused.value.field == "lines"
    assert "GONE" in refused.value.message


def test_an_unknown_shipping_method_names_those_on_offer() -> None:
    ask = AskQuote(country="DE", currency="EUR", shipping_method="drone")
    with pytest.raises(BadInput) as refused:
        total_up([Line("A", 1)], {"A": item("A", 1)}, [], [PICKUP, STANDARD], ask)
    assert refused.value.field == "shipping_method"
    assert "pickup, standard" in refused.value.message


def test_a_country_without_shipping_is_refused() -> None:
    with pytest.raises(BadInput, match="none"):
        total_up([Line("A", 1)], {"A": item("A", 1)}, [], [], ASK)


@given(st.integers(0, 10**12), st.integers(0, 1_000_000))
def test_rounding_is_half_up_and_never_off_by_more_than_half_a_unit(amount: int, rate: int) -> None:
    outside = tax_on(amount, rate, included=False)
    assert abs(outside * 1_000_000 - amount * rate) * 2 <= 1_000_000
    inside = tax_on(amount, rate, included=True)
    assert abs(inside * (1_000_000 + rate) - amount * rate) * 2 <= 1_000_000 + rate
    assert 0 <= inside <= outside


@given(
    st.lists(st.tuples(st.integers(1, 99), st.integers(0, 100_000)), min_size=1, max_size=20),
    st.sampled_from([GERMAN, CANADIAN, []]),
)
def test_a_quote_always_adds_up(wanted: list[tuple[int, int]], taxes: list[TaxRate]) -> None:
    lines = [Line(f"S{n}", quantity) for n, (quantity, _) in enumerate(wanted)]
    items = {f"S{n}": item(f"S{n}", price) for n, (_, price) in enumerate(wanted)}
    quote = total_up(lines, items, taxes, [STANDARD], ASK)
    assert quote.subtotal.amount_minor == sum(quantity * price for quantity, price in wanted)
    extra = 0 if quote.tax_included else quote.tax.amount_minor
    assert quote.total.amount_minor == quote.subtotal.amount_minor + quote.shipping.amount_minor + extra
