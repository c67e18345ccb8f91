"""A command that stands behind the shoppers: its session is ranked last while it works, and as before afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from securecart.cli import behind

RANKS = """
import os
import os
from pathlib import Path

from securecart.cli import behind
rank = behind._rank_of_session
before = rank()
with behind.behind_shoppers():
    during = rank()
print(before, during, rank(), os.nice(0))
"""


@pytest.mark.skipif(not behind.SESSION.exists(), reason="this kernel does not rank sessions")
def test_a_session_is_ranked_last_for_as_long_as_it_takes() -> None:
    ran = subprocess.run([sys.executable, "-c", RANKS], capture_output=True, check=True, text=True, start_new_session=True)
    assert ran.stdout.split() == ["0", "10", "0", "10"]


def test_a_kernel_that_ranks_no_sessions_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "nice", lambda _: 0)
    monkeypatch.setattr(behind, "SESSION", Path("/proc/self/nothing"))
    with behind.behind_shoppers():
        assert behind._rank_of_session() == 0
