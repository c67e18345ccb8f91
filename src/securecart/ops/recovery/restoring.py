"""Base backups and log out of the archive into a folder: planned with every hole found first, then fetched and checked.

Nothing outside that folder is touched. `FOLDER.log` holds the log as whole segment files under PostgreSQL's own names, so
that `restore_command` is a plain copy; the newest segment is filled up with zeros.
"""

from __future__ import annotations

import asyncio
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import IO

from msgspec import Struct

from securecart.errors import ArchiveDamaged, RecoveryRefused
from securecart.ops.recovery.branches import Leg, branch_at, legs_of, newest_timeline
from securecart.ops.recovery.model import SEGMENT_BYTES, Base, Holdings, Moment, Piece, Site, lsn_in_words, segment_name
from securecart.ops.recovery.programs import has_incrementals, links, programs_for, run_program
from securecart.ops.recovery.standin import base_for
from securecart.stores.archive import Archive

__all__ = ["Restored", "Segment", "Tell", "log_of", "log_plan", "restore"]

# Told what is being done and how far it is, in a sentence without a stop.
Tell = Callable[[str], None]

FETCHES_AT_A_TIME = 3
COPY_BYTES = 1024 * 1024
MB = 1_000_000


class Restored(Struct, frozen=True):
    """A data folder as its base backup left it, and the log beside it that leads to any moment up to `end_lsn`."""

    folder: Path
    log: Path
    timeline: int
    legs: tuple[Leg, ...]
    bases: tuple[Base, ...]
    end_lsn: int
    archive_bytes: int

    @property
    def start_lsn(self) -> int:
        """Where replay begins."""
        return self.bases[-1].start_lsn


class Segment(Struct, frozen=True):
    """A segment file to be laid out: which pieces it is joined from, and the first byte that is not log any more."""

    name: str
    start: int
    end: int
    pieces: tuple[Piece, ...]


def log_of(folder: Path) -> Path:
    """The folder of the log that belongs to a restored data folder."""
    return folder.with_name(f"{folder.name}.log")


def log_plan(holdings: Holdings, legs: Iterable[Leg], since: int) -> list[Segment]:
    """The segments of these stretches of log from `since` on; `RecoveryRefused` names the first hole in them."""
    plan = []
    for leg in legs:
        mine = [piece for piece in holdings.pieces if piece.timeline == leg.timeline]
        reach = max((piece.end for piece in mine), default=leg.start)
        end = reach if leg.end is None else leg.end
        begin = max(since, leg.start)
        for start in range(begin - begin % SEGMENT_BYTES, end, SEGMENT_BYTES):
            stop = min(start + SEGMENT_BYTES, end)
            inside = [piece for piece in mine if piece.start < stop and piece.end > start]
            plan.append(Segment(segment_name(leg.timeline, start), start, stop, _joined(inside, max(start, begin), stop)))
    return plan


def _joined(pieces: list[Piece], start: int, stop: int) -> tuple[Piece, ...]:
    """The fewest pieces that cover the stretch without a hole."""
    chosen: list[Piece] = []
    reached = start
    while reached < stop:
        following = [piece for piece in pieces if piece.start <= reached < piece.end]
        if not following:
            raise RecoveryRefused(
                problem=f"The archive has a hole in the log at {lsn_in_words(reached)}; moments beyond it cannot be reached "
                "from the backup before it. `securecart backup list` shows the window and its gaps."
            )
        chosen.append(max(following, key=lambda piece: piece.end))
        reached = chosen[-1].end
    return tuple(chosen)


async def restore(site: Site, holdings: Holdings, moment: Moment, into: Path, tell: Tell, *, verify: bool = False) -> Restored:
    """Fetch what leads to the moment: data into `into`, log beside it. Whatever is missing or damaged is named here.

    `verify` reads every file of the backups once more against its manifest. What was in these folders goes.
    """
    bases = chain_of(holdings, base_for(holdings, moment))
    start = bases[-1].start_lsn
    legs = legs_of(holdings.forks, branch_at(holdings, moment))
    plan = log_plan(holdings, [leg for leg in legs if leg.end is None or leg.end > start], start)
    programs = programs_for(site)
    if len(bases) > 1 and not await asyncio.to_thread(has_incrementals, programs):
        raise RecoveryRefused(
            problem=f"The backup {bases[-1].label} is incremental, and PostgreSQL's programs in {programs} cannot join it "
            "with its full one; use version 17 or newer."
        )
    log, parts = log_of(into), into.with_name(f"{into.name}.parts")
    await asyncio.to_thread(_empty, into, log, parts)
    fetching = _Fetching(site.archive, tell)
    fetching.whole = sum(one.archive_bytes for one in bases) + sum(piece.bytes for one in plan for piece in one.pieces)
    folders = [parts / one.label for one in bases] if len(bases) > 1 else [into]
    await _all(
        [
            *(partial(fetching.base, one, folder) for one, folder in zip(bases, folders, strict=True)),
            *(partial(fetching.segment, one, log) for one in plan),
            partial(fetching.histories, holdings, log, [leg.timeline for leg in legs]),
        ]
    )
    if verify:
        for one, folder in zip(bases, folders, strict=True):
            tell(f"Checking {one.label} against its manifest")
            await run_program([programs / "pg_verifybackup", "--no-parse-wal", "--exit-on-error", folder], what=one.label)
    if len(bases) > 1:
        tell(f"Joining {len(bases)} backups")
        await _join(programs, folders, into)
    await asyncio.to_thread(shutil.rmtree, parts, ignore_errors=True)
    return Restored(into, log, legs[-1].timeline, tuple(legs), tuple(bases), max(one.end for one in plan), fetching.whole)


def chain_of(holdings: Holdings, base: Base) -> list[Base]:
    """The full backup that this one stands on, those between, and itself; `RecoveryRefused` when one of them is not there."""
    known = {one.label: one for one in holdings.bases}
    chain = [base]
    while chain[0].kind == "incremental":
        if chain[0].parent not in known:
            raise RecoveryRefused(
                problem=f"The backup {chain[0].label} is incremental, and {chain[0].parent}, which it stands on, is not in "
                "the archive any more. Take a full one: securecart backup now --full."
            )
        chain.insert(0, known[chain[0].parent])
    return chain


async def _join(programs: Path, folders: list[Path], into: Path) -> None:
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

    def segment(self, segment: Segment, log: Path) -> None:
        """Join a segment file from its pieces; it is there whole or not at all."""
        content = bytearray(SEGMENT_BYTES)
        for piece in segment.pieces:
            with self.archive.open(piece.name) as stream:
                held = stream.read(piece.end - piece.start + 1)
            if len(held) != piece.end - piece.start:
                why = f"{piece.end - piece.start:,} bytes were expected, and it holds {len(held):,}"
                raise ArchiveDamaged(archive=self.archive.where, name=piece.name, why=why)
            content[piece.start - segment.start : piece.end - segment.start] = held
            self._count(piece.bytes)
        content[segment.end - segment.start :] = bytes(SEGMENT_BYTES - (segment.end - segment.start))
        unfinished = log / f".{segment.name}"
        unfinished.write_bytes(content)
        unfinished.replace(log / segment.name)

    def histories(self, holdings: Holdings, log: Path, needed: list[int]) -> None:
        """The history of each timeline, so that a server that leaves recovery begins one that nobody has used yet."""
        known = {fork.timeline for fork in holdings.forks}
        for timeline in range(2, newest_timeline(holdings) + 1):
            name = f"{timeline:08X}.history"
            if timeline in needed or timeline in known:
                (log / name).write_bytes(self.archive.read(f"wal/{name}"))
            else:  # one of which only the number is known; it is asked whether it exists, never what it says
                (log / name).write_text("1\t0/0\tnot in the archive\n")

    def _count(self, more: int) -> None:
        with self._counting:
            self._done += more
            self._tell(f"Fetching the backup and its log: {self._done / MB:,.0f} of {self.whole / MB:,.0f} MB")


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
