"""The database's files are copied: PostgreSQL's own pg_basebackup as a child, at the lowest priority on both ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import asyncpg
import psutil
from msgspec import Struct

from securecart.engines.postgres_roles import REPLICATION
from securecart.errors import RecoveryRefused
from securecart.ops.recovery.nodes import NOT_READY, Node, Nodes
from securecart.ops.recovery.programs import mortal

__all__ = ["SPARE_BYTES", "Copy", "CopyFailed", "Tell", "copy", "this_thread_goes_last"]

# Told what is being done and how far it is, in a sentence without a stop.
Tell = Callable[[str], None]

APPLICATION = "securecart_base"
PROGRESS = re.compile(r"^\s*(?P<done>\d+)/(?P<whole>\d+) kB \((?P<percent>\d+)%\)")
LOWEST_NICE = 19
WORDS_MAX = 400
KILOBYTE, MB = 1024, 1_000_000
# So much stays free on the disk of the copy, which may be the database's own.
SPARE_BYTES = 300 * MB
# How long the server may stretch the checkpoint that a copy begins with, so that nobody feels it.
CHECKPOINT_WITHIN_S, LOOK_EVERY_S = 300.0, 0.5
COPYING = "SELECT pid, phase = 'waiting for checkpoint to finish' AS waits FROM pg_stat_progress_basebackup"


class CopyFailed(RecoveryRefused):
    """{problem}"""


class Copy(Struct, frozen=True):
    """What to copy: from this node, into this folder, at most so many megabytes a second (0: any).

    `manifest`: only what changed since the backup that it is of. `hurry`: with a checkpoint at once, though it is felt.
    """

    source: Node
    folder: Path
    rate_mb: int
    hurry: bool
    manifest: Path | None = None


async def copy(nodes: Nodes, programs: Path, asked: Copy, tell: Tell, hurried: asyncio.Event) -> None:
    """Copy; `CopyFailed` says why it could not be done, and leaves what there is in the folder.

    Once it is `hurried`, because somebody waits for it, its checkpoint is not stretched any longer.
    """
    child = await asyncio.create_subprocess_exec(
        *mortal(_command(programs, asked)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PGPASSFILE": str(nodes.write_passwords()), "LC_ALL": "C"},
    )
    go_last(child.pid)
    beside = asyncio.create_task(_see_to_server(nodes, asked.source, hurried))
    try:
        words = await _listen(child, asked.folder, tell)
        await child.wait()
    finally:
        beside.cancel()
        await asyncio.gather(beside, return_exceptions=True)
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    if child.returncode:
        raise CopyFailed(problem=f"The database's files could not be copied from {asked.source.name}: {words[-WORDS_MAX:]}")


def go_last(pid: int) -> None:
    """Have a process wait for all others wherever they want the processor or the disk too."""
    with contextlib.suppress(psutil.Error, OSError, AttributeError):
        process = psutil.Process(pid)
        process.nice(LOWEST_NICE)
        process.ionice(psutil.IOPRIO_CLASS_IDLE)


def this_thread_goes_last() -> None:
    """The same for this thread, and those that it starts, where the system knows priorities of threads."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_NICE)


def _command(programs: Path, asked: Copy) -> list[str | Path]:
    where = f"host={asked.source.host} port={asked.source.port} user={REPLICATION} application_name={APPLICATION}"
    return [
        *(programs / "pg_basebackup", "--pgdata", asked.folder, "--dbname", where, "--no-password", "--format", "plain"),
        *("--wal-method", "none", "--checkpoint", "fast" if asked.hurry else "spread", "--no-sync", "--progress"),
        *(("--max-rate", f"{asked.rate_mb}M") if asked.rate_mb else ()),
        *(("--incremental", asked.manifest) if asked.manifest is not None else ()),
    ]


async def _listen(child: asyncio.subprocess.Process, folder: Path, tell: Tell) -> str:
    """Pass on how far it is, and return what else it said; it is ended before it fills the disk."""
    assert child.stderr is not None
    words = ""
    while said := await child.stderr.read(64 * KILOBYTE):
        for line in said.decode(errors="replace").replace("\r", "\n").splitlines():
            if (match := PROGRESS.match(line)) is not None:
                done, whole = (int(match[name]) * KILOBYTE / MB for name in ("done", "whole"))
                tell(f"Copying the database's files: {done:,.0f} of {whole:,.0f} MB")
            elif line.strip() and not line.startswith("NOTICE"):
                words = f"{words} {line.strip()}".strip()
        if shutil.disk_usage(folder.parent).free < SPARE_BYTES:
            raise RecoveryRefused(
                problem=f"A base backup was given up: the disk that holds {folder} has less than {SPARE_BYTES // MB} MB left. "
                "Free some, or have the home on a larger disk."
            )
    return words


async def _see_to_server(nodes: Nodes, source: Node, hurried: asyncio.Event) -> None:
    """Give the server's end of the copy the lowest priority, and have it not wait too long for its checkpoint."""
    with contextlib.suppress(*NOT_READY):
        connection = await nodes.connect_as_superuser(source)
        if connection is None:
            return
        try:
            await _watch(connection, hurried)
        finally:
            connection.terminate()


async def _watch(connection: asyncpg.Connection, hurried: asyncio.Event) -> None:
    deadline = asyncio.get_running_loop().time() + CHECKPOINT_WITHIN_S
    seen: set[int] = set()
    while True:
        rows = await connection.fetch(COPYING)
        for row in rows:
            if row["pid"] not in seen:
                seen.add(row["pid"])
                go_last(row["pid"])
        if seen and not any(row["waits"] for row in rows):
            return
        if hurried.is_set() or asyncio.get_running_loop().time() > deadline:
            await connection.execute("CHECKPOINT")
            return
        await asyncio.sleep(LOOK_EVERY_S)
