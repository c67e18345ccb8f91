"""Times and likelihoods as the console says them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from securecart.web.console.words import about, due, percent

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "less than a minute"),
        (59, "less than a minute"),
        (60, "a minute"),
        (119, "a minute"),
        (120, "2 minutes"),
        (7_199, "119 minutes"),
        (7_200, "2 hours"),
        (172_799, "47 hours"),
        (172_800, "2 days"),
    ],
)
def test_a_span_is_said_in_its_greatest_unit(seconds: int, said: str) -> None:
    assert about(seconds) == said


def test_what_is_due_lies_ahead_or_is_overdue() -> None:
    assert due(NOW + timedelta(hours=5, minutes=3), NOW) == "in 5 hours"
    assert due(NOW - timedelta(minutes=12), NOW) == "12 minutes overdue"


@pytest.mark.parametrize(
    ("probability", "said"),
    [(0.0, "below 1 %"), (0.0099, "below 1 %"), (0.01, "1 %"), (0.623, "62 %"), (0.99, "99 %"), (0.9999, "above 99 %")],
)
def test_nothing_is_quite_sure(probability: float, said: str) -> None:
    assert percent(probability).replace("\u00a0", " ") == said
