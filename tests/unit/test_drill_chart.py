"""The chart of a drill: what a block stands for, where the deed is, and a picture that is well-formed and says the same."""

from __future__ import annotations

import re
import time
from xml.etree import ElementTree as ET

import pytest

from securecart.drills.chart import Chart, Event, draw_svg, draw_text
from securecart.drills.timeline import Timeline

SVG = "{http://www.w3.org/2000/svg}"
CALM, AWAY, GOES_ON = [4] * 20, [0] * 25, [4] * 15
CHART = Chart(-2.0, CALM + AWAY + GOES_ON, [8] * 60)


def test_a_chart_counts_its_bins_from_the_deed_to_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Timeline()
    for at in (99.0, 99.71, 99.99, 100.01, 100.05, 100.42):
        monkeypatch.setattr(time, "monotonic", lambda at=at: at)
        line.succeeded("checkout")
    chart = Chart.of(line, since=99.65, deed=100.0, until=100.45)
    assert (chart.from_s, chart.checkout) == (-0.4, [0, 1, 0, 1, 2, 0, 0, 0, 1])
    assert chart.read == [0] * 9


def test_blocks_show_the_break_and_the_deed_above_its_first_tenth() -> None:
    ruler, checkouts, pages = draw_text(CHART).splitlines()
    assert checkouts == "checkouts  " + "█" * 20 + "·" * 25 + "█" * 15
    assert pages == "pages read " + "█" * 60
    assert ruler.index("▼") == checkouts.index("·")
    assert ruler.rindex("2 s") == checkouts.index("·") + 20


def test_half_as_many_are_half_as_high_and_few_are_not_nothing() -> None:
    checkouts = draw_text(Chart(0.0, [100, 50, 1, 0], [0, 0, 0, 0])).splitlines()[1]
    assert checkouts.removeprefix("checkouts  ") == "█▄▁·"


def test_ten_seconds_make_a_row() -> None:
    rows = draw_text(Chart(-2.0, [1] * 230, [1] * 230)).splitlines()
    assert [len(row) for row in rows if row.startswith("checkouts")] == [111, 111, 41]
    assert sum("▼" in row for row in rows) == 1


def test_the_picture_shades_the_break_and_names_each_event_where_it_happened() -> None:
    events = [Event(0.0, "kill -9 & more"), Event(2.3, "new leader"), Event(2.5, "first checkout")]
    drawn = ET.fromstring(draw_svg(CHART, events, title="crash <of> PostgreSQL"))
    holes = [hole for hole in drawn.iter(f"{SVG}rect") if hole.get("class") == "hole"]
    marks = [float(mark.get("x1", 0)) for mark in drawn.iter(f"{SVG}line") if mark.get("class") == "event"]
    said = ["".join(text.itertext()) for text in drawn.iter(f"{SVG}text")]
    assert len(holes) == 1
    assert float(holes[0].get("x", 0)) == pytest.approx(marks[0], abs=0.2)
    assert float(holes[0].get("width", 0)) == pytest.approx((marks[1] - marks[0]) / 2.3 * 2.5, abs=0.2)
    assert {"crash <of> PostgreSQL", "kill -9 & more", "new leader 2.3 s", "first checkout 2.5 s"} <= set(said)
    bars = next(path for path in drawn.iter(f"{SVG}path") if path.get("class") == "checkout")
    assert len(re.findall("M", bars.get("d", ""))) == 35
    assert "prefers-color-scheme: dark" in drawn.findtext(f"{SVG}style", "")


def test_names_of_events_close_together_stand_in_rows_of_their_own() -> None:
    events = [Event(0.0, "the deed"), Event(0.1, "new leader"), Event(0.2, "first checkout"), Event(3.9, "the old node follows")]
    drawn = ET.fromstring(draw_svg(CHART, events, title="three at once"))
    rows = [text.get("y") for text in drawn.iter(f"{SVG}text") if text.get("class") == "says"]
    assert len(set(rows[:3])) == 3
    assert all(0 <= float(text.get("x", -1)) <= 960 for text in drawn.iter(f"{SVG}text"))
