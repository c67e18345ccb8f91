"""Which word was meant: few slips first, then the more frequent word."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securecart.catalog.searching.typing_errors import nearest, slips

WORDS = st.text("abcde", max_size=8)


@pytest.mark.parametrize(
    ("one", "other", "count"), [("milk", "mlik", 1), ("milk", "milk", 0), ("cheese", "chese", 1), ("", "ab", 2)]
)
def test_slips_are_counted(one: str, other: str, count: int) -> None:
    assert slips(one, other) == count


@settings(derandomize=True)
@given(WORDS, WORDS)
def test_slips_are_the_same_both_ways(one: str, other: str) -> None:
    assert slips(one, other) == slips(other, one)
    assert (slips(one, other) == 0) == (one == other)


def test_the_nearest_word_wins_and_among_equals_the_more_frequent() -> None:
    assert nearest("mlik", {"milk": 3, "mlk": 1, "silk": 90}) == "milk"
    assert nearest("bred", {"bread": 9, "bed": 2}) == "bread"


def test_a_word_too_far_away_is_not_suggested() -> None:
    assert nearest("zzxxqq", {"milk": 3}) is None
    assert nearest("tea", {"pea": 3, "coffee": 9}) == "pea"
