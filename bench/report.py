"""A result as people read it: a table on the screen, a section of docs/benchmarks.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from bench.harness import ROOT, Result

__all__ = ["PAGE", "RESULTS", "keep", "kept", "page_with", "print_result", "record", "section"]

PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "docs" / "benchmarks"


def print_result(result: Result, console: Console) -> None:
    """Figures, baselines and ratios, each with its goal."""
    where = result.machine
    title = f"bench {result.name}  ({where.cores} cores, {where.cpu}, {where.memory / 2**30:.0f} GiB, {where.os})"
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in ("", "name"):
        table.add_column(column)
    table.add_column("value", justify="right")
    table.add_column("goal")
    for kind, name, value, goal in _lines(result):
        table.add_row(kind, name, value, goal, end_section=False)
    console.print(table)
    console.print("settings: " + ", ".join(f"{name}={value}" for name, value in result.settings.items()), highlight=False)


def keep(result: Result) -> Path:
    """Write the result to docs/benchmarks/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{result.name}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")
    return path


def record() -> list[str]:
    """Write the tables of docs/benchmarks.md anew from the kept results; gives the names of those results."""
    results = kept()
    PAGE.write_text(page_with(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")
    return [result.name for result in results]


def kept() -> list[Result]:
    """The results in docs/benchmarks/."""
    return [msgspec.json.decode(path.read_bytes(), type=Result) for path in sorted(RESULTS.glob("*.json"))]


def page_with(page: str, results: list[Result]) -> str:
    """The page with what stands between each result's markers replaced by its section."""
    for result in results:
        begin, end = f"<!-- {result.name}: begin -->", f"<!-- {result.name}: end -->"
        between = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        if not between.search(page):
            raise ValueError(f"the page has no markers {begin} and {end}")
        before, after = between.split(page, maxsplit=1)
        page = f"{before}{begin}\n{section(result)}{end}{after}"
    return page


def section(result: Result) -> str:
    """The result in Markdown."""
    where = result.machine
    chosen = ", ".join(f"{name} {value}" for name, value in result.settings.items())
    head = (
        f"`{result.command}`, version {result.version}, {result.taken_at[:10]}, on {where.cores} cores of {where.cpu}, "
        f"{where.memory / 2**30:.0f} GiB, {where.os}, Python {where.python}. Settings: {chosen}.\n\n"
    )
    rows = "".join(f"| {kind} | {name} | {value} | {goal} |\n" for kind, name, value, goal in _lines(result))
    return f"\n{head}| | Name | Value | Goal |\n| --- | --- | ---: | --- |\n{rows}\n"


def _lines(result: Result) -> Iterator[tuple[str, str, str, str]]:
    goals = {goal.figure: f"{goal.wish}: {'met' if goal.met else 'NOT MET'}" for goal in result.goals}
    for kind, group in (("figure", result.figures), ("baseline", result.baselines), ("ratio", result.ratios)):
        for name, value in group.items():
            yield kind, name, _number(value), goals.get(name, "")
    for name, values in result.series.items():
        yield "series", name, " ".join(_number(value) for value in values), ""


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:,.2f}" if abs(value) >= 10 else f"{value:,.3f}"
