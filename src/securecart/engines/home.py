"""The home folder: where data, logs and state of one shop live, and what they are called.

settings.json   addresses and generated secrets, readable by the owner only
state.json      which processes run: pid, birth, port
ports.json      ports kept for the next start
fenced          another region took over: this one follows it when it comes back
region-NAME/    the same again, for another region of the shop
certificates/   what came of each proof of a backup
lock            held by the supervisor as long as it lives
data/ENGINE     what an engine keeps
logs/ENGINE.log what an engine says
run/            sockets, password files and counters of the running processes; held-ENGINE: leave it down when it is dead
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import secrets
import shutil
import socket
from pathlib import Path
from typing import IO, Any

import msgspec
from msgspec import Struct

from securecart import settings as settings_table
from securecart.errors import DiskFull, HomeUnusable, OperatorError, PortTaken

__all__ = ["Home", "RunningEngine", "State", "kind_of"]

NEEDED_MB = 500
LOG_BYTES_MAX = 16 * 1024 * 1024
HELD = "held-"
REGION = "region-"
FENCES, RECOVERY = "fences", "recovery"


def kind_of(label: str) -> str:
    """The kind of engine that a label names: `web-2` is a `web`."""
    return label.partition("-")[0]


class RunningEngine(Struct, frozen=True):
    """A child process as the state file remembers it; `born` is its birth, so a reused pid is noticed (`process.birth_of`).

    A store on somebody else's server has pid 0.
    """

    name: str
    pid: int
    born: str
    port: int
    version: str

    @property
    def kind(self) -> str:
        """What kind of engine it is."""
        return kind_of(self.name)


class State(Struct, frozen=True):
    """The supervisor and its children; `ready` once all of the plan have answered."""

    pid: int
    born: str
    planned: tuple[str, ...] = ()
    ready: bool = False
    engines: tuple[RunningEngine, ...] = ()

    def of_kind(self, kind: str) -> list[RunningEngine]:
        """Those processes of ours that are of this kind."""
        return [engine for engine in self.engines if engine.kind == kind and engine.pid]


class Home:
    """One home folder; every path in it comes from here."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self) -> None:
        """Make the folders. `HomeUnusable` when that is not allowed, `DiskFull` when there is no room for data."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in ("data", "logs", "run"):
                (self.path / name).mkdir(mode=0o700, exist_ok=True)
            probe = self.path / "run" / f".probe-{os.getpid()}"
            probe.write_text("can we write here?")
            probe.unlink()
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise self.disk_full() from error
            raise HomeUnusable(home=str(self.path), why=_reason(error)) from error
        if self._free_mb() < NEEDED_MB:
            raise self.disk_full()

    def disk_full(self) -> DiskFull:
        """The error that says how much room is left and how much is needed."""
        return DiskFull(home=str(self.path), free_mb=self._free_mb(), needed_mb=NEEDED_MB)

    def lock(self) -> IO[bytes] | None:
        """The open lock file, or None while another supervisor holds it; the lock ends with its process."""
        held = (self.path / "lock").open("ab")
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held.close()
            return None
        return held

    def data(self, engine: str) -> Path:
        """The folder for what an engine keeps."""
        folder = self.path / "data" / engine
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def run(self) -> Path:
        """The folder for sockets and password files."""
        return self.path / "run"

    def metrics(self) -> Path:
        """The folder in which web processes share their counters."""
        folder = self.run() / "metrics"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def forget_metrics(self) -> None:
        """Empty the counters, which belong to processes of an earlier start."""
        shutil.rmtree(self.metrics(), ignore_errors=True)
        self.metrics()

    def log(self, engine: str) -> Path:
        """An engine's log file; one that has grown too large is kept once as `.log.1` and begun anew."""
        path = self.path / "logs" / f"{engine}.log"
        if path.exists() and path.stat().st_size > LOG_BYTES_MAX:
            path.replace(path.with_suffix(".log.1"))
        return path

    def port(self, engine: str, wanted: int = 0, *, settable: bool = True) -> int:
        """The engine's port: the wanted one, else the one it had last time, else a free one that is kept.

        `PortTaken` when another program listens on the wanted or remembered port. One that is not `settable` stays.
        """
        kept: dict[str, int] = self._read("ports.json", {})
        port = wanted or kept.get(engine, 0)
        setting = f"SECURECART_{engine.upper()}_PORT"
        if not port:
            port = _free_port(settings_table.load(str(self.path)).port_range, set(kept.values()))
        elif (problem := _problem_of(port)) == errno.EACCES:
            raise OperatorError(problem=f"Port {port} of {engine} is for root only; choose one above 1023 with {setting}=PORT.")
        elif problem and not settable:
            raise OperatorError(
                problem=f"Port {port} of {engine} is taken by another program; stop that program. The nodes of the database "
                "know each other by their ports, so these do not change."
            )
        elif problem:
            raise PortTaken(port=port, engine=engine, setting=setting)
        self._write("ports.json", {**kept, engine: port})
        return port

    def hold(self, label: str) -> None:
        """Have the supervisor leave this engine down once it is dead, until it is released or the home starts anew."""
        self._hold(label).touch()

    def release(self, label: str) -> None:
        """Have the supervisor bring the engine back if it is dead."""
        self._hold(label).unlink(missing_ok=True)

    def held(self) -> frozenset[str]:
        """The labels of the engines that are held."""
        return frozenset(file.name.removeprefix(HELD) for file in self.run().glob(f"{HELD}*"))

    def fence(self) -> None:
        """Have the database of this home follow the other region whenever it starts, until the fence is taken down."""
        if not self.is_fenced():
            self.remember({FENCES: self.fences() + 1})
            self._fence().touch()

    def take_fence_down(self) -> None:
        """The database starts as what its nodes have agreed on."""
        self._fence().unlink(missing_ok=True)

    def fences(self) -> int:
        """How often this home was fenced."""
        return int(self.settings().get(FENCES, 0))

    def recovery(self) -> str:
        """Which recovery in place put the database there that this home has; empty for none."""
        return str(self.settings().get(RECOVERY, ""))

    def is_fenced(self) -> bool:
        """Whether the other region took over while this one could not be asked."""
        return self._fence().exists()

    def region(self, name: str) -> Home:
        """The home of another region of this shop, which is a folder in this one."""
        return Home(self.path / f"{REGION}{name}")

    def with_regions(self) -> list[Home]:
        """This home and those of the shop's other regions."""
        return [self, *(Home(folder) for folder in sorted(self.path.glob(f"{REGION}*")) if folder.is_dir())]

    def secret(self, name: str) -> str:
        """A random secret that is made once and kept."""
        known = self.settings()
        if name not in known:
            self.remember({name: secrets.token_urlsafe(24)})
        return str(self.settings()[name])

    def settings(self) -> dict[str, Any]:
        """What `settings.json` holds."""
        written: dict[str, Any] = self._read("settings.json", {})
        return written

    def remember(self, values: dict[str, Any]) -> None:
        """Add to `settings.json`."""
        self._write("settings.json", {**self.settings(), **values})

    def state(self) -> State | None:
        """What runs, as far as was written down; None when nothing was."""
        path = self.path / "state.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=State)
        except (OSError, msgspec.DecodeError):
            return None

    def write_state(self, state: State | None) -> None:
        """Write down what runs, in one step."""
        if state is None:
            (self.path / "state.json").unlink(missing_ok=True)
        else:
            self._write("state.json", state)

    def write_private(self, path: Path, text: str) -> None:
        """Write a file that only its owner may read, in one step."""
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        scratch.replace(path)

    def _fence(self) -> Path:
        return self.path / "fenced"

    def _hold(self, label: str) -> Path:
        return self.run() / f"{HELD}{label}"

    def _free_mb(self) -> int:
        there = next(folder for folder in (self.path, *self.path.parents) if folder.exists())
        return shutil.disk_usage(there).free // 2**20

    def _read(self, name: str, default: Any) -> Any:
        path = self.path / name
        return msgspec.json.decode(path.read_bytes()) if path.exists() else default

    def _write(self, name: str, content: Any) -> None:
        self.write_private(self.path / name, msgspec.json.format(msgspec.json.encode(content)).decode())


def _problem_of(port: int) -> int:
    """The errno with which the system refuses the port, 0 when it is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error.errno or errno.EADDRINUSE
    return 0


def _free_port(among: range, taken: set[int]) -> int:
    for port in random.sample(among, len(among)):  # by chance, so that two homes rarely choose the same
        if port not in taken and not _problem_of(port):
            return port
    raise OperatorError(problem=f"No port from {among[0]} to {among[-1]} is free; give another range with SECURECART_PORTS.")


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower() + (f" ({error.filename})" if error.filename else "")
