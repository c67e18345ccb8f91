"""What a command does beside a shop that sells, it does behind the shoppers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from securecart.engines.ranking import BEHIND, rank_of_session, rank_session

__all__ = ["behind_shoppers"]


@contextlib.contextmanager
def behind_shoppers() -> Iterator[None]:
    """Rank this process behind the shoppers, and its session too for as long as it takes."""
    os.nice(BEHIND)
    before = rank_of_session()
    rank_session(BEHIND)
    try:
        yield
    finally:
        rank_session(before)
