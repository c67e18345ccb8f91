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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, ClassVar
from urllib.parse import urlsplit

import psutil
from prometheus_client.multiprocess import mark_process_dead

from securecart import settings as settings_table
from securecart.engines.home import Home, RunningEngine, State
from securecart.errors import EngineFailed, OperatorError
from securecart.settings import FIRST_REGIONS, Settings

__all__ = [
    "Engine",
    "address_of",
    "birth_of",
    "gone",
    "http_status",
    "living",
    "process_of",
    "shop_environment",
    "stop_process",
    "version_of",
]

POLL_S = 0.05
BOOT = Path("/proc/sys/kernel/random/boot_id")
BEGAN = 19  # of what follows a process's name in its stat: ticks of the clock since the machine's start (man proc, starttime)
HTTP_TIMEOUT_S = 2
WORDS_MAX = 300
KEPT_ENVIRONMENT = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
TELLING = ("No space left", "Disk quota", "FATAL", "PANIC", "rror", "xception", "ddress already in use", "failed")


class Engine(ABC):
    """One server that the shop needs, run as a child process from a home folder."""

    name: ClassVar[str]
    url_setting: ClassVar[str] = ""
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    stop_within_s: ClassVar[float] = 10
    ready_within_s: ClassVar[float] = 45

    def __init__(self, home: Home, settings: Settings, *, number: int | None = None) -> None:
        self.home = home
        self.settings = settings
        self.label = self.name if number is None else f"{self.name}-{number}"
        self.log = home.log(self.label)
        self.port = 0
        self.version = ""
        self.told_to: list[Home] = []  # homes besides its own that are told where it is
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def title(self) -> str:
        """What people call it: its label, after its region's name where that is not the first."""
        return self.label if self.settings.region in FIRST_REGIONS else f"{self.settings.region}/{self.label}"

    @abstractmethod
    async def start(self) -> None:
        """Begin the process; what must exist before it, such as an empty database, is made first."""

    @staticmethod
    @abstractmethod
    async def look(url: str) -> str | None:
        """The version of the engine at this address (empty when it does not tell), or None when it cannot be used."""

    @classmethod
    def address_in(cls, written: Mapping[str, Any], label: str) -> str:
        """The engine's address, as a home's settings have it."""
        del label  # matters where several of a kind have an address each
        return str(written.get(cls.url_setting, ""))

    @classmethod
    async def describe(cls, url: str) -> str:
        """What else there is to say of the engine at this address: a few words, or none."""
        del url
        return ""

    @classmethod
    def beside(cls, home: Home, label: str) -> Sequence[psutil.Process]:
        """Processes of the engine that are not its child's descendants."""
        del home, label
        return ()

    @classmethod
    async def clear(cls, home: Home, label: str) -> None:
        """End what a killed process of this engine left behind; most leave nothing."""
        del home, label

    def connections(self) -> dict[str, str]:
        """The settings under which the rest of the shop finds this engine."""
        return {}

    def choose_port(self) -> None:
        """Settle the port before anything starts; `PortTaken` when another program has it."""
        self.port = self.home.port(self.name, getattr(self.settings, f"{self.name}_port"))

    async def answers(self) -> bool:
        """Whether the engine can be used at this moment."""
        version = await self.look(self.connections()[self.url_setting])
        self.version = version or self.version
        return version is not None

    async def wait_until_ready(self) -> None:
        """Return once the engine answers; `EngineFailed` with the last word of its log when it does not."""
        deadline = time.monotonic() + self.ready_within_s
        while not await self.answers():
            if self.died():
                raise self.failure()
            if time.monotonic() > deadline:
                raise EngineFailed(engine=self.label, why=f"no answer in {self.ready_within_s:.0f} seconds", log=str(self.log))
            await asyncio.sleep(POLL_S)

    async def stop(self) -> None:
        """End the process in its own way, by force when it takes too long; nothing happens when it is gone."""
        if self._child is not None:
            await stop_process(living(self._child.pid), self.stop_signal, self.stop_within_s)
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
            return RunningEngine(self.label, self._child.pid, birth_of(self._child.pid), self.port, self.version)
        return None

    def spawn(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, *, descriptors: Sequence[int] = ()
    ) -> None:
        """Start the child in a session of its own, so that Ctrl-C reaches only the supervisor; it gets these `descriptors`."""
        self.home.log(self.label)
        with self.saying() as log:
            try:
                self._child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.home.run(),
                    env={**clean_environment(), **(environment or {})},
                    start_new_session=True,
                    pass_fds=descriptors,
                )
            except OSError as error:
                raise EngineFailed(engine=self.label, why=f"{command[0]}: {error.strerror}", log=str(self.log)) from error

    @contextlib.contextmanager
    def saying(self) -> Iterator[IO[bytes]]:
        """The open log for a program to write into; what it says from here on explains a failure."""
        with self.log.open("ab") as log:
            self._said_before = log.tell()
            yield log

    def forget_gauges(self) -> None:
        """Take what a dead process of the shop last said of itself out of the shared counters; its counts stay."""
        if self._child is not None:
            mark_process_dead(self._child.pid, str(self.home.metrics()))  # type: ignore[no-untyped-call]

    def failure(self) -> OperatorError:
        """Why the process ended: the last telling line that it logged since it was started."""
        with self.log.open("rb") as log:
            log.seek(self._said_before)
            lines = log.read().decode(errors="replace").strip().splitlines()[-30:]
        why = next(
            (line for word in TELLING for line in reversed(lines) if word in line), lines[-1] if lines else "it ended at once"
        )
        if "No space left" in why or "Disk quota" in why:
            return self.home.disk_full()
        return EngineFailed(engine=self.label, why=why.strip()[:WORDS_MAX].rstrip("."), log=str(self.log))


def clean_environment() -> dict[str, str]:
    """The few variables of ours that any program may need, and nothing else."""
    return {name: value for name, value in os.environ.items() if name in KEPT_ENVIRONMENT}


def shop_environment(home: Home) -> dict[str, str]:
    """What a process of the shop gets besides: its home, the settings we were given, and AWS's own variables."""
    given = {settings_table.PREFIX + name.upper(): value for name, value in settings_table.from_environment().items()}
    cloud = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return {**cloud, **given, "SECURECART_HOME": str(home.path), "PROMETHEUS_MULTIPROC_DIR": str(home.metrics())}


async def stop_process(process: psutil.Process | None, gently: signal.Signals, within_s: float) -> None:
    """Signal a process and wait; after `within_s` seconds kill it and its children. Nothing happens where there is none."""
    if process is None:
        return
    family = [process]
    with contextlib.suppress(psutil.NoSuchProcess):
        family += process.children(recursive=True)
        process.send_signal(gently)
    deadline = time.monotonic() + within_s
    while not gone(process) and time.monotonic() < deadline:  # noqa: ASYNC110 - no event tells of another program's end
        await asyncio.sleep(POLL_S)
    for member in family:
        while not gone(member):
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
            await asyncio.sleep(POLL_S)


def process_of(remembered: State | RunningEngine) -> psutil.Process | None:
    """The living process that the state file remembers, or None: one that only has the same pid by chance is another."""
    process = living(remembered.pid)
    with contextlib.suppress(psutil.NoSuchProcess):
        return process if birth_of(remembered.pid) == remembered.born else None
    return None


def living(pid: int) -> psutil.Process | None:
    """The living process with this pid, or None."""
    with contextlib.suppress(psutil.NoSuchProcess, ValueError):
        process = psutil.Process(pid)
        return None if gone(process) else process
    return None


def birth_of(pid: int) -> str:
    """What tells a process from all others that ever have its pid; raises `psutil.NoSuchProcess`.

    Where the system counts from its own start, so does this: the time of day is corrected while processes run, by
    seconds where a machine was asleep, and what was written down before would name nobody then.
    """
    if not psutil.LINUX:
        return str(psutil.Process(pid).create_time())
    try:
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[BEGAN]
    except OSError as error:
        raise psutil.NoSuchProcess(pid) from error
    return f"{BOOT.read_text().strip()} {ticks}"


def gone(process: psutil.Process) -> bool:
    """Whether the process has ended; a zombie that only waits for its parent counts as ended.

    One that still has threads does not: they hold its ports and files a moment longer.
    """
    try:
        return not process.is_running() or (process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1)
    except psutil.NoSuchProcess:
        return True


def address_of(url: str) -> str:
    """Host and port of an address, without the secrets in it; with commas where it names several."""
    return urlsplit(url).netloc.rpartition("@")[2]


async def http_status(url: str) -> int:
    """The status with which the server answers GET, 0 when it does not answer."""
    return await asyncio.to_thread(_http_status, url)


def version_of(command: Sequence[str]) -> str:
    """The first thing that looks like a version in what `command` prints, or an empty string."""
    try:
        printed = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, env=clean_environment())
    except (OSError, subprocess.TimeoutExpired):
        return ""
    words = (printed.stdout + printed.stderr).replace("=", " ").replace('"', " ").split()
    return next((word.lstrip("v") for word in words if word.lstrip("v")[:1].isdigit()), "")


def _http_status(url: str) -> int:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=HTTP_TIMEOUT_S)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
