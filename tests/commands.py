"""The operator's commands as processes of their own, and what runs on this machine because of them."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from securecart.settings import PREFIX

__all__ = ["PORTS", "SECURECART", "command_of", "processes_below", "securecart"]

PORTS = f"{PREFIX}PORTS"
SECURECART = [sys.executable, "-m", "securecart"]
DEADLINE_S = 400


def securecart(*arguments: str, expect: int | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one command with no settings but those given and the ports; `expect` is its exit code, and then no traceback shows."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX) or name == PORTS}
    done = subprocess.run(
        [*SECURECART, *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        env={**ours, **environment},
    )
    if expect is not None:
        assert done.returncode == expect, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
    return done


def command_of(process: psutil.Process) -> str:
    """The command line of a process, empty when it ended a moment ago."""
    try:
        return " ".join(process.cmdline()) if process.status() != psutil.STATUS_ZOMBIE else ""
    except psutil.Error:
        return ""


def processes_below(folder: Path) -> list[str]:
    """The commands of all living processes that stand in this folder or name it."""
    found = []
    for process in psutil.process_iter():
        command, where = command_of(process), ""
        with suppress(psutil.Error):
            where = process.cwd()
        if command and (str(folder) in command or where.startswith(str(folder))):
            found.append(command)
    return found
