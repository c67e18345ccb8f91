"""What a restored database is judged by, and when the next proof is due."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec
import pytest

from securecart.ops.recovery.certificates import Flaw
from securecart.ops.recovery.holdings import understood
from securecart.ops.recovery.model import SEGMENT_BYTES, Base, Beat, Piece
from securecart.ops.recovery.proofs import is_due
from securecart.proving.model import Books, Tally, missing_in, missing_rows, rows_unchecked

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


def books(rows: int = 10, inserted: int = 10, deleted: int = 0, *, file: int = 1, server: str = "one") -> Books:
    return Books(server, NOON, {"orders": Tally(rows, inserted, deleted, file)})


@pytest.mark.parametrize(
    ("after", "restored", "is_right"),
    [
        (books(), 10, True),
        (books(), 9, False),
        (books(), 11, False),
        (books(inserted=13), 13, True),
        (books(inserted=13), 14, False),
        (books(inserted=13), 9, False),
        (books(inserted=12, deleted=3), 7, True),
        (books(inserted=12, deleted=3), 6, False),
        (books(inserted=12, deleted=3), 12, True),
    ],
)
def test_rows_lie_between_what_was_deleted_and_what_was_inserted_since(after: Books, restored: int, *, is_right: bool) -> None:
    found = missing_rows(books(), after, {"orders": restored})
    assert [(flaw.part, flaw.name) for flaw in found] == ([] if is_right else [("rows", "orders")])
    assert rows_unchecked(books(), after) == []


def test_a_table_that_is_not_there_is_missing() -> None:
    (flaw,) = missing_rows(books(), books(inserted=11), {})
    assert flaw.what == "Table orders must have 10 to 11 rows and is not there."


@pytest.mark.parametrize("after", [books(server="two"), books(file=2), Books("one", NOON, {})])
def test_what_cannot_be_judged_is_said_and_no_flaw(after: Books) -> None:
    assert missing_rows(books(), after, {"orders": 0}) == []
    (said,) = rows_unchecked(books(), after)
    assert said.startswith("how many rows ")


def base(label: str, segment: int, *, parent: str = "") -> Base:
    kind: Literal["full", "incremental"] = "incremental" if parent else "full"
    start, at = segment * SEGMENT_BYTES, NOON + timedelta(minutes=segment)
    return Base(label, kind, parent, 1, start, start + 8, at, at, 0, 0, "")


def found_in(*bases: Base, log: Iterable[int] = range(1, 7)) -> list[tuple[str, str]]:
    """What is missing where these bases and segments of log are there."""
    pieces = [Piece(f"wal/{number}", 1, number * SEGMENT_BYTES, (number + 1) * SEGMENT_BYTES, SEGMENT_BYTES) for number in log]
    beat = Beat(NOON + timedelta(hours=1), 1, 7 * SEGMENT_BYTES)
    return [(flaw.part, flaw.name) for flaw in missing_in(understood(bases, pieces, (), (), beat))]


def test_nothing_is_missing_where_the_newest_base_leads_to_the_beat() -> None:
    assert found_in(base("old", 1), base("new", 3, parent="old"), log=range(3, 7)) == []
    assert missing_in(understood((), (), (), (), None)) == []


def test_a_hole_behind_the_newest_base_is_missing_and_none_before_it() -> None:
    assert found_in(base("old", 1), base("new", 4), log=(1, 2, 4, 6)) == [("log", "wal/00000001/000000010000000000000005")]


def test_a_base_that_the_newest_one_stands_on_is_missing() -> None:
    assert found_in(base("new", 3, parent="between")) == [("base", "base/between")]
    assert found_in(base("between", 2, parent="old"), base("new", 3, parent="between")) == [("base", "base/old")]


def test_what_cannot_be_read_is_named() -> None:
    holdings = msgspec.structs.replace(understood((), (), (), (), None), unread=("base/x/about is damaged: it ends early.",))
    assert missing_in(holdings) == [Flaw("archive", "base/x/about", "base/x/about is damaged: it ends early.")]


@pytest.mark.parametrize(
    ("last_h", "up_s", "tried_s", "hours", "due"),
    [
        (None, 700, None, 24, True),
        (None, 500, None, 24, False),
        (None, 700, 60, 24, False),
        (None, 2_000, 1_000, 24, True),
        (23, 700, None, 24, False),
        (25, 700, None, 24, True),
        (25, 500, None, 24, False),
        (25, 700, None, 0, False),
    ],
)
def test_a_proof_is_due_once_a_day_but_not_right_after_a_start(
    last_h: float | None, up_s: float, tried_s: float | None, hours: float, *, due: bool
) -> None:
    last = None if last_h is None else NOON - timedelta(hours=last_h)
    tried_at = None if tried_s is None else NOON - timedelta(seconds=tried_s)
    started_at = NOON - timedelta(seconds=up_s)
    assert is_due(last, now=NOON, hours=hours, started_at=started_at, tried_at=tried_at) is due
