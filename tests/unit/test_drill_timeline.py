"""The timeline of a drill: breaks, counts by tenths of a second, pages told apart."""

from __future__ import annotations

import time

import pytest

from securecart.drills.timeline import Timeline


def lived(monkeypatch: pytest.MonkeyPatch, *events: tuple[float, str, str, bool]) -> Timeline:
    """A timeline in which this happened: moment, kind, what, whether it was a success."""
    line = Timeline()
    for at, kind, what, well in events:
        monkeypatch.setattr(time, "monotonic", lambda at=at: at)
        (line.succeeded if well else line.failed)(kind, what)
    return line


def sales(monkeypatch: pytest.MonkeyPatch, *moments: float) -> Timeline:
    return lived(monkeypatch, *((at, "checkout", "", True) for at in moments))


def test_the_longest_break_is_between_two_successes_or_at_either_end(monkeypatch: pytest.MonkeyPatch) -> None:
    line = sales(monkeypatch, 99.0, 101.0, 104.0, 104.5)
    assert line.longest_without("checkout", since=100.0, until=105.0) == 3.0
    assert line.longest_without("checkout", since=100.0, until=110.0) == 5.5
    assert line.longest_without("checkout", since=95.0, until=100.5) == 4.0


def test_who_never_gets_anything_is_without_it_from_beginning_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    line = lived(monkeypatch, (101.0, "checkout", "", False), (102.0, "read", "order", True))
    assert line.longest_without("checkout", since=100.0, until=107.0) == 7.0
    assert line.total_without("checkout", since=100.0, until=107.0, unnoticed_s=0.25) == 7.0
    assert line.first_success("checkout", since=100.0) is None


def test_the_total_counts_breaks_that_are_noticed_and_counts_them_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    line = sales(monkeypatch, 100.2, 100.4, 101.4, 101.6, 102.1, 102.3)
    assert line.total_without("checkout", since=100.0, until=102.5, unnoticed_s=0.25) == pytest.approx(1.5)


def test_one_page_that_is_away_is_not_hidden_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    products = [(100.0 + tenth / 10, "read", "product", True) for tenth in range(31)]
    line = lived(monkeypatch, *products, (101.05, "read", "order", True), (102.0, "read", "order", False))
    assert line.whats("read") == ["order", "product"]
    assert line.longest_without("read", since=100.0, until=103.0) == pytest.approx(0.1)
    assert line.longest_without("read", "order", since=100.0, until=103.0) == pytest.approx(1.95)
    assert line.failures("read", since=100.0, until=103.0) == line.failures("read", "order", since=100.0, until=103.0) == 1
    assert line.successes("read", "order", since=101.1, until=103.0) == 0


def test_tenths_of_a_second_are_counted_from_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    line = sales(monkeypatch, 99.99, 100.0, 100.05, 100.31, 100.99, 101.0, 101.2)
    assert line.counts("checkout", since=100.0, until=101.0) == [2, 0, 0, 1, 0, 0, 0, 0, 0, 2]
    assert line.first_success("checkout", since=100.06) == 100.31
