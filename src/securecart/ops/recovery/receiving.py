"""The log is received: PostgreSQL's own pg_receivewal as a child, and how far what it has written really reaches.

A segment that it still writes is a file of full length from the start, so its size says nothing. What it has written is where
its own descriptor stands, which Linux tells of every process; elsewhere it flushes each batch and the server is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path

from msgspec import Struct

from securecart.engines.postgres_roles import ARCHIVER, REPLICATION
from securecart.ops.recovery.nodes import Node, Position
from securecart.ops.recovery.programs import mortal
from securecart.ops.recovery.segments import Segment, segment_of
from securecart.telemetry import log

__all__ = ["PARTIAL", "Place", "Receiver"]

PARTIAL = ".partial"
PROCESSES = Path("/proc")
CONNECT_WITHIN_S = 3
ENDS_WITHIN_S = 3.0
STATUS_EVERY_S = 1
PAUSE_S, PAUSE_MAX_S = 0.2, 2.0
WORDS_MAX = 1000
# What the server says when it does not have the log any more that it is asked for.
REMOVED = "has already been removed"


class Place(Struct, frozen=True, order=True):
    """How far the log was received: up to `lsn` on `timeline`."""

    timeline: int
    lsn: int


class Receiver:
    """One stream from the writer into `folder`; started again by its owner whenever it has ended."""

    def __init__(self, programs: Path, folder: Path, *, waited_for: bool) -> None:
        self.folder = folder
        self.words = ""
        self.node: Node | None = None
        self._program = programs / "pg_receivewal"
        self._asks_server = not (PROCESSES / "self" / "fdinfo").exists()
        self._flushes = waited_for or self._asks_server
        self._child: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._began = 0.0
        self._pause_s = 0.0

    @property
    def runs(self) -> bool:
        """Whether the stream's process lives."""
        return self._child is not None and self._child.returncode is None

    @property
    def was_refused(self) -> bool:
        """Whether it ended because the server no longer has what it was asked for."""
        return REMOVED in self.words

    @property
    def due(self) -> bool:
        """Whether it is time to start it again: at once after a long run, later and later after short ones."""
        return not self.runs and time.monotonic() > self._began + self._pause_s

    async def start(self, node: Node, passwords: Path) -> None:
        """Begin to receive from the node that takes writes, where the newest file in the folder ends."""
        self._pause_s = min(PAUSE_MAX_S, self._pause_s * 2 + PAUSE_S)
        self._began = time.monotonic()
        self.words, self.node = "", node
        where = (
            f"host={node.host} port={node.port} user={REPLICATION} application_name={ARCHIVER} "
            f"target_session_attrs=read-write connect_timeout={CONNECT_WITHIN_S} "
            "keepalives_idle=3 keepalives_interval=1 keepalives_count=3"
        )
        self._child = await asyncio.create_subprocess_exec(
            *mortal(self._command(where)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PGPASSFILE": str(passwords), "LC_ALL": "C"},
        )
        self._listening = asyncio.create_task(self._listen(self._child))

    def _command(self, where: str) -> list[str | Path]:
        return [
            *(self._program, "--directory", self.folder, "--dbname", where, "--slot", ARCHIVER),
            *("--no-loop", "--no-password", "--status-interval", str(STATUS_EVERY_S)),
            *(("--synchronous",) if self._flushes else ()),
        ]

    async def stop(self) -> None:
        """End the stream; what it wrote stays in the folder."""
        if self._child is not None and self._child.returncode is None:
            self._child.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._child.wait(), ENDS_WITHIN_S)
            if self._child.returncode is None:
                self._child.kill()
                await self._child.wait()
        if self._listening is not None:
            await self._listening

    def place(self, position: Position | None) -> Place | None:
        """How far it has received, where that is known at this moment: what is before it is in the folder's files."""
        if self._child is None or not self.runs:
            return None
        if self._asks_server:
            written = position.written if position is not None else None
            return Place(position.timeline, written) if position is not None and written else None
        return self._written(self._child.pid) or self._between_segments()

    def stands_well(self) -> None:
        """It was seen to receive: the next time it ends it is started again at once."""
        self._pause_s = 0.0

    def _written(self, pid: int) -> Place | None:
        """Where the descriptor of the file that it writes stands; asked again when it took another file meanwhile."""
        folder = PROCESSES / str(pid)
        with contextlib.suppress(OSError):
            for link in (folder / "fd").iterdir():
                target = _target(link)
                found = segment_of(target.name) if target is not None and target.parent == self.folder else None
                if found is None:
                    continue
                told = (folder / "fdinfo" / link.name).read_text()
                if _target(link) == target:
                    return Place(found[0].timeline, found[0].start + int(told.split("pos:", 1)[1].split(None, 1)[0]))
        return None

    def _between_segments(self) -> Place | None:
        """The end of the newest file, where that is a whole one: the next is opened with the first byte for it."""
        newest = max(self.files(), default=None)
        return None if newest is None or newest[1] else Place(newest[0].timeline, newest[0].end)

    def files(self) -> list[tuple[Segment, bool]]:
        """The segments in the folder, and of each whether it is only partly written."""
        return [found for file in self.folder.iterdir() if (found := segment_of(file.name)) is not None]

    async def _listen(self, child: asyncio.subprocess.Process) -> None:
        assert child.stderr is not None
        async for line in child.stderr:
            self.words = f"{self.words} {line.decode(errors='replace').strip()}".strip()[-WORDS_MAX:]
        await child.wait()
        log.info("the log's stream has ended", words=self.words)


def _target(link: Path) -> Path | None:
    try:
        return link.readlink()
    except OSError:
        return None
