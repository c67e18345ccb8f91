"""`securecart recover`: look at an earlier moment, bring back what was deleted or damaged since, or go back altogether."""

from __future__ import annotations

import typer

from securecart.cli import recover_cluster, recover_rows, recover_tables

__all__ = ["app"]

app = typer.Typer(
    help="Go back: see what changed since a moment, bring back what was lost, or put everything back to it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@app.callback()
def recover() -> None:
    """Go back: see what changed since a moment, bring back what was lost, or put everything back to it."""


# the ways back, each in a file of its own
app.command("preview")(recover_rows.preview)
app.command("rows")(recover_rows.rows)
app.command("table")(recover_tables.table)
app.command("item")(recover_tables.item)
app.command("cluster")(recover_cluster.cluster)
app.command("abandon")(recover_cluster.abandon_recovery)
app.command("captures")(recover_cluster.captures)
