"""The arithmetic of shipping: names, what becomes one piece, where a stream begins, which shipping is right after any crash."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecart.errors import RecoveryRefused, StoreAway
from securecart.ops.recovery.ending import _crc32c, ending_of
from securecart.ops.recovery.model import SEGMENT_BYTES, Beat, lsn_of, segment_name
from securecart.ops.recovery.nodes import Position, Slot
from securecart.ops.recovery.owning import own
from securecart.ops.recovery.receiving import PARTIAL, Place
from securecart.ops.recovery.segments import APART, Segment, history_of, segment_of, span_of, to_merge, whole_of
from securecart.ops.recovery.shipping import Shipper
from securecart.ops.recovery.starting import Begin, decide
from securecart.stores.archive import open_archive

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
HISTORY = "1\t0/5000000\tno recovery target specified\n2\t0/9000100\tno recovery target specified\n"


@given(st.integers(1, 2**32 - 1), st.integers(0, 2**48))
def test_a_place_has_one_segment_and_its_names_lead_back_to_it(timeline: int, lsn: int) -> None:
    segment = whole_of(timeline, lsn)
    assert segment.start <= lsn < segment.end
    assert segment.file == segment_name(timeline, lsn)
    assert segment_of(segment.file) == (segment, False)
    assert segment_of(segment.file + PARTIAL) == (segment, True)
    offset = lsn - segment.start
    assert span_of(segment.piece(offset, SEGMENT_BYTES)) == (offset, SEGMENT_BYTES)
    assert span_of(segment.whole) is None


@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=1500))
def test_pieces_stay_few_and_each_byte_is_shipped_a_few_times(sizes: list[int]) -> None:
    pieces: list[tuple[int, int]] = []
    merged = reached = shipped = 0
    for size in sizes:
        pieces.append((reached, reached + size))
        reached, shipped = reached + size, shipped + size
        first = to_merge(pieces, merged)
        if first is not None:
            pieces[first:] = [(pieces[first][0], reached)]
            merged, shipped = first + 1, shipped + pieces[-1][1] - pieces[-1][0]
        assert all(before[1] == after[0] for before, after in itertools.pairwise(pieces))
        assert len(pieces) <= APART + 12
    assert shipped <= reached * 12


def test_log_is_checked_with_postgresqls_own_checksum() -> None:
    assert _crc32c(b"123456789") == 0xE3069283


def test_where_nothing_was_written_nothing_ends() -> None:
    assert ending_of(bytes(SEGMENT_BYTES), 0, 0).offset == 0
    assert ending_of(bytes(SEGMENT_BYTES), 0, 1234).offset == 1234


def at(lsn: str, timeline: int = 1) -> Position:
    return Position(NOW, timeline, lsn_of(lsn))


def keeps(oldest: int, restart: str | None = None) -> Slot:
    return Slot(there=True, lost=False, restart=lsn_of(restart) if restart else None, oldest=oldest)


def test_a_stream_begins_where_the_newest_file_ends() -> None:
    beat = Beat(NOW, 1, lsn_of("0/5000100"))
    assert decide(None, None, at("0/5000200"), {}, keeps(1)) == Begin(None)
    assert decide((Segment(5, 1), True), beat, at("0/5000200"), {}, keeps(3)) == Begin(Segment(5, 1))
    assert decide((Segment(4, 1), False), beat, at("0/5000200"), {}, keeps(3)) == Begin(Segment(5, 1))
    assert decide(None, beat, at("0/7000200"), {}, keeps(3)) == Begin(Segment(5, 1))


def test_log_that_was_never_acknowledged_is_left_behind() -> None:
    history = history_of(HISTORY)
    assert history == {1: lsn_of("0/5000000"), 2: lsn_of("0/9000100")}
    beyond = decide((Segment(7, 1), True), None, at("0/A000000", 3), history, keeps(1))
    assert beyond == Begin(Segment(5, 1))
    within = decide((Segment(8, 2), True), None, at("0/A000000", 3), history, keeps(1))
    assert within == Begin(Segment(8, 2))


def test_a_server_that_lost_the_log_leaves_a_gap_between_what_was_shipped_and_what_it_has() -> None:
    beat = Beat(NOW, 1, lsn_of("0/5000100"))
    begin = decide((Segment(5, 1), True), beat, at("0/9000200"), {}, keeps(8, "0/8000028"))
    assert begin.segment == Segment(8, 1)
    assert begin.gap is not None
    assert (begin.gap.start, begin.gap.end) == (lsn_of("0/5000100"), lsn_of("0/8000000"))
    assert (begin.gap.after, begin.gap.until) == (NOW, NOW)


def test_an_archive_is_one_databases_and_is_not_begun_twice(tmp_path: Path) -> None:
    archive, note = open_archive(str(tmp_path / "archive")), tmp_path / "note"
    with pytest.raises(StoreAway):
        own(archive, None, note)
    own(archive, 7, note)
    own(archive, None, note)
    with pytest.raises(RecoveryRefused, match="another database"):
        own(archive, 8, tmp_path / "others")
    archive.remove(["database"])
    with pytest.raises(RecoveryRefused, match="disk mounted"):
        own(archive, 7, note)
    own(open_archive(str(tmp_path / "new")), 7, note)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    received = tmp_path / "receiving"
    received.mkdir()
    return received


def content_of(segment: Segment) -> bytes:
    return (segment.file.encode() * (SEGMENT_BYTES // 24 + 1))[:SEGMENT_BYTES]


def receive(folder: Path, segment: Segment, offset: int) -> Place:
    """As pg_receivewal leaves it: a file of full length, written up to here."""
    (folder / (segment.file + PARTIAL)).write_bytes(content_of(segment)[:offset] + bytes(SEGMENT_BYTES - offset))
    return Place(segment.timeline, segment.start + offset)


def finish(folder: Path, segment: Segment) -> None:
    (folder / (segment.file + PARTIAL)).unlink(missing_ok=True)
    (folder / segment.file).write_bytes(content_of(segment))


def shipped(archive_folder: Path, segment: Segment) -> bytes:
    """What the archive has of a segment, from its beginning without a hole."""
    archive = open_archive(str(archive_folder))
    whole = b""
    for name, _ in sorted(archive.names(segment.whole), key=lambda one: span_of(one[0]) or (0, 0)):
        start, end = span_of(name) or (0, SEGMENT_BYTES)
        piece = archive.read(name)
        assert len(piece) == end - start
        if start <= len(whole):
            whole += piece[len(whole) - start :]
    return whole


def test_pieces_hold_what_was_received_and_not_a_byte_more(folder: Path, tmp_path: Path) -> None:
    segment = Segment(3, 1)
    shipper = Shipper(open_archive(str(tmp_path / "archive")), folder)
    for count, offset in enumerate((100, 100, 250, 8192, 1_000_000)):
        if count == 3:  # as if it had been killed: what is there is asked of the archive
            shipper = Shipper(open_archive(str(tmp_path / "archive")), folder)
        assert shipper.ship(receive(folder, segment, offset)) == Place(1, segment.start + offset)
        assert shipped(tmp_path / "archive", segment) == content_of(segment)[:offset]
    finish(folder, segment)
    following = Segment(4, 1)
    shipper.ship(receive(folder, following, 10))
    assert [name for name, _ in open_archive(str(tmp_path / "archive")).names("wal/")] == [
        segment.whole,
        following.piece(0, 10),
    ]
    assert (folder / segment.file).exists()  # the stream would begin after it


def test_a_segment_received_to_its_last_byte_counts_as_that_far(folder: Path, tmp_path: Path) -> None:
    segment = Segment(3, 1)
    shipper = Shipper(open_archive(str(tmp_path / "archive")), folder)
    place = receive(folder, segment, SEGMENT_BYTES)
    assert shipper.ship(place) == place
    assert shipped(tmp_path / "archive", segment) == content_of(segment)
    finish(folder, segment)
    assert shipper.ship(place) == place
    assert [name for name, _ in open_archive(str(tmp_path / "archive")).names("wal/")] == [segment.whole]


def test_a_timeline_that_ended_is_shipped_up_to_its_end(folder: Path, tmp_path: Path) -> None:
    before, after = Segment(5, 1), Segment(5, 2)
    shipper = Shipper(open_archive(str(tmp_path / "archive")), folder)
    shipper.ship(receive(folder, before, 100))
    receive(folder, before, 5000)  # and beyond its end at 4096: a writer that was cut off
    (folder / "00000002.history").write_text("1\t0/5001000\tsomebody took over\n")
    shipper.ship(receive(folder, after, 6000))
    assert shipped(tmp_path / "archive", before) == content_of(before)[:4096]
    assert shipped(tmp_path / "archive", after) == content_of(after)[:6000]
    assert open_archive(str(tmp_path / "archive")).read("wal/00000002.history").startswith(b"1\t")
    assert not (folder / (before.file + PARTIAL)).exists()


def test_many_small_pieces_become_few(folder: Path, tmp_path: Path) -> None:
    segment = Segment(3, 1)
    shipper = Shipper(open_archive(str(tmp_path / "archive")), folder)
    receive(folder, segment, 200_000)
    for offset in range(100, 20_000, 100):
        shipper.ship(Place(1, segment.start + offset))
    names = [name for name, _ in open_archive(str(tmp_path / "archive")).names("wal/")]
    assert len(names) < APART + 8
    assert shipped(tmp_path / "archive", segment) == content_of(segment)[:19_900]
