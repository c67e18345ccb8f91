"""Base backups and log out of the archive into a folder: planned with every hole found first, then fetched and checked.

Nothing outside that folder is touched. `FOLDER.log` holds the log as whole segment files under PostgreSQL's own names, so
that `restore_command` is a plain copy; the newest segment is filled up with zeros.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tarfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Struct

from securecart.errors import ArchiveDamaged, ArchiveMissing, RecoveryRefused
from securecart.ops.recovery.branches import Leg, branch_at, legs_of, newest_timeline
from securecart.ops.recovery.holdings import base_for, known_of, pieces_in
from securecart.ops.recovery.model import SEGMENT_BYTES, Base, Holdings, Moment, Piece, Site, lsn_in_words, segment_name
from securecart.ops.recovery.programs import has_incrementals, links, programs_for, run_program
from securecart.ops.recovery.reach import chain_in, segment_start
from securecart.stores.archive import Archive

__all__ = ["Restored", "Segment", "Tell", "join", "log_of", "log_plan", "restore", "unpack"]

# Told what is being done and how far it is, in a sentence without a stop.
Tell = Callable[[str], None]

FETCHES_AT_A_TIME = 3
LOOKS_AGAIN = 3
COPY_BYTES = 1024 * 1024
MB = 1_000_000


class Restored(Struct, frozen=True):
    """A data folder as its base backup left it, and the log beside it that leads to any moment up to `end_lsn`."""

    folder: Path
    log: Path
    timeline: int
    legs: tuple[Leg, ...]
    bases: tuple[Base, ...]
    segments: tuple[Segment, ...]
    end_lsn: int
    archive_bytes: int

    @property
    def start_lsn(self) -> int:
        """Where replay begins."""
        return self.bases[-1].start_lsn


class Part(Struct, frozen=True):
    """What is taken of a piece: from `start` up to `end` (LSN, exclusive)."""

    piece: Piece
    start: int
    end: int


class Segment(Struct, frozen=True):
    """A segment file to be laid out: from which parts it is joined, and where the log in it ends (LSN, exclusive)."""

    name: str
    start: int
    end: int
    parts: tuple[Part, ...]


def log_of(folder: Path) -> Path:
    """The folder of the log that belongs to a restored data folder."""
    return folder.with_name(f"{folder.name}.log")


def log_plan(holdings: Holdings, legs: Sequence[Leg], since: int) -> list[Segment]:
    """The segments of a branch of the log, from the one that holds `since` on, as far as there is no hole.

    A timeline's first segment begins with what its parent wrote of it; so the file of the newest timeline stands for both, and
    what it lacks is taken from the parent's.
    """
    parts: dict[int, list[Part]] = defaultdict(list)
    for part in _parts(holdings.pieces, legs):
        parts[segment_start(part.start)].append(part)
    plan: list[Segment] = []
    start = segment_start(since)
    while chosen := _joined(parts[start], start):
        owner = max(leg.timeline for leg in legs if segment_start(leg.start) <= start)
        plan.append(Segment(segment_name(owner, start), start, chosen[-1].end, chosen))
        if chosen[-1].end < start + SEGMENT_BYTES:
            break
        start += SEGMENT_BYTES
    return plan


def enough_for(bases: Sequence[Base], legs: Sequence[Leg], time: datetime) -> int:
    """A place on the branch from which on everything is later than this time: where a base ended that began after it."""
    ends = {leg.timeline: leg.end for leg in legs}
    return min(
        (
            base.stop_lsn
            for base in bases
            if base.started_at > time and base.timeline in ends and base.stop_lsn <= (ends[base.timeline] or base.stop_lsn)
        ),
        default=sys.maxsize,
    )


def _parts(pieces: Iterable[Piece], legs: Sequence[Leg]) -> Iterable[Part]:
    """What of these pieces is on the branch."""
    by_timeline = {leg.timeline: leg for leg in legs}
    for piece in pieces:
        if (leg := by_timeline.get(piece.timeline)) is not None:
            start, end = max(piece.start, segment_start(leg.start)), piece.end if leg.end is None else min(piece.end, leg.end)
            if start < end:
                yield Part(piece, start, end)


def _joined(parts: Sequence[Part], start: int) -> tuple[Part, ...]:
    """The fewest parts that cover a segment from its start on, as far as they do."""
    chosen: list[Part] = []
    reached = start
    while following := [part for part in parts if part.start <= reached < part.end]:
        chosen.append(max(following, key=lambda part: part.end))
        reached = chosen[-1].end
    return tuple(chosen)


async def restore(
    site: Site,
    holdings: Holdings,
    moment: Moment,
    into: Path,
    tell: Tell,
    *,
    verify: bool = False,
    up_to: datetime | None = None,
) -> Restored:
    """Fetch what leads to the moment: data into `into`, log beside it. Whatever is missing or damaged is named here.

    `verify` reads every file of the backups once more against its manifest; with `up_to`, log from long after that time is
    left where it is, and later moments cannot be gone on to. What was in these folders goes.
    """
    bases = chain_in(known_of(holdings), base_for(holdings, moment))
    legs = legs_of(holdings.forks, branch_at(holdings, moment))
    plan = log_plan(holdings, legs, bases[-1].start_lsn)
    if up_to is not None:
        enough = enough_for(holdings.bases, legs, up_to)
        plan = [segment for segment in plan if segment.start < enough]
    programs = programs_for(site)
    if len(bases) > 1 and not await asyncio.to_thread(has_incrementals, programs):
        raise RecoveryRefused(
            problem=f"The backup {bases[-1].label} is incremental, and PostgreSQL's programs in {programs} cannot join it "
            "with its full one; use version 17 or newer."
        )
    log, parts = log_of(into), into.with_name(f"{into.name}.parts")
    await asyncio.to_thread(_empty, into, log, parts)
    fetching = _Fetching(site.archive, tell)
    fetching.whole = sum(one.archive_bytes for one in bases) + sum(part.piece.bytes for one in plan for part in one.parts)
    folders = [parts / one.label for one in bases] if len(bases) > 1 else [into]
    await _all(
        [
            *(partial(fetching.base, one, folder) for one, folder in zip(bases, folders, strict=True)),
            *(partial(fetching.segment, one, legs, log) for one in plan),
            partial(write_histories, holdings, log),
        ]
    )
    if verify:
        for one, folder in zip(bases, folders, strict=True):
            tell(f"Checking {one.label} against its manifest")
            await run_program([programs / "pg_verifybackup", "--no-parse-wal", "--exit-on-error", folder], what=one.label)
    if len(bases) > 1:
        tell(f"Joining {len(bases)} backups")
        await join(programs, folders, into)
    await asyncio.to_thread(shutil.rmtree, parts, ignore_errors=True)
    return Restored(into, log, legs[-1].timeline, tuple(legs), bases, tuple(plan), plan[-1].end, fetching.whole)


async def join(programs: Path, folders: list[Path], into: Path) -> None:
    """Make one whole data folder of a full backup and the incremental ones on it."""
    command: list[str | Path] = [programs / "pg_combinebackup", "--no-sync", "-o", into]
    command += ["--link"] if await links(programs) else []
    await run_program([*command, *folders], what=f"joining {', '.join(folder.name for folder in folders)}")


def _empty(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)


class _Fetching:
    """What is fetched, counted over all threads."""

    def __init__(self, archive: Archive, tell: Tell) -> None:
        self.archive = archive
        self.whole = 0
        self._tell = tell
        self._done = 0
        self._counting = threading.Lock()

    def base(self, base: Base, folder: Path) -> None:
        """Unpack a backup's stream of files."""
        name = f"base/{base.label}/data"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.archive.open(name) as stream:
            try:
                unpack(stream, folder)
            except tarfile.TarError as error:
                raise ArchiveDamaged(archive=self.archive.where, name=name, why=str(error)) from error
        for needed in ("PG_VERSION", "backup_label", "global/pg_control"):
            if not (folder / needed).is_file():
                raise ArchiveDamaged(archive=self.archive.where, name=name, why=f"{needed} is not in it")
        self._count(base.archive_bytes)

    def segment(self, segment: Segment, legs: Sequence[Leg], log: Path) -> None:
        """Join a segment file from its pieces; it is there whole or not at all.

        While the archiver works, pieces are put together and the ones before go; then the archive is asked once more.
        """
        for again in range(LOOKS_AGAIN + 1):
            try:
                content = self._content(segment)
                break
            except ArchiveMissing:
                found = self._found(segment, legs)
                if again == LOOKS_AGAIN or not found or found[-1].end < segment.end:
                    raise
                segment = msgspec.structs.replace(segment, parts=found)
        unfinished = log / f".{segment.name}"
        unfinished.write_bytes(content)
        unfinished.replace(log / segment.name)

    def _content(self, segment: Segment) -> bytearray:
        content = bytearray(SEGMENT_BYTES)
        for part in segment.parts:
            piece = part.piece
            with self.archive.open(piece.name) as stream:
                held = stream.read(piece.end - piece.start + 1)
            if len(held) != piece.end - piece.start:
                why = f"{piece.end - piece.start:,} bytes were expected, and it holds {len(held):,}"
                raise ArchiveDamaged(archive=self.archive.where, name=piece.name, why=why)
            wanted = memoryview(held)[part.start - piece.start : part.end - piece.start]
            content[part.start - segment.start : part.end - segment.start] = wanted
        self._count(sum(part.piece.bytes for part in segment.parts))
        return content

    def _found(self, segment: Segment, legs: Sequence[Leg]) -> tuple[Part, ...]:
        """The parts of a segment that are in the archive now."""
        names = (f"wal/{leg.timeline:08X}/{segment_name(leg.timeline, segment.start)}" for leg in legs)
        sizes = {name: size for prefix in names for name, size in self.archive.names(prefix)}
        return _joined(list(_parts(pieces_in(sizes), legs)), segment.start)

    def _count(self, more: int) -> None:
        with self._counting:
            self._done += more
            self._tell(f"Fetching the backup and its log: {self._done / MB:,.0f} of {self.whole / MB:,.0f} MB")


def write_histories(holdings: Holdings, log: Path) -> None:
    """Where each timeline left its parent, as PostgreSQL writes it down.

    Those that do not lead to the moment are there too, even those of which only the number is known: a server that leaves
    recovery asks which exist, and begins one that nobody has used yet.
    """
    for timeline in range(2, newest_timeline(holdings) + 1):
        legs = legs_of(holdings.forks, timeline)[:-1]
        lines = [f"{leg.timeline}\t{lsn_in_words(leg.end or 0)}\tas the archive has it\n" for leg in legs]
        (log / f"{timeline:08X}.history").write_text("".join(lines))


def unpack(stream: IO[bytes], folder: Path) -> None:
    """Write the files and folders of a tar stream below `folder`; `tarfile.TarError` when it is cut off, or leads elsewhere."""
    with tarfile.open(fileobj=stream, mode="r|", bufsize=COPY_BYTES) as archive:
        for member in archive:
            if not (member.isfile() or member.isdir()):
                raise tarfile.TarError(f"{member.name} is neither a file nor a folder")
            archive.extract(member, folder, set_attrs=False, filter="data")


async def _all(tasks: list[Callable[[], None]]) -> None:
    """Carry out blocking tasks, a few at a time; the first that fails ends the rest and is raised as itself."""
    free = asyncio.Semaphore(FETCHES_AT_A_TIME)
    ended = False

    async def one(task: Callable[[], None]) -> None:
        nonlocal ended
        async with free:
            if not ended:
                try:
                    await asyncio.to_thread(task)
                except BaseException:
                    ended = True
                    raise

    done = await asyncio.gather(*(one(task) for task in tasks), return_exceptions=True)
    failed = [error for error in done if isinstance(error, BaseException)]
    if failed:
        raise failed[0]
