"""`securecart recover preview` and `rows`: what differs from an earlier moment, and what an accident took brought back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table

from securecart import settings, undo
from securecart.cli.behind import behind_shoppers
from securecart.cli.engines import HomeOption, JsonOption
from securecart.cli.progress import told
from securecart.cli.screen import out, say, show_json
from securecart.errors import NotRunning
from securecart.ops.recovery.happenings import Changes
from securecart.ops.recovery.model import Moment, Site
from securecart.ops.recovery.sites import site_of
from securecart.undo import Ask, Part, Preview, Report, Transaction

__all__ = ["preview", "rows"]

SHOWN_MAX = 20

AtOption = Annotated[
    str,
    typer.Option(
        "--at",
        metavar="MOMENT",
        help="The moment: 2026-11-30 14:05:00 (UTC), `10 minutes ago`, an order's number, or before:XID (a transaction).",
    ),
]
UntilOption = Annotated[
    str, typer.Option("--until", metavar="MOMENT", help="Undo everything between both moments, not one transaction.")
]
TablesOption = Annotated[str, typer.Option("--tables", metavar="NAMES", help="Only these tables, with commas between them.")]
WhereOption = Annotated[
    str,
    typer.Option("--where", metavar="SQL", help="Only rows of the named table that met this, such as \"email LIKE '%@x.org'\"."),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Bring them back. Without it, only say what would come back.")]


def preview(at: AtOption, tables: TablesOption = "", home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show what differs from an earlier moment, table by table, and what happened since; nothing is changed.

    The database as it was is restored aside, from the archive, and held against the live one, which sells on meanwhile. The
    transactions that deleted and changed most stand below, each with the [bold]before:XID[/bold] by which the moment right before
    it is named. An order's number stands for the moment when it was placed, even when the order itself is gone.
    """
    site = _site(home)
    with behind_shoppers(), told() as tell:
        seen = asyncio.run(_preview(site, at, _names(tables), tell))
    if as_json:
        show_json(seen)
    else:
        _show_preview(seen, at)


def rows(
    at: AtOption,
    until: UntilOption = "",
    tables: TablesOption = "",
    where: WhereOption = "",
    yes: YesOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring back what was deleted or damaged, with all that hangs on it, while the shop sells. Without --yes it only looks.

    The accident is the transaction since the moment that deleted and changed most rows (in the tables that are named). Name
    another as [bold]--at before:XID[/bold], or several at once with --until: then deleted rows come back from tables in which the
    shop itself deletes nothing, and whatever else only in tables that are named.

    What was changed again since on purpose is never overwritten: it is listed as a conflict and left. Everything is done in one
    transaction, checked row by row and against the shop's promises, or nothing is. Repeated, it finds nothing more to do.
    """
    site = _site(home)
    with behind_shoppers(), told() as tell:
        report = asyncio.run(_rows(site, (at, until, where), _names(tables), yes, tell))
    if as_json:
        show_json(report)
    else:
        _show_report(report)


def _site(home: str | None) -> Site:
    loaded = settings.load(home)
    if not loaded.postgres_owner_url:
        raise NotRunning(home=str(loaded.home_path))
    return site_of(loaded)


def _names(tables: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in tables.split(",") if name.strip()))


async def _preview(site: Site, at: str, tables: Sequence[str], tell: undo.Tell) -> Preview:
    return await undo.preview(site, await undo.moment_of(at, site.settings), tables, tell=tell)


async def _rows(site: Site, asked: tuple[str, str, str], tables: tuple[str, ...], yes: bool, tell: undo.Tell) -> Report:
    at, until, where = asked
    end: Moment | None = await undo.moment_of(until, site.settings, field="until") if until else None
    ask = Ask(await undo.moment_of(at, site.settings), end, tables, where)
    return await undo.bring_back(site, ask, carry_out=yes, tell=tell)


def _show_preview(seen: Preview, at: str) -> None:
    out.print(f"What differs from {seen.moment}", markup=False)
    _show_table(
        ("Table", "Rows then", "Rows now", "Deleted", "Changed", "Added", "Such as"),
        [
            (one.table, one.rows_then, one.rows_now, one.deleted, one.changed, one.added, _examples(one.examples) or one.note)
            for one in seen.tables
            if one.differs
        ],
    )
    same = sum(not one.differs for one in seen.tables)
    say(f"{same} tables are as they were" + (f"; left out, as they follow: {', '.join(seen.left_out)}" if seen.left_out else ""))
    for one in seen.tables:
        if one.note and one.examples:
            say(f"{one.table}: {one.note}")
    if not seen.line:
        say(f"none of {seen.transactions:,} transactions since deleted or changed anything")
        return
    out.print(f"The largest of {seen.transactions:,} transactions since", markup=False)
    _show_transactions(seen.line)
    first = seen.line[0].name
    say(f"what one of them took: securecart recover rows --at {first}")
    say(f"what all of them deleted: securecart recover rows --at '{at}' --until now")
    say(f"everything as it was: securecart recover cluster --at '{at}'")


def _show_report(report: Report) -> None:
    accident = report.accident
    if accident.transaction is not None:
        out.print(f"The accident: {_in_words(accident.transaction)}", markup=False, soft_wrap=True)
    else:
        out.print(f"Between {accident.before.in_words} and {accident.after.in_words}", markup=False, soft_wrap=True)
    columns = ("Table", "Deleted", "Changed", "Counted", "Conflicts", "Left", "")
    _show_table(columns, [_line(part) for part in report.tables])
    for one in report.conflicts[:SHOWN_MAX]:
        out.print(f"left: {one.table} {', '.join(one.key)}: {one.why}", markup=False, soft_wrap=True)
    if report.conflicts_in_all > SHOWN_MAX:
        say(f"and {report.conflicts_in_all - SHOWN_MAX:,} conflicts more; --json tells the first hundred")
    for what in report.still_wrong[:SHOWN_MAX]:
        out.print(f"not as promised, before and still: {what}", markup=False, soft_wrap=True)
    if report.carried_out:
        out.print(f"{report.rows:,} rows are back after {report.seconds:.1f} s", markup=False)
        return
    if accident.others:
        out.print("If it was another:", markup=False)
        _show_transactions(accident.others)
    if report.rows:
        say(f"{report.rows:,} rows would come back; nothing was changed yet. Repeat the command with --yes to bring them back.")
    else:
        say("there is nothing to bring back")


def _line(part: Part) -> tuple[object, ...]:
    return part.table, part.written, part.put_back, part.corrected, part.conflicts, part.left, part.note


def _show_transactions(line: Sequence[Transaction]) -> None:
    _show_table(
        ("Name", "Committed (UTC)", "Rows", "What it did"),
        [(one.name, f"{one.at:%Y-%m-%d %H:%M:%S.%f}"[:-3], one.rows, _deeds(one.tables)) for one in line],
    )


def _in_words(one: Transaction) -> str:
    return f"{one.xid} committed {one.at:%Y-%m-%d %H:%M:%S.%f}"[:-3] + f" UTC: {_deeds(one.tables)}"


def _deeds(tables: dict[str, Changes]) -> str:
    return "; ".join(f"{name} {_deed(changes)}" for name, changes in sorted(tables.items(), key=lambda one: -_rows_in(one[1])))


def _deed(one: Changes) -> str:
    parts = [
        f"{count:,} {what}"
        for count, what in ((one.deleted, "deleted"), (one.updated, "changed"), (one.inserted, "new"))
        if count
    ]
    return ", ".join([*(["emptied"] if one.truncated else []), *parts])


def _rows_in(one: Changes) -> int:
    return one.deleted + one.updated


def _examples(examples: dict[str, list[str]]) -> str:
    return "; ".join(f"{kind} {', '.join(f'({key})' if ', ' in key else key for key in keys)}" for kind, keys in examples.items())


def _show_table(columns: Sequence[str], lines: Sequence[tuple[object, ...]]) -> None:
    told_rows = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in line] for line in lines]
    if not out.is_terminal:
        for line in told_rows:
            cells = (
                f"{name.lower()} {cell}" if name and cell.replace(",", "").isdigit() else cell
                for name, cell in zip(columns, line, strict=True)
            )
            out.print("  ".join(cell for cell in cells if cell), soft_wrap=True, markup=False)
        return
    table = Table(*columns)
    for line in told_rows:
        table.add_row(*line)
    out.print(table)
