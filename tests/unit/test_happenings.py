"""What pg_waldump prints is counted by transaction and table."""

from __future__ import annotations

from datetime import UTC, datetime

from securecart.ops.recovery.happenings import Changes, Counting
from securecart.ops.recovery.model import Moment
from securecart.ops.recovery.waldump import time_in

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
TABLES = {100: "orders", 200: "stock"}
HEAD = "rmgr: {kind:<11} len (rec/tot):     54/    54, tx: {xid:>10}, lsn: {lsn:X}/0603C958, prev {lsn:X}/0603C468, desc: "
NUMBERS = iter(range(1, 10**6))


def change(xid: int, what: str, file: int = 100, database: int = 5) -> str:
    head = HEAD.format(kind="Heap", xid=xid, lsn=next(NUMBERS))
    return f"{head}{what}, blkref #0: rel 1663/{database}/{file} blk 7\n"


def end(xid: int, how: str, second: float = 0, rest: str = "") -> str:
    head = HEAD.format(kind="Transaction", xid=xid, lsn=next(NUMBERS))
    return f"{head}{how} 2026-11-30 12:00:{second:09.6f} UTC{rest}\n"


def insert(xid: int, **where: int) -> str:
    return change(xid, "INSERT off: 24, flags: 0x00", **where)


def delete(xid: int, *, flags: str = "0x00", **where: int) -> str:
    return change(xid, f"DELETE xmax: {xid}, off: 46, infobits: [KEYS_UPDATED], flags: {flags}", **where)


def update(xid: int, kind: str = "UPDATE", **where: int) -> str:
    what = f"{kind} old_xmax: {xid}, old_off: 1, old_infobits: [], flags: 0x00, new_xmax: 0, new_off: 26"
    return change(xid, what, **where)


def counted(*lines: str, since: Moment | None = None, until: Moment | None = None) -> list[tuple[int, dict[str, Changes]]]:
    counting = Counting(TABLES, 5, since or Moment(at=datetime(2026, 11, 30, 11, tzinfo=UTC)), until)
    for line in lines:
        counting.take(line.encode())
    return [(one.xid, one.tables) for one in counting.happenings()]


def test_every_kind_of_change_counts_once() -> None:
    lines = [
        insert(7),
        change(7, "INSERT+INIT off: 1, flags: 0x01"),
        change(7, "MULTI_INSERT+INIT ntuples: 61, flags: 0x02"),
        update(7),
        update(7, "HOT_UPDATE"),
        update(7, "UPDATE+INIT", file=200),
        delete(7),
        change(7, "LOCK xmax: 7, off: 1, infobits: [LOCK_ONLY, EXCL_LOCK], flags: 0x00"),
        change(7, "PRUNE_ON_ACCESS snapshotConflictHorizon: 6, isCatalogRel: F, nplans: 0, redirected: [24->25]"),
        insert(7, file=300),
        insert(7, database=6),
        end(7, "COMMIT"),
    ]
    assert counted(*lines) == [(7, {"orders": Changes(inserted=63, updated=2, deleted=1), "stock": Changes(updated=1)})]
    assert counted("".join(lines)) == counted(*lines)


def test_an_insertion_that_gave_way_to_another_is_none() -> None:
    assert counted(insert(7), insert(7), delete(7, flags="0x08"), end(7, "COMMIT")) == [(7, {"orders": Changes(inserted=1)})]


def test_parts_of_a_transaction_count_for_it_unless_they_were_rolled_back() -> None:
    lines = [insert(7), insert(8), delete(9), delete(10), end(9, "ABORT", rest="; subxacts: 10"), update(11)]
    assert counted(*lines, end(7, "COMMIT", rest="; subxacts: 8 11; inval msgs: catcache 80")) == [
        (7, {"orders": Changes(inserted=2, updated=1)})
    ]


def test_what_was_rolled_back_or_prepared_or_never_ended_does_not_count() -> None:
    lines = [insert(7), end(7, "ABORT"), insert(8), insert(9), end(0, "COMMIT_PREPARED 9:"), insert(10), end(10, "COMMIT")]
    assert counted(*lines) == [(10, {"orders": Changes(inserted=1)})]


def test_a_table_whose_file_went_was_truncated() -> None:
    rest = "; rels: base/5/100 base/6/200 base/5/999; inval msgs: relcache 100"
    assert counted(delete(7, file=200), end(7, "COMMIT", rest=rest)) == [
        (7, {"orders": Changes(truncated=True), "stock": Changes(deleted=1)})
    ]


def test_only_what_committed_between_the_moments_counts() -> None:
    lines = [line for second, xid in enumerate((7, 8, 9, 10)) for line in (insert(xid), end(xid, "COMMIT", second))]

    def numbers(since: Moment, until: Moment | None = None) -> list[int]:
        return [xid for xid, _ in counted(*lines, since=since, until=until)]

    at = [Moment(at=NOON.replace(second=second)) for second in range(4)]
    assert numbers(at[0]) == [8, 9, 10]
    assert numbers(at[0], at[2]) == [8, 9]
    assert numbers(Moment(xid=8)) == [9, 10]
    assert numbers(Moment(xid=8, before=True)) == [8, 9, 10]
    assert numbers(at[0], Moment(xid=9)) == [8, 9]
    assert numbers(at[0], Moment(xid=9, before=True)) == [8]
    assert numbers(at[0], Moment(xid=2**32 + 9, before=True)) == [8]  # the log knows the lower half of a number


def test_the_first_time_in_a_stretch_of_log() -> None:
    assert time_in((insert(7) + end(7, "ABORT", 3.25) + end(8, "COMMIT", 4)).encode()) == NOON.replace(
        second=3, microsecond=250_000
    )
    assert time_in(insert(7).encode()) is None
