"""A bench's figures are exact, its result has one shape, and docs/benchmarks.md says what was kept."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from bench import harness, report
from bench.harness import BenchFailed, Options, Result
from bench.load import Load
from securecart.cli import bench as commands
from securecart.errors import DataMissing, NotRunning
from securecart.web import limits


def load_of(*took_ms: int, seconds: float = 1.0, cpu_s: float = 0.0) -> Load:
    return Load(elapsed_s=seconds, took_ns={"ask": [one * 1_000_000 for one in took_ms]}, cpu_s={"web": cpu_s})


def a_result(name: str = "lookup", rate: float = 4_000.0) -> Result:
    return harness.result(
        name,
        Options(seconds=2, connections=8, rounds=3),
        chosen={"products": 10},
        figures={"requests_per_s": rate, "p99_ms": 4.25},
        baselines={"constant_requests_per_s": 8_000.0},
        ratios={"of_constant": harness.ratio(rate, 8_000.0)},
        goals=[harness.at_least("requests_per_s", rate, 5_000), harness.at_most("p99_ms", 4.25, 10)],
    )


@given(st.lists(st.integers(0, 10**9), min_size=1), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_a_percentile_is_the_smallest_value_that_enough_do_not_exceed(values: list[int], share: float) -> None:
    ordered = sorted(values)
    found = harness.percentile(ordered, share)
    assert sum(value <= found for value in ordered) >= share * len(ordered)
    assert sum(value < found for value in ordered) < share * len(ordered)


def test_latencies_are_taken_over_all_rounds_and_rates_are_the_median_round() -> None:
    rounds = [load_of(*range(1, 51)), load_of(*range(51, 101)), load_of(*range(1, 11), seconds=2.0)]
    assert harness.latency_figures(rounds[:2], "ask") == {"p50_ms": 50.0, "p95_ms": 95.0, "p99_ms": 99.0, "max_ms": 100.0}
    assert harness.median_rate(rounds, "ask") == 50.0


def test_cpu_time_is_told_by_step() -> None:
    assert harness.cpu_figures([load_of(1, 1, 1, 1, cpu_s=0.002)], "ask") == {"cpu_web_us": 500.0}


def test_a_step_that_was_never_finished_has_no_figures() -> None:
    with pytest.raises(BenchFailed, match="'pay' was never finished"):
        harness.latency_figures([load_of(1)], "pay")


def test_a_result_says_where_and_how_it_was_taken_and_survives_json() -> None:
    taken = a_result()
    assert msgspec.json.decode(msgspec.json.encode(taken), type=Result) == taken
    assert taken.machine.cores >= 1
    assert taken.machine.memory > 2**28
    assert taken.command == "securecart bench lookup --seconds 2 --connections 8 --rounds 3"
    assert [goal.met for goal in taken.goals] == [False, True]
    assert taken.ratios == {"of_constant": 0.5}


def test_a_section_is_written_between_its_markers_and_nowhere_else() -> None:
    page = "# Figures\n<!-- lookup: begin -->\nold\n<!-- lookup: end -->\nIn between.\n<!-- cart: begin --><!-- cart: end -->\n"
    written = report.page_with(page, [a_result()])
    assert "old" not in written
    assert "| figure | requests_per_s | 4,000 | at least 5,000: NOT MET |" in written
    assert written.endswith("In between.\n<!-- cart: begin --><!-- cart: end -->\n")
    assert report.page_with(written, [a_result()]) == written


def test_the_page_of_benchmarks_says_what_the_kept_results_say() -> None:
    page = report.PAGE.read_text(encoding="utf-8")
    assert report.page_with(page, report.kept()) == page, "run `securecart bench record`"


def test_the_benches_present_the_key_that_the_rate_limits_ask_for() -> None:
    assert harness.INTERNAL_KEY_HEADER == limits.INTERNAL_KEY_HEADER


def test_a_bench_says_when_no_shop_runs(tmp_path: Path) -> None:
    ended = CliRunner().invoke(commands.app, ["lookup", "--home", str(tmp_path)])
    assert isinstance(ended.exception, NotRunning)
    assert "securecart up" in str(ended.exception)


def test_an_installed_package_says_where_the_benches_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(commands, "ROOT", tmp_path)
    ended = CliRunner().invoke(commands.app, ["cart"])
    assert isinstance(ended.exception, DataMissing)
    assert "Clone the repository" in str(ended.exception)
