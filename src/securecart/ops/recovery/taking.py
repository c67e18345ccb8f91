"""A base backup is taken: copied from a standby where there is one, verified, and put into the archive.

The log that was written meanwhile is in the archive already, so the copy is taken without it. What was begun and not
finished is nothing: a base without its `about` does not exist, and its parts are removed before the next.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import Literal, TypeVar

import msgspec
from msgspec import Struct, field

from securecart.errors import ArchiveDamaged, ArchiveLocked, ArchiveMissing, RecoveryRefused
from securecart.ops.recovery.copying import SPARE_BYTES, Copy, CopyFailed, Tell, copy, this_thread_goes_last
from securecart.ops.recovery.model import Base, Site, lsn_of
from securecart.ops.recovery.nodes import Node, Nodes, Position
from securecart.ops.recovery.packing import put_folder
from securecart.ops.recovery.programs import has_incrementals, programs_for, run_program
from securecart.telemetry import log

__all__ = ["BASES", "Kind", "Taker", "Wanted"]

T = TypeVar("T")
Kind = Literal["full", "incremental"]
ENDINGS: dict[Kind, str] = {"full": "full", "incremental": "incr"}
BASES = "base"
MB = 1_000_000
# Room for the copy beside the database.
ROOM = 1.1


class Wanted(Struct, frozen=True):
    """Which base is to be taken: of this kind, on top of `parent`; `hurry`: begin at once, though its checkpoint is felt."""

    kind: Kind
    parent: Base | None = None
    hurry: bool = False


class Range(Struct, frozen=True, rename={"timeline": "Timeline", "start": "Start-LSN", "end": "End-LSN"}):
    """A stretch of log as PostgreSQL's backup manifest has it."""

    timeline: int
    start: str
    end: str


class Manifest(Struct, frozen=True):
    """Of PostgreSQL's backup manifest what is needed here: the log without which the copy is not whole."""

    ranges: tuple[Range, ...] = field(name="WAL-Ranges")


class Copied(Struct, frozen=True):
    """A verified copy in the staging folder, and what is known of it."""

    kind: Kind
    parent: str
    source: Node
    began: Position
    ended: Position
    next_xid: int
    manifest: bytes
    log: Range


class Taker:
    """Takes bases for one archive, one at a time; `arrived` waits until the archive has a timeline's log up to a place."""

    def __init__(self, site: Site, arrived: Callable[[int, int], Awaitable[None]]) -> None:
        self.site = site
        self.nodes = Nodes(site.home)
        self._programs = programs_for(site)
        self._staging = site.home.data("archiver") / "staging"
        self._arrived = arrived
        self._one_at_a_time = asyncio.Lock()
        self._hurried = asyncio.Event()
        self._given_up = threading.Event()
        self._last = ThreadPoolExecutor(1, "base backup", initializer=this_thread_goes_last)

    async def take(self, wanted: Wanted, tell: Tell) -> Base:
        """Take a base; one that cannot be incremental is taken in full. Raises what keeps it from being taken."""
        if wanted.hurry:
            self._hurried.set()  # the one that is under way is hurried too
        async with self._one_at_a_time:
            if not wanted.hurry:
                self._hurried.clear()
            began = asyncio.get_running_loop().time()
            try:
                await self._in_thread(self._clear)
                copied = await self._copy(wanted, tell)
                tell("Waiting for the log that belongs to it")
                await self._arrived(copied.log.timeline, lsn_of(copied.log.end))
                return await self._keep(copied, began, tell)
            finally:
                await self._in_thread(partial(shutil.rmtree, self._staging, ignore_errors=True))

    def give_up(self) -> None:
        """Have the thread end that puts a base, for whoever waited for it does not any more."""
        self._given_up.set()

    async def _copy(self, wanted: Wanted, tell: Tell) -> Copied:
        """Copy and verify, in the best way that works."""
        problem: RecoveryRefused | None = None
        for kind, source in await self._ways(wanted):
            try:
                return await self._copy_so(kind, source, wanted, tell)
            except CopyFailed as failed:
                log.warning("a base backup could not be taken so", kind=kind, source=source.name, problem=str(failed))
                tell(f"It could not be {kind} from {source.name}: {failed}")
                problem = failed
        assert problem is not None
        raise problem

    async def _ways(self, wanted: Wanted) -> list[tuple[Kind, Node]]:
        """How it may be done, the best first: from a standby before the writer, and in full at last."""
        await self.nodes.ask()
        standbys = await self.nodes.standbys()
        sources = [*standbys[:1], *([self.nodes.writer] if self.nodes.writer is not None else [])]
        can = wanted.parent is not None and await asyncio.to_thread(has_incrementals, self._programs)
        kinds: list[Kind] = ["incremental", "full"] if wanted.kind == "incremental" and can else ["full"]
        return [(kind, source) for kind in kinds for source in sources]

    async def _copy_so(self, kind: Kind, source: Node, wanted: Wanted, tell: Tell) -> Copied:
        folder, parents = self._staging / "copy", self._staging / "parent"
        await self._in_thread(partial(shutil.rmtree, folder, ignore_errors=True))
        self._staging.mkdir(mode=0o700, parents=True, exist_ok=True)
        parent = wanted.parent if kind == "incremental" else None
        if parent is None:
            await self._check_room()
        else:
            try:
                manifest = await asyncio.to_thread(self.site.archive.read, f"{BASES}/{parent.label}/manifest")
            except (ArchiveMissing, ArchiveDamaged, ArchiveLocked) as problem:
                raise CopyFailed(problem=f"What the base before held is not known: {problem}") from problem
            parents.write_bytes(manifest)
        began = await self.nodes.ask()
        # A standby's checkpoint holds up nobody who buys.
        hurry = wanted.hurry or source != self.nodes.writer
        asked = Copy(source, folder, self.site.settings.backup_rate_mb, hurry, parents if parent is not None else None)
        tell("Waiting for the checkpoint that a copy begins with")
        await copy(self.nodes, self._programs, asked, tell, self._hurried)
        ended, next_xid = await self.nodes.ask(), await self.nodes.next_xid()
        tell("Verifying every file of the copy")
        try:
            # The log is not in the copy but in the archive, which checks each of its objects itself.
            await run_program([self._programs / "pg_verifybackup", "--no-parse-wal", "--exit-on-error", folder], what="the copy")
        except RecoveryRefused as problem:
            raise CopyFailed(problem=str(problem)) from problem
        manifest = await asyncio.to_thread((folder / "backup_manifest").read_bytes)
        ranges = msgspec.json.decode(manifest, type=Manifest).ranges
        if {began.timeline, ended.timeline} != {one.timeline for one in ranges}:
            raise CopyFailed(problem="Another node took over while the database's files were copied.")
        return Copied(kind, parent.label if parent is not None else "", source, began, ended, next_xid, manifest, ranges[0])

    async def _keep(self, copied: Copied, began: float, tell: Tell) -> Base:
        """Put the copy into the archive, what it is last."""
        archive = self.site.archive
        label = await asyncio.to_thread(self._free_label, copied.began.at, copied.kind)
        loop = asyncio.get_running_loop()

        def so_far(size: int) -> None:
            loop.call_soon_threadsafe(tell, f"Putting it into the archive: {size / MB:,.0f} MB so far")

        data = f"{BASES}/{label}/data"
        archive_bytes = await self._in_thread(partial(put_folder, archive, data, self._staging / "copy", so_far, self._given_up))
        archive_bytes += await asyncio.to_thread(archive.put, f"{BASES}/{label}/manifest", copied.manifest)
        base = Base(
            label=label,
            kind=copied.kind,
            parent=copied.parent,
            timeline=copied.log.timeline,
            start_lsn=lsn_of(copied.log.start),
            stop_lsn=lsn_of(copied.log.end),
            started_at=copied.began.at,
            ended_at=copied.ended.at,
            database_bytes=await self.nodes.database_bytes(),
            archive_bytes=archive_bytes,
            source=f"{'writer' if copied.source == self.nodes.writer else 'standby'} {copied.source.name}",
            next_xid=copied.next_xid,
            seconds=round(loop.time() - began, 1),
        )
        await asyncio.to_thread(archive.put, f"{BASES}/{label}/about", msgspec.json.encode(base))
        return base

    async def _check_room(self) -> None:
        needed = int(await self.nodes.database_bytes() * ROOM) + SPARE_BYTES
        free = (await asyncio.to_thread(shutil.disk_usage, self._staging)).free
        if free < needed:
            raise RecoveryRefused(
                problem=f"A base backup of the database needs {needed // MB:,} MB beside it for a while, and the disk that holds "
                f"{self._staging} has {free // MB:,} MB left. Free some, or have the home on a larger disk."
            )

    def _clear(self) -> None:
        """Remove what a base that was never finished left here and in the archive."""
        shutil.rmtree(self._staging, ignore_errors=True)
        names = [name for name, _ in self.site.archive.names(f"{BASES}/")]
        whole = {name.split("/")[1] for name in names if name.endswith("/about")}
        if halves := [name for name in names if name.split("/")[1] not in whole]:
            log.info("what a base backup left that was never finished is removed", names=halves)
            self.site.archive.remove(halves)

    def _free_label(self, at: datetime, kind: Kind) -> str:
        taken = {name.split("/")[1] for name, _ in self.site.archive.names(f"{BASES}/")}
        return next(label for label in _labels(at, kind) if label not in taken)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        """What is long and can wait, in the one thread that comes last."""
        return await asyncio.get_running_loop().run_in_executor(self._last, call)


def _labels(at: datetime, kind: Kind) -> Iterator[str]:
    while True:
        yield f"{at:%Y%m%dT%H%M%SZ}-{ENDINGS[kind]}"
        at += timedelta(seconds=1)
