"""What the long bench says of its beginning and end, from made-up orders."""

from __future__ import annotations

import io
import os
from pathlib import Path

import msgspec

from bench import harness, report, tenths
from bench.acknowledged import Acknowledged
from bench.crowd import Book
from bench.million import Options
from bench.watch import disk_mb, memory_mb

MS = 1_000_000


def a_book(took_ms: list[int], *, wanted: int | None = None) -> Book:
    book = Book(wanted or len(took_ms), io.StringIO())
    for number, took in enumerate(took_ms):
        book.write(Acknowledged(f"guest:{number}", f"SC-{number}", 100 + number), took * MS)
    return book


def test_each_order_counts_in_its_tenth_and_is_remembered() -> None:
    book = a_book([*[10] * 10, *[20] * 80, *[30] * 10])
    series = tenths.by_tenth(book, 10.0)
    assert series["tenths_p99_ms"] == [10.0, *[20.0] * 8, 30.0]
    assert len(book.ended_s) == 10
    assert tenths.last_of_first(book) == 3.0
    assert tenths.by_hour(book) == {"hours_p50_ms": [20.0], "hours_p99_ms": [30.0]}
    told = list(book.told())
    assert len(told) == 100
    assert told[7] == Acknowledged("guest:7", "SC-7", 107)


def test_a_run_that_ended_early_tells_of_the_tenths_it_began() -> None:
    book = a_book([10] * 25, wanted=100)
    assert [len(took) for took in book.by_tenth[:4]] == [10, 10, 5, 0]
    assert len(tenths.by_tenth(book, 5.0)["tenths_per_s"]) == 3
    assert tenths.last_of_first(book) == 0.0


def test_the_newest_orders_are_told_once() -> None:
    book = a_book([5] * 99 + [80])
    assert book.interval_p99_ms() == 5.0
    assert book.interval_p99_ms() == 0.0


def test_growth_is_counted_from_the_end_of_the_first_tenth() -> None:
    memory = [{"web": 50.0, "worker": 40.0}, {"web": 80.0, "worker": 45.0}, {"web": 85.5, "worker": 44.0}]
    assert tenths.growth(memory) == {"memory_web_growth_mb": 5.5, "memory_worker_growth_mb": -1.0, "memory_growth_max_mb": 5.5}
    assert tenths.growth(memory[:2])["memory_growth_max_mb"] == 30.0, "no tenth was finished"


def test_memory_is_told_by_process_and_who_has_gone_is_left_out() -> None:
    found = memory_mb({"web": [os.getpid(), os.getpid()], "worker": [2**22 + 1], "gateway": [os.getpid()]})
    assert set(found) == {"web-1", "web-2", "gateway"}
    assert found["gateway"] > 1


def test_room_on_the_disk_is_told_by_folder(tmp_path: Path) -> None:
    for name, size in (("postgres", 3 * 2**20), ("valkey", 0)):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "file").write_bytes(b"x" * size)
    assert disk_mb(tmp_path) == {"postgres": 3.0, "valkey": 0.0}


def test_a_series_is_one_row_of_the_page_and_the_command_repeats_the_run() -> None:
    options = Options(connections=64, orders=200_000)
    taken = harness.result("million", options, chosen={}, figures={}, baselines={}, ratios={}, goals=[])
    taken = msgspec.structs.replace(taken, series={"tenths_per_s": [1_000.0, 12.5]})
    assert taken.command == "securecart bench million --orders 200000 --connections 64"
    assert "| series | tenths_per_s | 1,000 12.50 |" in report.section(taken)
