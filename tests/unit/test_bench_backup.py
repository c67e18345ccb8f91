"""What the bench of backups makes of what it saw: losses in seconds, the slowest that counts, goals."""

from __future__ import annotations

import msgspec
import pytest

from bench.backup import Options, Seen, judged
from bench.load import Load
from bench.survival import Heard, Loss, lost

TOLD = [Heard("a", 10.0), Heard("b", 11.5), Heard("c", 11.0)]
FIGURES = {
    "archive_of_database_and_log": 0.2,
    "preview_s": 20.0,
    "recover_cluster_until_open_s": 30.0,
    "proof_flaws": 0.0,
}


@pytest.mark.parametrize(
    ("there", "count", "seconds"), [("abc", 0, 0.0), ("ab", 1, 0.5), ("a", 2, 0.5), ("bc", 1, 1.5), ("", 3, 1.5)]
)
def test_a_loss_reaches_from_the_oldest_missing_order_to_the_newest_told_of(there: str, count: int, seconds: float) -> None:
    assert lost(TOLD, set(there)) == (count, seconds)


def load(orders: int) -> Load:
    return Load(elapsed_s=1.0, took_ns={"place": [1_000_000] * orders})


def seen(**changed: float) -> Seen:
    loads = {name: [load(100)] for name in ("commits", "commits_waited_for", "alone")}
    deaths = [Loss(50, 0, 0.0, 2.0), Loss(60, 3, changed.pop("lost_s", 0.4), 4.0)]
    waited_for = [Loss(50, int(changed.pop("waited_for_lost", 0)), 0.0, 2.0)]
    beside = [load(int(changed.pop("beside", 95)))]
    return Seen({**loads, "beside_backup": beside}, deaths, waited_for, {**FIGURES, **changed})


@pytest.mark.parametrize(
    ("changed", "missed"),
    [
        ({}, []),
        ({"beside": 89}, ["checkouts_beside_backup_of_alone"]),
        ({"archive_of_database_and_log": 1.6}, ["archive_of_database_and_log"]),
        ({"lost_s": 1.2}, ["lost_s_max"]),
        ({"waited_for_lost": 1}, ["waited_for_lost_orders"]),
        ({"preview_s": 61.0}, ["preview_s"]),
        ({"recover_cluster_until_open_s": 91.0}, ["recover_cluster_until_open_s"]),
        ({"proof_flaws": 1.0}, ["proof_flaws"]),
    ],
)
def test_each_goal_is_missed_by_itself(changed: dict[str, float], missed: list[str]) -> None:
    result = judged(Options(connections=16), seen(**changed))
    assert [goal.figure for goal in result.goals if not goal.met] == missed


def test_the_result_says_how_to_repeat_it_and_what_was_lost() -> None:
    result = judged(Options(connections=16, orders=300, kills=2), seen())
    assert result.command == "securecart bench backup --seconds 6 --connections 16 --rounds 2 --orders 300 --kills 2"
    assert (result.figures["deaths"], result.figures["told_before_deaths"], result.figures["lost_orders"]) == (2, 110, 3)
    assert (result.figures["lost_s_max"], result.figures["restored_s"]) == (0.4, 3.0)
    assert result.ratios["checkouts_beside_backup_of_alone"] == 0.95
    assert msgspec.json.decode(msgspec.json.encode(result), type=type(result)) == result
