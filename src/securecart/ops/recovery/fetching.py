"""Backups and log come out of the archive into folders, a few objects at a time, and what is wrong with one is named."""

from __future__ import annotations

import asyncio
import tarfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import msgspec

from securecart.errors import ArchiveDamaged, ArchiveMissing
from securecart.ops.recovery.branches import Leg, legs_of, newest_timeline
from securecart.ops.recovery.holdings import pieces_in
from securecart.ops.recovery.log_plan import Part, Segment, joined, parts_on
from securecart.ops.recovery.model import SEGMENT_BYTES, Base, Holdings, lsn_in_words, segment_name
from securecart.stores.archive import Archive

__all__ = ["Fetching", "Tell", "all_of", "unpack", "write_histories"]

# Told what is being done and how far it is, in a sentence without a stop.
Tell = Callable[[str], None]

FETCHES_AT_A_TIME = 3
LOOKS_AGAIN = 3
COPY_BYTES = 1024 * 1024
MB = 1_000_000


class Fetching:
    """What is fetched, counted over all threads."""

    def __init__(self, archive: Archive, whole: int, tell: Tell) -> None:
        self.archive = archive
        self.whole = whole
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
        return joined(list(parts_on(pieces_in(sizes), legs)), segment.start)

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


async def all_of(tasks: list[Callable[[], None]]) -> None:
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
