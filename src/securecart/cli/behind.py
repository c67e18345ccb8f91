"""What a command does beside a shop that sells, it does behind the shoppers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["behind_shoppers"]

BEHIND = 10
# Where the kernel shares out the processor by sessions first, a process is ranked only among those of its own session.
SESSION = Path("/proc/self/autogroup")


@contextlib.contextmanager
def behind_shoppers() -> Iterator[None]:
    """Rank this process last, and its session too for as long as it takes."""
    os.nice(BEHIND)
    before = _rank_of_session()
    _rank_session(BEHIND)
    try:
        yield
    finally:
        _rank_session(before)


def _rank_of_session() -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(SESSION.read_text(encoding="ascii").split()[-1])
    return 0


def _rank_session(rank: int) -> None:
    with contextlib.suppress(OSError):
        SESSION.write_text(str(rank), encoding="ascii")
