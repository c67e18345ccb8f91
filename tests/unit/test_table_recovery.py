"""A table as it was, without engines: random writes, a scan in the middle of them, any moment after it, against a model."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from securecart.app import _streams as streams_wanted
from securecart.errors import ArchiveDamaged
from securecart.ops.recovery.model import Window
from securecart.ops.recovery.sites import site_of
from securecart.ops.table_recovery import holdings
from securecart.ops.table_recovery.fold import as_it_was, one_as_it_was
from securecart.ops.table_recovery.model import (
    Beat,
    Change,
    End,
    Entry,
    Era,
    Holdings,
    Kept,
    Piece,
    PieceHead,
    Snapshot,
    chain,
    folder_of,
    gaps,
    is_covered,
    piece_name,
    piece_of,
    route_to,
    surplus,
    windows,
)
from securecart.settings import Settings
from securecart.stores.archive import open_archive
from securecart.stores.dynamodb.stream import Place

KEYS = [json.dumps({"k": {"S": name}}) for name in "abcde"]
START = datetime(2026, 11, 30, 12, tzinfo=UTC)
PLACE = Place("arn", "shard", "7")


class Story:
    """Writes at their times, a scan that reads one key after another meanwhile, and a journal cut into pieces by chance."""

    def __init__(self, writes: list[tuple[int, int, bool]], scan: list[tuple[int, int]], cuts: set[int]) -> None:
        at = 0
        self.changes: list[Change] = []
        for number, (later, key, is_removal) in enumerate(writes):
            at += later  # several may be made in the same microsecond
            written = json.dumps(None if is_removal else {"v": {"N": str(number)}}).encode()
            self.changes.append(Change(at, KEYS[key], msgspec.Raw(written)))
        self.scan_began = scan[0][0]
        self.scan_ended = max(moment for moment, _ in scan)
        self.snapshot = [
            Entry(key, image)
            for moment, key in ((moment, KEYS[key]) for moment, key in scan)
            if (image := self.state(moment).get(key)) is not None
        ]
        # The journal's pieces, of which the scan takes note when it begins; older ones may be read too.
        self.pieces: list[list[Change]] = [[]]
        for number, change in enumerate(self.changes):
            if number in cuts:
                self.pieces.append([])
            self.pieces[-1].append(change)

    def state(self, moment: int) -> dict[str, msgspec.Raw]:
        """The model: everything written up to this moment, in order."""
        held: dict[str, msgspec.Raw] = {}
        for change in self.changes:
            if change.time_us <= moment:
                held.pop(change.key, None)
                if not change.removes:
                    held[change.key] = change.image
        return held

    def recovered(self, moment: int, *, older_pieces: int) -> dict[str, msgspec.Raw]:
        first = next((n for n, piece in enumerate(self.pieces) if any(one.time_us > self.scan_began for one in piece)), None)
        pieces = [] if first is None else self.pieces[max(0, first - older_pieces) :]
        backwards = [change for piece in reversed(pieces) for change in reversed(piece)]
        found = list(as_it_was(self.snapshot, backwards, moment))
        assert len({entry.key for entry in found}) == len(found)
        for key in KEYS:
            one = one_as_it_was(key, self.snapshot, backwards, moment)
            assert one == next((entry for entry in found if entry.key == key), None)
        return {entry.key: entry.image for entry in found}


@st.composite
def stories(draw: st.DrawFn) -> tuple[Story, int, int]:
    writes = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.booleans()), max_size=40))
    end = sum(later for later, _, _ in writes) + 2
    began = draw(st.integers(0, end))
    keys = draw(st.permutations(range(5)))
    moments = sorted(draw(st.lists(st.integers(began, end), min_size=5, max_size=5)))
    moments[0] = began
    cuts = draw(st.sets(st.integers(0, 40)))
    story = Story(writes, list(zip(moments, keys, strict=True)), cuts)
    return story, draw(st.integers(story.scan_ended, end + 2)), draw(st.integers(0, 2))


@given(stories())
@settings(max_examples=400, deadline=None)
def test_a_scan_made_while_writes_go_on_and_the_journal_make_any_later_moment(told: tuple[Story, int, int]) -> None:
    story, moment, older_pieces = told
    recovered = {key: bytes(image) for key, image in story.recovered(moment, older_pieces=older_pieces).items()}
    assert recovered == {key: bytes(image) for key, image in story.state(moment).items()}


def piece(first: int, last: int, *, at: int = 0) -> Piece:
    since = START + timedelta(seconds=at or first)
    return Piece(f"tables/t/e/journal/{first}-{last}", first, last, since, since + timedelta(seconds=last - first), 10)


def snapshot(first: int, seconds: float) -> Snapshot:
    ended = START + timedelta(seconds=seconds)
    return Snapshot(f"{seconds}", first, ended - timedelta(seconds=0.5), ended, 1, 1, 10, {})


def held(*eras: Era) -> Holdings:
    return Holdings("tables/t", eras, 0)


def moment(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def test_a_chain_takes_what_was_merged_for_its_parts_and_ends_at_a_hole() -> None:
    parts = [piece(number, number) for number in (1, 2, 3, 4, 5, 7, 8)]
    assert [(one.first, one.last) for one in chain([*parts, piece(1, 3)], 1)] == [(1, 3), (4, 4), (5, 5)]
    assert [(one.first, one.last) for one in chain([*parts, piece(1, 3)], 2)] == [(1, 3), (4, 4), (5, 5)]
    assert [(one.first, one.last) for one in chain(parts, 7)] == [(7, 7), (8, 8)]
    assert chain(parts, 6) == []


def test_a_moment_is_reached_from_the_newest_snapshot_before_it() -> None:
    pieces = tuple(piece(number, number) for number in range(1, 11))
    era = Era("e", pieces, (snapshot(2, 2.5), snapshot(6, 6.5)), through=moment(12), last=10)
    assert windows(held(era)) == [Window(moment(2.5), moment(12))]
    early = route_to(held(era), moment(5))
    assert early is not None
    assert (early.snapshot.first, [one.first for one in early.pieces]) == (2, [2, 3, 4, 5])
    late = route_to(held(era), moment(11.5))
    assert late is not None
    assert (late.snapshot.first, [one.first for one in late.pieces]) == (6, [6, 7, 8, 9, 10])
    assert [route_to(held(era), moment(at)) for at in (2.4, 12.1)] == [None, None]


def test_what_the_beat_promises_counts_only_when_its_pieces_are_there() -> None:
    era = Era("e", (piece(2, 2),), (snapshot(2, 2.5),), through=moment(60), last=3)
    assert windows(held(era)) == []  # piece 3 is missing, so nothing after piece 2 is known: not even the snapshot's end
    whole = replace(era, pieces=(piece(2, 2), piece(3, 3)))
    assert windows(held(whole)) == [Window(moment(2.5), moment(60))]


def test_a_hole_ends_what_can_be_reached_until_the_next_snapshot() -> None:
    pieces = (piece(1, 1), piece(2, 4), piece(6, 6), piece(7, 7))
    era = Era("e", pieces, (snapshot(1, 1.5), snapshot(7, 7.5)), through=moment(9), last=7)
    assert windows(held(era)) == [Window(moment(1.5), moment(4)), Window(moment(7.5), moment(9))]
    assert not is_covered(held(era), moment(6))
    assert gaps(held(era)) == [(Window(moment(4), moment(7.5)), "the journal was not kept")]


def test_a_broken_journal_leaves_a_gap_with_its_reason() -> None:
    before = Era("1", (piece(1, 1),), (snapshot(1, 1.5),), end=End(moment(3), 1, "the stream was lost"))
    after = Era("2", (piece(1, 1, at=9),), (snapshot(1, 10),), through=moment(12), last=1)
    assert windows(held(before, after)) == [Window(moment(1.5), moment(3)), Window(moment(10), moment(12))]
    assert gaps(held(before, after)) == [(Window(moment(3), moment(10)), "the stream was lost")]


def test_a_scan_without_a_journal_is_one_second() -> None:
    era = Era("e", (), (snapshot(0, 5), snapshot(0, 50)))
    assert windows(held(era)) == [Window(moment(5), moment(6)), Window(moment(50), moment(51))]


def test_what_is_too_old_goes_and_what_a_kept_moment_needs_stays() -> None:
    day = 86_400.0
    pieces = tuple(piece(number, number, at=int(number * day)) for number in range(1, 11))
    snapshots = tuple(snapshot(number, number * day - 10) for number in (1, 3, 5, 7, 9))
    era = Era("e", pieces, snapshots, parts=tuple(f"x/snapshots/{one.label}/about" for one in snapshots))
    gone = surplus(held(era), moment(10 * day), 4.0)
    assert [name for name in gone if "journal" in name] == [f"tables/t/e/journal/{number}-{number}" for number in (1, 2, 3, 4)]
    assert [name for name in gone if "about" in name] == [f"x/snapshots/{one.label}/about" for one in snapshots[:2]]
    left = replace(era, pieces=pieces[4:], snapshots=snapshots[2:])
    assert all(is_covered(held(left), moment(at * day)) for at in (6, 7.5, 9))  # from four days back on
    assert surplus(held(era), moment(1000 * day), 4.0) != []
    last = Era("e", (), snapshots[-1:], parts=("x/snapshots/last/about",), end=End(moment(9 * day), 9, "why"))
    assert surplus(held(last), moment(1000 * day), 4.0) == []  # however old: it is all there is


def test_a_closed_era_goes_altogether_and_leftovers_of_a_merge_too() -> None:
    old = Era("1", (piece(1, 1),), (snapshot(1, 1.5),), parts=("p",), end=End(moment(3), 1, "lost"))
    now = Era("2", (piece(1, 3), piece(2, 2), piece(4, 4)), (snapshot(1, 9.0),), through=moment(80_000), last=4)
    gone = surplus(held(old, now), moment(86_400 * 3), 2.0)
    assert gone == ["tables/t/e/journal/1-1", "p", "tables/t/1/end", "tables/t/e/journal/2-2"]


def test_names_tell_what_is_in_a_piece() -> None:
    name = piece_name(7, 9, 1_796_040_000_123_456, 1_796_040_002_000_999)
    found = piece_of(f"tables/t/e/journal/{name}", 5)
    assert found == Piece(f"tables/t/e/journal/{name}", 7, 9, START.replace(microsecond=123_000), START + timedelta(seconds=2), 5)
    assert piece_of("tables/t/e/journal/else", 5) is None
    assert [folder_of("carts", region) for region in ("", "a", "b")] == ["tables/carts", "tables/carts", "tables/carts@b"]


def test_the_archive_is_read_backwards_also_while_its_pieces_are_merged(tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path / "archive"))
    pieces = []
    for number in range(1, 8):
        changes = [Change(number * 10 + n, KEYS[n], msgspec.Raw(b"{}")) for n in range(2)]
        content = holdings.written_piece(PieceHead(Place("arn", "s", f"{number}")), [msgspec.json.encode(one) for one in changes])
        name = f"tables/t/e/journal/{piece_name(number, number, number * 10, number * 10 + 1)}"
        found = piece_of(name, archive.put(name, content))
        assert found is not None
        pieces.append(found)
    told = holdings.changes_backwards(archive, pieces)
    times = [next(told).time_us for _ in range(2)]
    name = f"tables/t/e/journal/{piece_name(1, 6, 10, 61)}"
    archive.put(name, holdings.merged(archive, pieces[:6]))
    archive.remove([one.name for one in pieces[:6]])
    times += [change.time_us for change in told]
    assert times == [n * 10 + m for n in range(7, 0, -1) for m in (1, 0)]
    merged = piece_of(name, 1)
    assert merged is not None
    assert holdings.head_of(archive, merged) == PieceHead(Place("arn", "s", "6"))
    assert [change.time_us for change in holdings.changes_backwards(archive, [merged, pieces[6]])] == times


def test_what_the_archive_holds_is_found_by_one_look(tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path / "archive"))
    folder = "tables/t"
    assert holdings.survey(archive, folder) == Holdings(folder, (), 0)
    taken = snapshot(1, 2)
    about = holdings.part_name(folder, "20261130T120000.000", taken.label)
    part = holdings.part_name(folder, "20261130T120000.000", taken.label, 1)
    archive.put(part, msgspec.json.encode(Entry(KEYS[0], msgspec.Raw(b'{"k":{"S":"a"}}'))))
    archive.put("tables/t2/e/journal/other", b"")
    assert [era.unfinished for era in holdings.survey(archive, folder).eras] == [(part,)]
    archive.put(about, msgspec.json.encode(taken))
    beat = Beat(moment(9), {folder: Kept("20261130T120000.000", 1, PLACE, moment(8))})
    archive.put("tables/beat", msgspec.json.encode(beat))
    found = holdings.survey(archive, folder)
    assert [(era.snapshots, era.parts, era.through) for era in found.eras] == [((taken,), (part, about), moment(8))]
    assert windows(found) == [Window(moment(2), moment(8))]
    assert holdings.folders(archive) == [folder, "tables/t2"]
    assert [entry.key for entry in holdings.entries(archive, folder, "20261130T120000.000", taken)] == [KEYS[0]]
    with pytest.raises(ArchiveDamaged, match="1 items and should have 2"):
        list(holdings.entries(archive, folder, "20261130T120000.000", replace(taken, items=2)))


LOCAL = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("told", "given", "streams"),
    [
        ({"dynamodb_url": LOCAL}, {}, True),
        ({"dynamodb_url": LOCAL, "table_journal": False}, {}, False),  # those that are there are turned off: they cost
        ({"dynamodb_url": LOCAL, "archive": "off"}, {}, False),
        ({"dynamodb_url": LOCAL, "table_journal": False, "profile": "regions"}, {}, None),  # the replicator has them
        ({"dynamodb_url": LOCAL, "table_journal": False}, {"SECURECART_DYNAMODB_URL": LOCAL}, None),  # others may read there
        ({"dynamodb_url": LOCAL}, {"SECURECART_DYNAMODB_URL": LOCAL}, True),
        ({}, {}, None),  # on AWS
    ],
)
def test_tables_tell_their_changes_where_somebody_keeps_them(
    told: dict[str, Any], given: dict[str, str], streams: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SECURECART_DYNAMODB_URL", raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert streams_wanted(Settings(**told)) is streams


def test_every_region_of_a_shop_has_its_tables_in_the_same_archive(tmp_path: Path) -> None:
    shop = Settings(home=str(tmp_path))
    second = Settings(home=str(tmp_path / "region-b"), region="b")
    assert site_of(shop).archive.where == site_of(second).archive.where == str(tmp_path / "archive")
