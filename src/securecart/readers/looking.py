"""Tell a lasting difference from one that a reader is just about to mend, so that a selling shop can be checked too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

__all__ = ["lasting"]

T = TypeVar("T")

PAUSES_S = (0.1, 0.2, 0.4, 0.8, 1.6)


async def lasting(suspects: Sequence[T], look_again: Callable[[Sequence[T]], Awaitable[Sequence[T]]]) -> Sequence[T]:
    """Those of the suspects that `look_again` still finds wrong, asked several times within about three seconds."""
    for pause_s in PAUSES_S:
        if not suspects:
            break
        await asyncio.sleep(pause_s)
        suspects = await look_again(suspects)
    return suspects
