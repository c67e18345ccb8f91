"""What the archive's objects mean together: the moments that can be reached, from which base, and what may go."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from securecart.errors import ArchiveLocked, RecoveryRefused
from securecart.ops.recovery.holdings import base_for, surplus, survey, understood, whole_bases
from securecart.ops.recovery.model import SEGMENT_BYTES, Base, Beat, Fork, Gap, Holdings, Moment, Piece, Window
from securecart.ops.recovery.schedule import due
from securecart.ops.recovery.segments import Segment
from securecart.ops.recovery.sites import site_of
from securecart.settings import Settings
from securecart.stores.archive import key_pair, open_archive

BEGAN = datetime(2026, 11, 30, 12, tzinfo=UTC)
STEP = SEGMENT_BYTES // 8  # of log, a second; the tests' clock goes in whole seconds
IN_A_SEGMENT = SEGMENT_BYTES // STEP


def at(second: float) -> datetime:
    return BEGAN + timedelta(seconds=second)


class Story:
    """A database that lives through things; `log` are the (timeline, step) that were archived, and `was` where it was when."""

    def __init__(self) -> None:
        self.second = 0
        self.place = IN_A_SEGMENT
        self.timeline = 1
        self.log: set[tuple[int, int]] = set()
        self.parents: dict[int, tuple[int, int]] = {}
        self.forks: list[Fork] = []
        self.gaps: list[Gap] = []
        self.bases: list[Base] = []
        self.was: list[tuple[int, int, int]] = []
        self.beat: Beat | None = None

    def tell(self, steps: list[tuple[str, int]]) -> Story:
        for what, number in steps:
            getattr(self, f"_{what}")(number)
        self._run(1)
        return self

    def holdings(self) -> Holdings:
        return understood(self.bases, list(self.pieces()), self.forks, self.gaps, self.beat)

    def pieces(self) -> list[Piece]:
        """A whole segment as one object, the rest of the log in steps."""
        found = []
        for timeline, number in sorted({(timeline, place // IN_A_SEGMENT) for timeline, place in self.log}):
            segment = Segment(number, timeline)
            steps = [step for step in range(IN_A_SEGMENT) if (timeline, number * IN_A_SEGMENT + step) in self.log]
            if len(steps) == IN_A_SEGMENT:
                found.append(Piece(segment.whole, timeline, segment.start, segment.end, 1))
                continue
            for step in steps:
                name = segment.piece(step * STEP, (step + 1) * STEP)
                found.append(Piece(name, timeline, segment.start + step * STEP, segment.start + (step + 1) * STEP, 1))
        return found

    def reaches(self, base: Base, timeline: int, place: int) -> bool:
        """The truth, step by step: whether the base's chain and its log lead to this place of this timeline."""
        labels = {one.label: one for one in self.bases}
        chain = [base]
        while chain[-1].kind == "incremental":
            if chain[-1].parent not in labels:
                return False
            chain.append(labels[chain[-1].parent])
        if not all(self._leads_to(one.timeline, one.stop_lsn // STEP, timeline) for one in chain):
            return False
        begin = base.start_lsn // STEP // IN_A_SEGMENT * IN_A_SEGMENT
        return base.stop_lsn // STEP <= place and all(self._archived(step, timeline) for step in range(begin, place))

    def _archived(self, step: int, timeline: int) -> bool:
        if (timeline, step) in self.log:
            return True
        parent, fork = self.parents.get(timeline, (0, 0))
        return parent > 0 and step < fork and self._archived(step, parent)

    def _leads_to(self, timeline: int, place: int, end: int) -> bool:
        while end != timeline:
            if end not in self.parents:
                return False
            end, fork = self.parents[end]
            if end == timeline and place > fork:
                return False
        return True

    def _run(self, seconds: int, *, lost: bool = False) -> None:
        for _ in range(seconds):
            self.was.append((self.second, self.timeline, self.place))
            if not lost:
                self.log.add((self.timeline, self.place))
            self.second += 1
            self.place += 1
        if not lost:
            self.beat = Beat(at(self.second), self.timeline, self.place * STEP)
            self.was.append((self.second, self.timeline, self.place))

    def _lose(self, seconds: int) -> None:
        """The archiver was away for so long that the server let go of log; it begins anew at a whole segment."""
        after, start = at(self.second), self.place
        self._run(seconds, lost=True)
        self._run(-self.place % IN_A_SEGMENT, lost=True)
        self.gaps.append(Gap(self.timeline, start * STEP, self.place * STEP, after, at(self.second)))

    def _base(self, kind: int) -> None:
        full = kind == 0 or not self.bases
        start, began = self.place, self.second
        self._run(2)
        self.bases.append(
            Base(
                label=f"{began}-{'full' if full else 'incr'}",
                kind="full" if full else "incremental",
                parent="" if full else self.bases[-1].label,
                timeline=self.timeline,
                start_lsn=start * STEP,
                stop_lsn=self.place * STEP,
                started_at=at(began),
                ended_at=at(self.second),
                database_bytes=1,
                archive_bytes=1,
                source="writer",
                next_xid=began,
            )
        )

    def _fail_over(self, _: int) -> None:
        self._begin_timeline(self.timeline, self.place, None)

    def _go_back(self, seconds: int) -> None:
        """A person goes back to a moment of the branch that is live; the shop stands still meanwhile."""
        then = max(0, self.second - seconds)
        mine = [one for one in self.was if one[0] <= then and self._leads_to(one[1], one[2], self.timeline)]
        _, timeline, place = max(mine, default=(0, 1, IN_A_SEGMENT))
        self.second += 3
        self._begin_timeline(timeline, place, at(self.second))

    def _begin_timeline(self, parent: int, place: int, resumed_at: datetime | None) -> None:
        new = max([self.timeline, *self.parents]) + 1
        self.parents[new] = (parent, place)
        self.forks.append(Fork(new, parent, place * STEP, resumed_at))
        for step in range(place // IN_A_SEGMENT * IN_A_SEGMENT, place):
            if self._archived(step, parent):
                self.log.add((new, step))
        self.timeline, self.place = new, place
        self._run(1)

    def _forget(self, number: int) -> None:
        """Somebody removes a base by hand."""
        if self.bases:
            self.bases.pop(number % len(self.bases))


STEPS = st.one_of(
    st.tuples(st.just("run"), st.integers(1, 30)),
    st.tuples(st.just("base"), st.integers(0, 2)),
    st.tuples(st.just("base"), st.integers(0, 2)),
    st.tuples(st.just("lose"), st.integers(1, 20)),
    st.tuples(st.just("fail_over"), st.just(0)),
    st.tuples(st.just("go_back"), st.integers(0, 40)),
    st.tuples(st.just("forget"), st.integers(0, 9)),
)
STORIES = st.lists(STEPS, min_size=1, max_size=16).map(lambda steps: Story().tell(steps))


def lives(story: Story) -> dict[int, tuple[int, int]]:
    """Where the database was at each second that it ran, on the branch that was live then."""
    return {second: (timeline, place) for second, timeline, place in story.was}


@settings(max_examples=120, deadline=None)
@example(Story().tell([("base", 0), ("run", 30), ("go_back", 20), ("lose", 5), ("run", 9)]))  # the branch left has that log
@given(STORIES)
def test_a_moment_is_reached_exactly_when_a_base_and_its_log_lead_there(story: Story) -> None:
    holdings = story.holdings()
    for second, (timeline, place) in lives(story).items():
        bases = [base for base in story.bases if base.ended_at <= at(second) and story.reaches(base, timeline, place)]
        inside = any(window.since <= at(second) <= window.until for window in holdings.windows)
        assert inside == bool(bases), (second, holdings.windows)
        if bases:
            assert base_for(holdings, Moment(at=at(second))) == max(bases, key=lambda base: base.ended_at)
        else:
            with pytest.raises(RecoveryRefused):
                base_for(holdings, Moment(at=at(second)))


@settings(max_examples=80, deadline=None)
@example(Story().tell([("base", 0), ("run", 30), ("base", 0), ("run", 30), ("base", 0), ("run", 30)]), 50, 1)
@given(STORIES, st.integers(0, 150), st.integers(1, 3))
def test_what_goes_is_needed_for_nothing(story: Story, seconds: int, fulls: int) -> None:
    holdings, days = story.holdings(), seconds / 86_400
    gone = set(surplus(holdings, at(story.second), days=days, fulls=fulls))
    stay = [base for base in holdings.bases if f"base/{base.label}/about" not in gone]
    pieces = [piece for piece in holdings.pieces if piece.name not in gone]
    after = understood(stay, pieces, holdings.forks, holdings.gaps, holdings.beat)

    for second in range(max(0, story.second - seconds), story.second + 1):
        for moment in (at(second), at(second + 0.5)):
            before = any(window.since <= moment <= window.until for window in holdings.windows)
            assert not before or any(window.since <= moment <= window.until for window in after.windows)
    for base in stay:  # a chain stays whole
        assert base.kind == "full" or any(one.label == base.parent for one in stay) or base.label not in whole_bases(holdings)
    usable = [base for base in holdings.bases if base.kind == "full" and base.label in whole_bases(holdings)]
    assert {base.label for base in usable[-fulls:]} <= {base.label for base in stay}
    assert surplus(after, at(story.second), days=days, fulls=fulls) == []


def test_old_backups_go_with_their_log_and_the_newest_stay() -> None:
    story = Story().tell([("base", 0), ("run", 30), ("base", 1), ("run", 30), ("base", 0), ("run", 30), ("base", 0), ("run", 10)])
    gone = surplus(story.holdings(), at(story.second), days=0.0001, fulls=2)
    labels = [base.label for base in story.bases]
    assert gone[:6] == [f"base/{label}/{part}" for label in labels[:2] for part in ("about", "manifest", "data")]
    left = [piece for piece in story.holdings().pieces if piece.name not in gone]
    assert min(piece.start for piece in left) == story.bases[2].start_lsn // SEGMENT_BYTES * SEGMENT_BYTES
    assert surplus(story.holdings(), at(story.second), days=1, fulls=1) == []


def test_nothing_goes_while_no_backup_is_whole() -> None:
    story = Story().tell([("base", 0), ("run", 50)])
    story.log = {(timeline, step) for timeline, step in story.log if step > IN_A_SEGMENT}
    assert story.holdings().windows == ()
    assert surplus(story.holdings(), at(story.second), days=0, fulls=1) == []


def test_the_window_ends_where_log_is_missing_and_begins_anew_with_the_next_base() -> None:
    story = Story().tell([("base", 0), ("run", 20), ("lose", 5), ("run", 9), ("base", 0), ("run", 4)])
    holdings = story.holdings()
    second = story.bases[1].ended_at
    assert holdings.windows == (Window(at(2), at(22)), Window(second, at(story.second)))
    assert holdings.gaps == (Gap(1, (22 + 8) * STEP, 40 * STEP, at(22), second),)
    with pytest.raises(RecoveryRefused) as refused:
        base_for(holdings, Moment(at=at(25)))
    assert str(refused.value) == (
        "2026-11-30 12:00:25.000 UTC cannot be recovered: the database can be recovered from 2026-11-30 12:00:02.000 UTC until "
        f"2026-11-30 12:00:22.000 UTC, and from {Moment(at=second).in_words} until {Moment(at=at(story.second)).in_words}; "
        "between these log is missing in the archive (`securecart backup list` shows the gaps)."
    )
    with pytest.raises(RecoveryRefused, match=r"UTC\.$"):
        base_for(holdings, Moment(at=at(1)))


def test_a_hole_that_nobody_noted_is_found() -> None:
    story = Story().tell([("base", 0), ("run", 60), ("base", 0), ("run", 60)])
    story.log -= {(1, 50)}
    holdings = story.holdings()
    assert [(gap.start, gap.end) for gap in holdings.gaps] == [(50 * STEP, 51 * STEP)]
    assert holdings.windows == (Window(story.bases[1].ended_at, at(story.second)),)  # when the hole began nobody knows
    story.log -= {(1, story.place - 1)}
    assert story.holdings().gaps[-1].end == story.place * STEP  # the beat says there was more


def test_without_a_backup_the_refusal_says_how_to_take_one() -> None:
    with pytest.raises(RecoveryRefused, match=r"there is no backup yet\. Take one with `securecart backup now`"):
        base_for(Story().tell([("run", 5)]).holdings(), Moment(at=at(3)))
    story = Story().tell([("base", 0), ("base", 1), ("forget", 0)])
    with pytest.raises(RecoveryRefused, match="no backup is whole"):
        base_for(story.holdings(), Moment(at=at(3)))


def test_a_transaction_is_looked_for_from_the_newest_base_before_it() -> None:
    story = Story().tell([("base", 0), ("run", 20), ("base", 1), ("run", 20), ("base", 1), ("run", 20)])
    holdings = story.holdings()
    for xid, base in ((0, 0), (22, 1), (40, 1), (44, 2), (10_000, 2)):
        assert base_for(holdings, Moment(xid=xid, before=True)) == story.bases[base]


def test_after_going_back_what_was_left_behind_can_still_be_reached() -> None:
    story = Story().tell([("base", 0), ("run", 30), ("base", 0), ("run", 30), ("go_back", 40), ("run", 30)])
    holdings = story.holdings()
    assert holdings.windows == (Window(at(2), at(story.second)),)
    left, resumed = story.bases[1], story.forks[0].resumed_at
    assert resumed is not None
    assert base_for(holdings, Moment(at=resumed - timedelta(seconds=4))) == left
    assert base_for(holdings, Moment(at=resumed + timedelta(seconds=4))) == story.bases[0]  # the other is on the branch left


def test_an_archive_is_read_at_one_look(tmp_path: Path) -> None:
    story = Story().tell([("base", 0), ("run", 30), ("fail_over", 0), ("run", 9), ("base", 1), ("lose", 3), ("run", 3)])
    archive = open_archive(str(tmp_path))
    for base in story.bases:
        archive.put(f"base/{base.label}/about", msgspec.json.encode(base))
        archive.put(f"base/{base.label}/data", b"files")
    for piece in story.pieces():
        archive.put(piece.name, b"log")
    archive.put("wal/00000002.history", f"1\t0/{story.forks[0].lsn:X}\tno recovery target specified\n".encode())
    archive.put("gaps/00000002-1", msgspec.json.encode(story.gaps[0]))
    archive.put("beat", msgspec.json.encode(story.beat))
    archive.put("tables/carts/1", b"another's")
    archive.put("wal/00000001/notes.txt", b"somebody's")
    archive.put("base/20261129T120000Z-full/data", b"never finished")
    seen = survey(archive)
    assert msgspec.structs.replace(seen, bytes=0, strays=(), pieces=()) == msgspec.structs.replace(
        story.holdings(), bytes=0, pieces=()
    )
    assert [piece.name for piece in seen.pieces] == [piece.name for piece in story.holdings().pieces]
    assert seen.strays == ("base/20261129T120000Z-full/data",)
    assert seen.strays[0] in surplus(seen, BEGAN + timedelta(hours=1), days=9, fulls=2)
    assert surplus(seen, BEGAN - timedelta(hours=1), days=9, fulls=2) == []  # it may be in the making


def test_a_damaged_description_costs_its_base_and_is_named(tmp_path: Path) -> None:
    story = Story().tell([("base", 0), ("run", 30), ("base", 0), ("run", 9)])
    archive = open_archive(str(tmp_path))
    for base in story.bases:
        archive.put(f"base/{base.label}/about", msgspec.json.encode(base))
    archive.put("beat", b"{}")
    (tmp_path / "base" / story.bases[0].label / "about").write_bytes(b"\0")
    seen = survey(archive)
    assert [base.label for base in seen.bases] == [story.bases[1].label]
    assert [why.split(" ")[0] for why in seen.unread] == [f"base/{story.bases[0].label}/about", "beat"]
    assert seen.strays == ()
    open_archive(str(tmp_path), key_pair()[0]).put("beat", b"{}")
    with pytest.raises(ArchiveLocked):
        survey(archive)


def test_a_shop_without_an_archive_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(RecoveryRefused, match="SECURECART_ARCHIVE"):
        site_of(Settings(home=str(tmp_path), archive="off"))
    assert site_of(Settings(home=str(tmp_path))).archive.where == str(tmp_path / "archive")
    assert site_of(Settings(home=str(tmp_path), archive=str(tmp_path / "x"))).archive.where == str(tmp_path / "x")


NONE_BY_ITSELF = Settings(backup_hours=0)
HOURLY = Settings(backup_hours=1 / 60, backup_full_days=5 / 1440)  # in these stories a minute is an hour


@pytest.mark.parametrize(
    ("steps", "kind", "second", "why"),
    [
        ([("run", 5)], "full", 6, "there is no backup yet"),
        ([("base", 0), ("run", 9)], "incremental", 60, "0-full is the last, and one is taken every 0.0166667 hours"),
        ([("base", 0), ("run", 90)], "incremental", 60, "0-full is the last"),
        ([("base", 0), ("run", 60), ("base", 1), ("run", 9)], "incremental", 122, "62-incr is the last"),
        ([("base", 0), ("run", 270), ("base", 1), ("run", 9)], "full", 300, "0-full is the last full one"),
        ([("base", 0), ("run", 320)], "full", 60, "0-full is the last full one"),
        ([("base", 0), ("run", 9), ("lose", 4), ("run", 9)], "full", None, "some of the log is missing"),
        ([("run", 20), ("base", 0), ("run", 9), ("go_back", 25), ("run", 9)], "full", None, "put back to an earlier moment"),
        ([("base", 0), ("run", 20), ("go_back", 5), ("run", 9)], "incremental", 60, "0-full is the last"),
    ],
)
def test_what_is_due_and_when(steps: list[tuple[str, int]], kind: str, second: int | None, why: str) -> None:
    story = Story().tell(steps)
    now = at(story.second)
    found = due(story.holdings(), HOURLY, now)
    assert (found.kind, found.at) == (kind, now if second is None else at(second))
    assert why in found.why
    assert found.parent == (story.bases[-1].label if kind == "incremental" else "")
    assert due(story.holdings(), NONE_BY_ITSELF, now).is_now(now) is False


def test_what_is_merged_while_it_is_listed_is_no_hole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story().tell([("base", 0), ("run", 18)])
    archive = open_archive(str(tmp_path))
    pieces, (base,) = story.pieces(), story.bases
    archive.put("beat", msgspec.json.encode(story.beat))
    archive.put(f"base/{base.label}/about", msgspec.json.encode(base))
    for piece in pieces[:-2]:
        archive.put(piece.name, b"log")
    names, looks = archive.names, 0

    def merging(prefix: str = "") -> Iterator[tuple[str, int]]:
        nonlocal looks
        yield from names(prefix)
        if prefix == "wal/":
            looks += 1
            for piece in pieces[-2:]:
                archive.put(piece.name, b"log")

    monkeypatch.setattr(archive, "names", merging)
    assert survey(archive).windows == story.holdings().windows
    assert looks == 2
