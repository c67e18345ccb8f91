"""How far a long work is, told while it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from securecart.cli.screen import err, say

__all__ = ["told"]

TELL_EVERY_S = 5.0


@contextmanager
def told() -> Iterator[Callable[[str], None]]:
    """Say how far a long work is: a line that changes on a terminal, elsewhere one for each new thing and every few seconds."""
    doing, told_at = "", 0.0
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("Looking at the archive")

        def tell(sentence: str) -> None:
            nonlocal doing, told_at
            bar.update(task, description=sentence)
            now, what = time.monotonic(), sentence.partition(":")[0]
            if not err.is_terminal and (what != doing or now - told_at >= TELL_EVERY_S):
                doing, told_at = what, now
                say(sentence)

        yield tell
