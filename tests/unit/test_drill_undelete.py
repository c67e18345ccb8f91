"""How an undelete drill judges: byte by byte, nothing else touched, quick enough."""

from __future__ import annotations

import msgspec
import pytest

from securecart.cli.undelete import missed_by_undelete, told_of_undelete
from securecart.drills.undelete_model import Copies, Judged, UndeleteVerdict, Undone, p99_ms
from securecart.promises import Report

LOST = {("orders", "[1]"): "(1,a)", ("payment", "[1]"): "(1,9)"}
OTHERS = {("orders", "[2]"): "(2,b)"}
COPIES = Copies(LOST, OTHERS)
UNDONE = Undone(
    form="prices",
    command="securecart recover rows",
    rows_lost=2,
    rows_recovered=2,
    rows_wrongly_touched=0,
    on_purpose=5,
    on_purpose_kept=5,
    misshown=0,
    sold_at_zero=7,
    sold_at_zero_after=0,
    seconds_of_command=3.0,
    seconds_to_whole=4.0,
    checkouts_during=40,
    p99_ms_before=50.0,
    p99_ms_during=80.0,
    p99_ratio=1.6,
)
KEPT = Report(kept=True, orders=9, acknowledged=9, projections_equal=True)


def test_what_is_back_and_only_that_is_exact() -> None:
    assert Judged.of(COPIES, {**LOST, **OTHERS}, [("orders", "[1]")]) == Judged(2, 2, 0)


@pytest.mark.parametrize(
    ("now", "written", "recovered", "touched"),
    [
        ({**OTHERS, ("orders", "[1]"): "(1,a)"}, [], 1, 0),
        ({**LOST, **OTHERS, ("payment", "[1]"): "(1,8)"}, [], 1, 0),
        ({**LOST, ("orders", "[2]"): "(2,x)"}, [], 2, 1),
        (LOST, [], 2, 1),
        ({**LOST, **OTHERS}, [("stock", '["A", 1]')], 2, 1),
        ({**LOST, ("orders", "[2]"): "(2,x)"}, [("orders", "[2]")], 2, 1),
    ],
)
def test_every_other_row_is_counted(
    now: dict[tuple[str, str], str], written: list[tuple[str, str]], recovered: int, touched: int
) -> None:
    found = Judged.of(COPIES, now, written)
    assert (found.rows_lost, found.rows_recovered, found.rows_wrongly_touched) == (2, recovered, touched)
    assert found.examples


@pytest.mark.parametrize(
    ("change", "kept", "met"),
    [
        ({}, True, True),
        ({"rows_recovered": 1}, False, True),
        ({"rows_wrongly_touched": 1}, False, True),
        ({"on_purpose_kept": 4}, False, True),
        ({"misshown": 1}, False, True),
        ({"sold_at_zero_after": 1}, False, True),
        ({"seconds_to_whole": 91.0}, True, False),
        ({"p99_ratio": 2.1}, True, False),
    ],
)
def test_a_verdict_is_exact_and_quick_or_says_what_was_missed(change: dict[str, float], *, kept: bool, met: bool) -> None:
    found = UndeleteVerdict.of(1, [UNDONE, msgspec.structs.replace(UNDONE, **change)], KEPT, {}, seconds=9.0)
    assert (found.kept, found.met) == (kept, met)
    assert bool(missed_by_undelete(found)) is not (kept and met)
    assert told_of_undelete(found).endswith("every promise is kept" if kept else "BROKEN")


def test_all_forms_are_added_up_and_the_slowest_counts() -> None:
    slower = msgspec.structs.replace(UNDONE, seconds_to_whole=6.0, p99_ratio=1.1)
    found = UndeleteVerdict.of(1, [UNDONE, slower], KEPT, {}, seconds=9.0)
    assert (found.rows_lost, found.sold_at_zero, found.seconds_to_whole, found.p99_ratio) == (4, 14, 6.0, 1.6)


def test_a_promise_that_broke_is_the_verdict() -> None:
    broken = Report(kept=False, orders=9, acknowledged=9, lost=1, examples=("lost: Order 7 is not there.",))
    found = UndeleteVerdict.of(1, [UNDONE], broken, {}, seconds=9.0)
    assert not found.kept
    assert "lost: Order 7 is not there." in missed_by_undelete(found)


def test_one_in_a_hundred_may_take_longer() -> None:
    assert p99_ms([]) == 0
    assert p99_ms([0.25]) == 250
    assert p99_ms([0.01] * 99 + [9.0]) == 10
    assert p99_ms([0.01] * 98 + [9.0, 9.0]) == 9_000
