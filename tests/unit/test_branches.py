"""Which timeline leads to a moment, and from which pieces its log is put together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from securecart.errors import RecoveryRefused
from securecart.ops.recovery.branches import Leg, branch_at, legs_of
from securecart.ops.recovery.log_plan import Segment, enough_for, log_plan
from securecart.ops.recovery.model import SEGMENT_BYTES, Base, Fork, Holdings, Moment, Piece, segment_name

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


def at(minute: float) -> datetime:
    return NOON + timedelta(minutes=minute)


def piece(timeline: int, start: float, end: float) -> Piece:
    """From and to in segments."""
    return Piece(f"{timeline}/{start}-{end}", timeline, int(start * SEGMENT_BYTES), int(end * SEGMENT_BYTES), 1)


def fork(timeline: int, parent: int, segments: float, resumed_at: datetime | None = None) -> Fork:
    return Fork(timeline, parent, int(segments * SEGMENT_BYTES), resumed_at)


def holdings(*pieces: Piece, forks: tuple[Fork, ...] = ()) -> Holdings:
    return Holdings(bases=(), pieces=pieces, forks=forks, gaps=(), beat=None, windows=(), bytes=0)


# 1 fails over to 2, which is gone back on to a place of 1 as 3, which fails over to 4
STORY = holdings(
    *(piece(timeline, 0, 9) for timeline in (1, 2, 3, 4)),
    forks=(fork(2, 1, 5), fork(3, 1, 4, at(30)), fork(4, 3, 7)),
)


@pytest.mark.parametrize(
    ("moment", "timeline"),
    [
        (Moment(at=at(0)), 2),  # live then was what had failed over, not what it was gone back to
        (Moment(at=at(29.9)), 2),
        (Moment(at=at(30)), 4),
        (Moment(at=at(60)), 4),
        (Moment(xid=700), 4),
    ],
)
def test_what_was_live_at_the_moment_is_followed(moment: Moment, timeline: int) -> None:
    assert branch_at(STORY, moment) == timeline


def test_where_there_is_no_log_nothing_is_followed() -> None:
    with pytest.raises(RecoveryRefused, match="holds no log"):
        branch_at(holdings(), Moment(at=NOON))


def test_the_way_to_a_timeline_begins_at_the_first() -> None:
    assert legs_of(STORY.forks, 4) == [
        Leg(1, 0, 4 * SEGMENT_BYTES),
        Leg(3, 4 * SEGMENT_BYTES, 7 * SEGMENT_BYTES),
        Leg(4, 7 * SEGMENT_BYTES, None),
    ]


def shape(plan: list[Segment]) -> list[tuple[str, float, list[str]]]:
    return [(one.name, one.end / SEGMENT_BYTES, [part.piece.name for part in one.parts]) for one in plan]


def test_a_segment_is_joined_from_pieces_and_the_log_ends_at_the_first_hole() -> None:
    held = holdings(piece(1, 3, 4), piece(1, 4, 4.25), piece(1, 4.25, 4.5), piece(1, 4, 4.375), piece(1, 4.625, 5))
    assert shape(log_plan(held, legs_of((), 1), int(3.5 * SEGMENT_BYTES))) == [
        (segment_name(1, 3 * SEGMENT_BYTES), 4, ["1/3-4"]),
        (segment_name(1, 4 * SEGMENT_BYTES), 4.5, ["1/4-4.375", "1/4.25-4.5"]),
    ]


def test_a_fork_within_a_segment_is_read_from_the_new_timeline_and_filled_up_from_the_old() -> None:
    forks = (fork(2, 1, 4.5),)
    old = [piece(1, 3, 4), piece(1, 4, 4.75)]  # what it wrote beyond the fork is nobody's
    whole = holdings(*old, piece(2, 4, 5), piece(2, 5, 5.5), forks=forks)
    assert shape(log_plan(whole, legs_of(forks, 2), 3 * SEGMENT_BYTES)) == [
        (segment_name(1, 3 * SEGMENT_BYTES), 4, ["1/3-4"]),
        (segment_name(2, 4 * SEGMENT_BYTES), 5, ["2/4-5"]),
        (segment_name(2, 5 * SEGMENT_BYTES), 5.5, ["2/5-5.5"]),
    ]
    (*_, last) = log_plan(holdings(*old, piece(2, 4.25, 4.625), forks=forks), legs_of(forks, 2), 3 * SEGMENT_BYTES)
    assert shape([last]) == [(segment_name(2, 4 * SEGMENT_BYTES), 4.625, ["1/4-4.75", "2/4.25-4.625"])]
    assert last.parts[0].end == 4.5 * SEGMENT_BYTES


def test_log_that_is_surely_later_is_left_where_it_is() -> None:
    legs = legs_of(STORY.forks, 4)

    def base(timeline: int, stop: int, began: float) -> Base:
        return Base(
            label=f"{stop}",
            kind="full",
            parent="",
            timeline=timeline,
            start_lsn=0,
            stop_lsn=stop * SEGMENT_BYTES,
            started_at=at(began),
            ended_at=at(began + 1),
            database_bytes=1,
            archive_bytes=1,
            source="",
        )

    bases = [base(1, 3, 10), base(2, 6, 20), base(3, 6, 40), base(4, 8, 50)]
    assert enough_for(bases, legs, at(9)) == 3 * SEGMENT_BYTES
    assert enough_for(bases, legs, at(10)) == 6 * SEGMENT_BYTES  # the one of timeline 2 is on no way to 4
    assert enough_for(bases, legs, at(40)) == 8 * SEGMENT_BYTES
    assert enough_for(bases, legs, at(50)) > 9 * SEGMENT_BYTES
