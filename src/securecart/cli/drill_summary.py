"""How many runs of a drill look on a screen."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from securecart.drills import Figure

__all__ = ["summary_of"]


def summary_of(name: str, figures: Sequence[Figure]) -> Table:
    """The figures of one drill, one a row."""
    runs = figures[0].runs if figures else 0
    table = Table("Figure", title=f"{name}: {runs} runs", title_justify="left")
    for heading in ("Median", "Worst", "In all"):
        table.add_column(heading, justify="right")
    for one in figures:
        if one.median is None or one.worst is None:
            table.add_row(one.name, "", "", f"yes in {one.total:.0f} of {one.runs}")
        else:
            table.add_row(one.name, f"{one.median:g}", f"{one.worst:g}", f"{one.total:g}")
    return table
