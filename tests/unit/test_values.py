"""Money as people read it, cursors that cannot be forged into errors, errors that explain themselves."""

from __future__ import annotations

import inspect
import string
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecart import errors
from securecart.errors import BadInput, OutOfStock, SecureCartError
from securecart.orders import new_number
from securecart.values import Money, decode_cursor, encode_cursor


@pytest.mark.parametrize(
    ("money", "text"),
    [
        (Money(123450, "USD"), "$1,234.50"),
        (Money(-5, "EUR"), "-€0.05"),
        (Money(1200, "JPY"), "¥1,200"),
        (Money(7, "SEK"), "SEK 0.07"),
    ],
)
def test_money_reads_as_a_shopper_expects(money: Money, text: str) -> None:
    assert str(money) == text


@given(st.integers(), st.text())
def test_a_cursor_gives_back_the_position_it_was_made_of(number: int, text: str) -> None:
    bounded = number % 2**63
    assert decode_cursor(encode_cursor(bounded, text), int, str) == (bounded, text)


@given(st.text(max_size=40))
def test_a_made_up_cursor_is_bad_input_and_nothing_worse(cursor: str) -> None:
    with suppress(BadInput):
        assert isinstance(decode_cursor(cursor, int)[0], int)


def test_an_order_number_can_be_read_out_and_is_not_guessable() -> None:
    numbers = {new_number() for _ in range(1000)}
    assert len(numbers) == 1000
    assert all(len(number) == 14 and not set(number) & set("ILOU") for number in numbers)


def test_an_error_says_its_facts_in_a_sentence() -> None:
    assert OutOfStock(skus="A, B").message == "Not enough stock for A, B; nothing was ordered or charged."
    assert OutOfStock.code() == "out-of-stock"


def test_the_drawing_of_the_error_tree_names_every_error() -> None:
    drawing = inspect.getdoc(errors) or ""
    found = [name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, SecureCartError)]
    assert [name for name in found if name not in drawing] == []


def test_every_message_has_only_named_facts() -> None:
    for name, kind in vars(errors).items():
        if inspect.isclass(kind) and issubclass(kind, SecureCartError):
            fields = [field for _, field, _, _ in string.Formatter().parse(kind.__doc__ or "") if field is not None]
            assert all(fields), name
