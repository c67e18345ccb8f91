"""Who writes and who reads, tried in every situation without a database."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from securecart.stores.postgres.choosing import (
    NEWEST,
    NOWHERE,
    History,
    Position,
    Seen,
    View,
    choose,
    eligible,
    eligible_without_writer,
    follows,
    writer_of,
)


def primary(position: int | None = 1_000, *, timeline: int = 1, at: float = 10.0) -> Seen:
    return Seen(False, timeline, position, None, None, at, at)


def replica(position: int | None = 1_000, *, at: float = 10.0, **more: Any) -> Seen:
    return Seen(True, 0, position, more.get("replayed_s"), more.get("lag_s"), at, at, more.get("received", position))


def past(*looks: tuple[int, float]) -> History:
    history = History()
    for position, at in looks:
        history.note(position, at)
    return history


NOW = past((1_000, 10.0))
# the writer was at 500 for seconds, wrote, and was at 1,000 a moment ago
WROTE = past((500, 6.0), (500, 8.0), (1_000, 10.0))


def view(*seen: Seen | None, history: History = NOW, limit_s: float = 2.0, serving: tuple[int, ...] = ()) -> View:
    return choose(seen, writer_of(seen), history, limit_s=limit_s, serving=serving)


def readers(*seen: Seen | None, after: int | None = None, **more: Any) -> list[int]:
    found = view(*seen, **more)
    return eligible(found, seen, None if after is None else Position(after))


def test_the_writer_is_whoever_follows_nobody() -> None:
    assert writer_of([replica(), primary(), None]) == 1
    assert writer_of([replica(), None]) is None


def test_of_two_that_write_the_later_timeline_is_true() -> None:
    assert writer_of([primary(timeline=3), primary(timeline=4)]) == 1
    assert writer_of([primary(timeline=4), primary(timeline=3)]) == 0


def test_a_timeline_that_has_ended_never_writes_again() -> None:
    assert writer_of([primary(timeline=3), None], since=4) is None
    assert writer_of([primary(timeline=4), None], since=4) == 0


def test_replicas_read_and_the_writer_is_spared() -> None:
    assert readers(primary(), replica(), replica()) == [1, 2]
    assert readers(primary(), None, None) == []


def test_a_read_after_a_write_passes_over_replicas_behind_it() -> None:
    seen = (primary(1_000), replica(990), replica(1_000))
    assert readers(*seen, after=1_000) == [2]
    assert readers(*seen, after=1_001) == []
    assert readers(*seen, after=NOWHERE) == [2, 1] or readers(*seen, after=NOWHERE) == [2]
    assert readers(*seen, after=NEWEST) == []


def test_lag_is_told_in_bytes_and_in_seconds() -> None:
    lags = view(primary(1_000), replica(600), replica(1_000), history=WROTE, limit_s=5.0).lags
    assert [None if lag is None else (lag.bytes, lag.seconds) for lag in lags] == [None, (400, 2.0), (0, 0.0)]


def test_a_quiet_writer_makes_nobody_late() -> None:
    """The last commit is an hour old, and the replica has it: by PostgreSQL's own clock it would seem an hour behind."""
    assert view(primary(), replica(replayed_s=3_600.0)).lags[1].seconds == 0.0  # type: ignore[union-attr]


def test_before_we_looked_the_replicas_own_clock_counts() -> None:
    assert readers(primary(), replica(10, replayed_s=0.5)) == [1]
    assert readers(primary(), replica(10, replayed_s=30.0)) == []
    assert readers(primary(), replica(10)) == []


def test_a_reader_left_out_comes_back_by_itself_but_does_not_flap() -> None:
    behind = (primary(1_000), replica(600))
    at_limit = past((600, 8.5), (1_000, 10.0))
    assert readers(*behind, history=at_limit, limit_s=2.0, serving=(1,)) == [1]
    assert readers(*behind, history=at_limit, limit_s=2.0) == []
    assert readers(*behind, history=at_limit, limit_s=1.0, serving=(1,)) == []
    nearly = past((600, 9.5), (1_000, 10.0))
    assert readers(*behind, history=nearly, limit_s=2.0) == [1]


def test_while_nobody_writes_nobody_falls_behind() -> None:
    assert readers(None, replica(1_000, at=500.0)) == [1]
    assert readers(None, replica(500, at=500.0), history=WROTE, limit_s=5.0) == [1]


def test_the_least_lagging_come_first_and_those_as_good_share_the_reads() -> None:
    history = past((600, 8.5), (900, 9.8), (1_000, 10.0))
    assert readers(primary(), replica(900), replica(1_000), history=history) == [2, 1]
    assert readers(primary(), replica(600), replica(1_000), history=history, serving=(1, 2)) == [2]


def test_a_replica_that_is_ahead_of_the_writer_followed_somebody_else() -> None:
    assert readers(primary(1_000, at=11.0), replica(1_200, at=10.0)) == []
    assert readers(primary(1_000, at=10.0), replica(1_200, at=11.0)) == [1]


def test_where_a_node_cannot_tell_its_position_it_serves_reads_that_need_none() -> None:
    """As on a managed service without PostgreSQL's own functions."""
    assert readers(primary(None), replica(None), history=History()) == [1]
    assert readers(primary(None), replica(None), history=History(), after=5) == []
    assert readers(primary(1_000), replica(900, lag_s=0.02)) == [1]
    assert readers(primary(1_000), replica(900, lag_s=9.0)) == []


def test_those_of_unknown_lag_come_last() -> None:
    assert readers(primary(1_000), replica(None), replica(1_000)) == [2]


def test_a_view_is_a_value() -> None:
    assert msgspec.structs.replace(view(primary()), writer=None) == View(None, (), (None,))


def without_writer(*seen: Seen | None, after: int) -> list[int]:
    return eligible_without_writer(view(*seen), seen, Position(after))


def test_what_only_the_lost_writer_had_is_waited_for_by_nobody() -> None:
    left = (None, replica(1_000), replica(1_000))
    assert readers(*left, after=1_020) == []
    assert without_writer(*left, after=1_020) == without_writer(*left, after=NEWEST) == [1, 2]


def test_without_a_writer_the_furthest_that_anybody_received_has_to_be_replayed() -> None:
    assert without_writer(None, replica(1_000), replica(900, received=1_010), after=1_020) == []
    assert without_writer(None, replica(1_000), replica(900), after=1_020) == [1]


def test_a_second_node_that_is_missing_may_have_been_the_one_that_confirmed() -> None:
    assert without_writer(None, None, replica(1_000), after=1_020) == []
    assert without_writer(None, None, replica(1_000), after=1_000) == [2]


def test_as_long_as_somebody_writes_positions_count_as_they_are() -> None:
    assert without_writer(primary(1_030), replica(1_000), replica(1_000), after=1_020) == []
    assert without_writer(primary(1_030), replica(1_020), replica(1_000), after=1_020) == [1]


def receiving(timeline: int) -> Seen:
    """A replica that receives this timeline."""
    return Seen(True, 0, 500, None, None, 1.0, 1.0, 500, timeline)


@pytest.mark.parametrize(
    ("now", "already", "expected"),
    [
        (receiving(7), False, True),
        (receiving(6), False, False),  # the end of its own timeline, which is all that a thawed writer is sent
        (receiving(0), False, False),
        (None, False, False),
        (receiving(0), True, True),  # it did follow, and nothing came in between
        (None, True, False),
        (primary(500), True, False),
        (replica(500), False, True),  # a node of Aurora receives no log, and shares its storage
    ],
)
def test_who_follows_receives_the_writers_timeline(now: Seen | None, *, already: bool, expected: bool) -> None:
    assert follows(now, timeline=7, already=already) is expected


def test_before_the_writer_is_known_nobody_follows_it() -> None:
    assert not follows(receiving(0), timeline=0, already=False)


def test_an_old_writer_that_has_other_log_reads_nothing_however_far_it_is() -> None:
    history = past((860, 1.0), (900, 1.1))
    seen = [primary(900, timeline=2), replica(880), replica(870)]
    assert choose(seen, 0, history, limit_s=2.0, following=[False, True, False]).readers == (1,)
    assert choose(seen, None, history, limit_s=2.0, following=[False, True, False]).readers == (1, 2), "with no writer all serve"
