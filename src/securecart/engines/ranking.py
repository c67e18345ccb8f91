"""Who goes first at the processors. A kernel may rank sessions among each other; then a process is ranked only within its own."""

from __future__ import annotations

import contextlib
from pathlib import Path

__all__ = ["BEHIND", "LAST", "rank_of_session", "rank_session"]

# Ranks as of `nice`: 0 is everybody's; shoppers go before the first of these, all go before the last.
BEHIND, LAST = 10, 19
PROCESSES = Path("/proc")


def rank_session(rank: int, pid: int | None = None) -> None:
    """Rank the session of a process, or of this one; where sessions are not ranked, nothing happens."""
    with contextlib.suppress(OSError):
        _file_of(pid).write_text(str(rank), encoding="ascii")


def rank_of_session() -> int:
    """How this process's session is ranked, 0 where sessions are not."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(_file_of(None).read_text(encoding="ascii").split()[-1])
    return 0


def _file_of(pid: int | None) -> Path:
    return PROCESSES / ("self" if pid is None else str(pid)) / "autogroup"
