"""PostgreSQL's own programs, run to their end for backup and recovery; none of them outlives us."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from securecart.engines.postgres_files import bundled
from securecart.engines.process import clean_environment
from securecart.errors import RecoveryRefused
from securecart.ops.recovery.model import Site

__all__ = ["ENVIRONMENT", "has_incrementals", "kill", "links", "mortal", "programs_for", "run_program"]

WORDS_MAX = 400
# Times in UTC and words in English, for what is read from their output.
ENVIRONMENT = {**clean_environment(), "TZ": "UTC", "LC_ALL": "C"}


def programs_for(site: Site) -> Path:
    """The folder of PostgreSQL's programs that this shop runs with."""
    return Path(site.settings.postgres_bin) if site.settings.postgres_bin else bundled()


def has_incrementals(programs: Path) -> bool:
    """Whether these programs can join incremental backups with their full one (17 and newer)."""
    return (programs / "pg_combinebackup").exists()


async def links(programs: Path) -> bool:
    """Whether they can do so without a copy of what did not change (18 and newer)."""
    return "--link" in await run_program([programs / "pg_combinebackup", "--help"], what="asking for its options")


def mortal(command: Sequence[str | Path]) -> list[str]:
    """The command as a child that the system ends when we die, where the system has the program for that."""
    given = [str(part) for part in command]
    return ["setpriv", "--pdeathsig", "QUIT", *given] if shutil.which("setpriv") else given


async def run_program(command: Sequence[str | Path], *, what: str, fails: bool = False) -> str:
    """What it printed; `RecoveryRefused` with its last words when it failed, unless it may."""
    child = await asyncio.create_subprocess_exec(
        *mortal(command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    )
    try:
        printed, complaint = await child.communicate()
    finally:
        kill(child)
        await child.wait()
    if child.returncode and not fails:
        words = " ".join(complaint.decode(errors="replace").split())[-WORDS_MAX:]
        raise RecoveryRefused(problem=f"{Path(command[0]).name} failed ({what}): {words}")
    return printed.decode(errors="replace")


def kill(child: asyncio.subprocess.Process) -> None:
    """End a child at once, if it has not ended by itself. Its own `kill` would take its exit code away from asyncio."""
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
