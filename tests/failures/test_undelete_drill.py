"""The undelete drill itself, small: both mishaps on a shop of its own, and what it says where it cannot be held."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands import processes_below, securecart

PROMISES = ("lost", "doubled", "oversold")
# far above the goals: the tests share a machine with others, and a drill that is slow has still brought everything back
PATIENCE_S = 90.0


def test_both_mishaps_are_undone_row_by_row_while_shoppers_buy(tmp_path: Path) -> None:
    drill = ("drill", "undelete", "--orders=30", "--calm=2", "--shoppers=4", "--seed=7", "--json")
    done = securecart(*drill, TMPDIR=str(tmp_path))
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout, done.stderr
    verdict = json.loads(done.stdout)
    assert {name: verdict[name] for name in PROMISES} == dict.fromkeys(PROMISES, 0), verdict["report"]
    assert verdict["kept"], (verdict["forms"], verdict["report"])
    assert done.returncode == (0 if verdict["met"] else 1), done.stderr
    assert verdict["projections_equal"] is True
    orders, prices = verdict["forms"]
    assert (orders["form"], prices["form"]) == ("orders", "prices")
    assert orders["rows_recovered"] == orders["rows_lost"] >= 30 * 5
    assert prices["rows_recovered"] == prices["rows_lost"] > 250
    assert prices["on_purpose_kept"] == prices["on_purpose"] > 0
    for one in (orders, prices):
        assert (one["rows_wrongly_touched"], one["misshown"], one["sold_at_zero_after"]) == (0, 0, 0)
        assert 0 < one["seconds_of_command"] <= one["seconds_to_whole"] < PATIENCE_S
        assert one["checkouts_during"] > 0
        assert one["command"].startswith("securecart recover rows --at '2")
    assert list(tmp_path.iterdir()) == []
    assert processes_below(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--form=money"], "There is no form 'money'; choose from orders, prices, both."),
        (["--home=/nonexistent/home"], "No SecureCart runs from /nonexistent/home"),
    ],
)
def test_an_undelete_drill_that_cannot_be_held_says_why(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    done = securecart("drill", "undelete", *arguments, TMPDIR=str(tmp_path))
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
