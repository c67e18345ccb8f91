"""What a person sees while engines start, and afterwards; plain lines where nobody watches a terminal."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import typer
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from securecart.engines import EngineStatus, Home, HomeStatus, Step, address_of, kind_of
from securecart.settings import Settings

__all__ = ["Board", "engines_table", "err", "out", "say", "show_json", "show_screen", "show_status"]

MEBIBYTE = 2**20
REFRESH_PER_SECOND = 8

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class Board:
    """The steps of a start: a live board on a terminal, a line for each finished step elsewhere."""

    def __init__(self) -> None:
        self._began: dict[str, float] = {}
        self._lines: dict[str, Step] = {}
        self._everything_runs = False
        self._live = Live(get_renderable=self._drawn, console=err, refresh_per_second=REFRESH_PER_SECOND, transient=True)

    def __enter__(self) -> Self:
        """Begin to draw."""
        if err.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Take the board away and leave the terminal to what follows; from now on each step is news."""
        self._everything_runs = True
        if err.is_terminal:
            self._live.stop()

    def __call__(self, step: Step) -> None:
        """Take a step in."""
        self._began.setdefault(step.engine, time.monotonic())
        self._lines[step.engine] = step
        if self._everything_runs or (step.done and not err.is_terminal):
            say(f"{step.engine} {step.text}")

    def _drawn(self) -> Group:
        return Group(*(self._line(step) for step in self._lines.values()))

    def _line(self, step: Step) -> Text | Spinner:
        if step.done:
            return Text.assemble((" ✓ ", "green"), (f"{step.engine:<12}", "bold"), step.text)
        waiting = time.monotonic() - self._began[step.engine]
        return Spinner("dots", Text.assemble((f" {step.engine:<12}", "bold"), f"{step.text} {waiting:.0f} s"), style="cyan")


def say(sentence: str) -> None:
    """One line for a person, beside the output proper."""
    err.print(f"  {sentence}", soft_wrap=True, markup=False)


def show_json(value: Any) -> None:
    """What `--json` prints: for programs, and still fit to be read."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value)).decode())


def show_screen(seen: HomeStatus, home: Home, profile: str) -> None:
    """Where everything is, what runs, and what to try next."""
    written = home.settings()
    web = written.get("web_url", "")
    rows = [
        ("The shop", web),
        ("API docs", f"{web}/api/docs"),
        ("Home", f"{home.path}  (data, logs, settings.json with the secrets)"),
        ("Profile", profile),
    ]
    program = "securecart" if shutil.which("securecart") else os.path.relpath(sys.argv[0])
    there = "" if home.path == Settings().home_path else f" --home {home.path}"
    tries = [
        (f"{program} status{there}", "what runs, how it is, its memory"),
        (f"{program} demo replay --baskets 300{there}", "real households buy real baskets"),
        (f"{program} bench lookup{there}", "how fast it is, beside its own limit"),
        (f"{program} down{there}", "stop everything; the data stays"),
    ]
    if any(engine.pid and kind_of(engine.name) in {"postgres", "patroni"} for engine in seen.engines):
        hosts = address_of(str(written.get("postgres_url", "")))
        query = "?target_session_attrs=read-write" if "," in hosts else ""
        psql = f"PGPASSFILE={home.run() / 'pgpass'} psql 'postgresql://securecart_app@{hosts}/securecart{query}'"
        tries.insert(-1, (psql, "look into the database"))
    for region in seen.regions:
        address = Home(Path(region.home)).settings().get("web_url", "")
        rows.insert(1, (f"The shop in region {region.region}", f"{address}  (--home {region.home})"))
        tries.insert(1, (f"{program} region status{there}", "who takes the writes, how far the other region is behind"))
    show_status(seen)
    if out.is_terminal:
        grid = Table.grid(padding=(0, 2))
        for name, value in rows:
            grid.add_row(Text(name, style="bold"), value)
        hints = Group(*(Text.assemble((command, "cyan"), f"\n    {purpose}") for command, purpose in tries))
        out.print(Panel(Group(grid, "", hints), title="SecureCart is up", expand=False))
        return
    for name, value in [*rows, *((f"Try: {command}", purpose) for command, purpose in tries)]:
        out.print(f"{name}  {value}", soft_wrap=True, markup=False)


def show_status(seen: HomeStatus) -> None:
    """Each engine in a table, or in a line where nobody watches a terminal."""
    if out.is_terminal:
        out.print(engines_table(seen))
        return
    for engine in _everywhere(seen):
        parts = (
            engine.name,
            engine.version,
            engine.address,
            _health(engine),
            engine.role,
            f"pid {engine.pid or '-'}",
            _mebibytes(engine.memory),
        )
        out.print("  ".join(part for part in parts if part), soft_wrap=True, markup=False)
    out.print(f"memory in all  {_mebibytes(seen.memory)}", soft_wrap=True)


def engines_table(seen: HomeStatus) -> Table:
    """The engines, one a row."""
    table = Table(
        "Engine",
        "Version",
        "Address",
        "Health",
        "Role",
        "Process",
        title=f"{_mebibytes(seen.memory)} in all",
        title_justify="left",
    )
    table.add_column("Memory", justify="right")
    for engine in _everywhere(seen):
        health = Text(_health(engine), style="green" if engine.healthy else "red")
        table.add_row(
            engine.name, engine.version, engine.address, health, engine.role, str(engine.pid or ""), _mebibytes(engine.memory)
        )
    return table


def _everywhere(seen: HomeStatus) -> list[EngineStatus]:
    """The engines of this home, and those of further regions after their names."""
    further = [
        msgspec.structs.replace(engine, name=f"{region.region}/{engine.name}")
        for region in seen.regions
        for engine in region.engines
    ]
    return [*seen.engines, *further]


def _health(engine: EngineStatus) -> str:
    return ("well" if engine.healthy else "not well") + ("" if engine.pid or not engine.healthy else ", elsewhere")


def _mebibytes(memory: int) -> str:
    return f"{memory / MEBIBYTE:,.0f} MiB" if memory else ""
