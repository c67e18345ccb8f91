"""A child process and what all engines have in common: start, wait until ready, stop."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import psutil

from securecart.engines.home import NEEDED_MB, Home, RunningEngine
from securecart.errors import DiskFull, EngineFailed, OperatorError
from securecart.settings import Settings

__all__ = ["Engine", "as_ordinary_user", "gone", "http_answers", "stop_process", "version_of"]

POLL_S = 0.05
KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER")


class Engine(ABC):
    """One server that the shop needs, run as a child process from a home folder."""

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    stop_within_s: ClassVar[float] = 10
    ready_within_s: ClassVar[float] = 30

    def __init__(self, home: Home, settings: Settings, *, number: int | None = None) -> None:
        self.home = home
        self.settings = settings
        self.label = self.name if number is None else f"{self.name}-{number}"
        self.log = home.log(self.label)
        self.port = 0
        self.version = ""
        self._child: subprocess.Popen[bytes] | None = None

    @abstractmethod
    async def start(self) -> None:
        """Begin the process; what must exist before it, such as an empty database, is made first."""

    @abstractmethod
    async def answers(self) -> bool:
        """Whether the engine can be used at this moment."""

    def connections(self) -> dict[str, str]:
        """The settings under which the rest of the shop finds this engine."""
        return {}

    async def wait_until_ready(self) -> None:
        """Return once the engine answers; `EngineFailed` with the last word of its log when it does not."""
        deadline = time.monotonic() + self.ready_within_s
        while not await self.answers():
            if self.died():
                raise self._failure()
            if time.monotonic() > deadline:
                raise EngineFailed(engine=self.label, why=f"no answer in {self.ready_within_s:.0f} seconds", log=str(self.log))
            await asyncio.sleep(POLL_S)

    async def stop(self) -> None:
        """End the process in its own way, by force when it takes too long; nothing happens when it is gone."""
        if self._child is not None:
            await stop_process(self._child.pid, None, self.stop_signal, self.stop_within_s)
            await asyncio.to_thread(self._child.wait)
            self._child = None

    def died(self) -> bool:
        """Whether the process was started and has ended."""
        return self._child is not None and self._child.poll() is not None

    def running(self) -> RunningEngine | None:
        """What the state file remembers of the process; None while there is none."""
        if self._child is None or self.died():
            return None
        with contextlib.suppress(psutil.NoSuchProcess):
            born = psutil.Process(self._child.pid).create_time()
            return RunningEngine(self.label, self._child.pid, born, self.port, self.version)
        return None

    def spawn(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start the child in a session of its own, so that Ctrl-C reaches only the supervisor."""
        kept = {name: value for name, value in os.environ.items() if name in KEPT_ENVIRONMENT}
        with self.log.open("ab") as log:
            try:
                self._child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.home.path,
                    env={**kept, **(environment or {})},
                    start_new_session=True,
                )
            except OSError as error:
                raise EngineFailed(engine=self.label, why=f"{command[0]}: {error.strerror}", log=str(self.log)) from error

    def _failure(self) -> OperatorError:
        why = self._last_words() or "it ended at once"
        if "No space left" in why or "Disk quota" in why:
            return DiskFull(home=str(self.home.path), free_mb=0, needed_mb=NEEDED_MB)
        return EngineFailed(engine=self.label, why=why, log=str(self.log))

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()[-20:]
        telling = [
            line for line in lines if any(word in line for word in ("No space left", "FATAL", "PANIC", "ERROR", "Error", "error"))
        ]
        return (telling or lines or [""])[-1].strip()[:300]


async def stop_process(pid: int, born: float | None, gently: signal.Signals, within_s: float) -> None:
    """Signal a process and wait; after `within_s` seconds kill it and its children.

    With `born`, a process that only has the same pid by chance is left alone.
    """
    try:
        process = psutil.Process(pid)
        if born is not None and abs(process.create_time() - born) > 1:
            return
        family = [process, *process.children(recursive=True)]
        process.send_signal(gently)
    except psutil.NoSuchProcess:
        return
    deadline = time.monotonic() + within_s
    while not gone(process):
        if time.monotonic() > deadline:
            for member in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
        await asyncio.sleep(POLL_S)
    for member in family:
        while not gone(member):
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
            await asyncio.sleep(POLL_S)


def gone(process: psutil.Process) -> bool:
    """Whether the process has ended; a zombie that only waits for its parent counts as ended."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def as_ordinary_user(command: Sequence[str]) -> list[str]:
    """The command under another uid where we are root, which PostgreSQL refuses; files stay the caller's."""
    if os.geteuid() != 0:
        return list(command)
    return ["unshare", "--user", "--map-user=1000", "--map-group=1000", *command]


async def http_answers(port: int, path: str, *, statuses: Sequence[int] = (200,)) -> bool:
    """Whether a server on this port answers GET `path` with one of the statuses."""
    return await asyncio.to_thread(_http_status, port, path) in statuses


def version_of(command: Sequence[str]) -> str:
    """The first thing that looks like a version in what `command` prints, or an empty string."""
    try:
        printed = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return ""
    words = (printed.stdout + printed.stderr).replace("=", " ").replace('"', " ").split()
    return next((word for word in words if word[0].isdigit() and "." in word), "")


def _http_status(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
