"""A command that stands behind the shoppers: its session is ranked behind while it works, and as before afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from securecart.cli.behind import behind_shoppers
from securecart.engines import ranking

RANKS = """
import os
from securecart.cli.behind import behind_shoppers
from securecart.engines.ranking import rank_of_session

before = rank_of_session()
with behind_shoppers():
    during = rank_of_session()
print(before, during, rank_of_session(), os.nice(0))
"""


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this kernel does not rank sessions")
def test_a_session_is_ranked_behind_for_as_long_as_it_takes() -> None:
    ran = subprocess.run([sys.executable, "-c", RANKS], capture_output=True, check=True, text=True, start_new_session=True)
    assert ran.stdout.split() == ["0", "10", "0", "10"]


def test_a_kernel_that_ranks_no_sessions_is_no_trouble(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "nice", lambda _: 0)
    monkeypatch.setattr(ranking, "PROCESSES", tmp_path)
    with behind_shoppers():
        assert ranking.rank_of_session() == 0
    assert list(tmp_path.iterdir()) == []
