"""A backup is read from end to end: every object of it, every file in it against its manifest, and the log that follows it.

Whatever is wrong is named, and looking goes on. Nothing in the archive changes but when a base was last found sound.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil
from msgspec import Struct

from securecart.errors import ArchiveAway, ArchiveDamaged, ArchiveMissing, ArchiveUnusable, DiskFull, RecoveryRefused
from securecart.ops.recovery.holdings import survey
from securecart.ops.recovery.model import Base, Gap, Holdings, Piece, Site, lsn_in_words
from securecart.ops.recovery.programs import has_incrementals, programs_for, run_program
from securecart.ops.recovery.reach import chain_in, segment_start
from securecart.ops.recovery.restoring import Tell, join, unpack
from securecart.stores.archive import Archive

__all__ = ["Finding", "Verified", "VerifiedLog", "verify_bases", "verify_log", "wanted_bases"]

READS_AT_ONCE = 3
LOOKS_AGAIN = 3
MB = 1_000_000


class Finding(Struct, frozen=True):
    """Something that is wrong: which object or which stretch of log, and what it is."""

    name: str
    what: str


class Verified(Struct, frozen=True):
    """What was found of a base; with findings it is not sound."""

    label: str
    chain: tuple[str, ...]
    findings: tuple[Finding, ...]
    seconds: float
    verified_at: datetime | None = None


class VerifiedLog(Struct, frozen=True):
    """What was found of the log since a place, until the newest moment."""

    since: str
    until: str
    objects: int
    bytes: int
    findings: tuple[Finding, ...]
    seconds: float


def wanted_bases(holdings: Holdings, label: str | None, *, every: bool) -> list[Base]:
    """All bases, the one of this label (or the only one whose label begins so), or the newest; `RecoveryRefused`."""
    if not holdings.bases:
        raise RecoveryRefused(problem="There is no backup in the archive yet. Take one with `securecart backup now`.")
    if every:
        return list(holdings.bases)
    if label is None:
        return [holdings.bases[-1]]
    found = [base for base in holdings.bases if base.label == label] or [
        base for base in holdings.bases if base.label.startswith(label)
    ]
    if len(found) != 1:
        many = f"{len(found)} backups begin" if found else "No backup begins"
        raise RecoveryRefused(problem=f"{many} with {label!r}. `securecart backup list` shows their labels.")
    return found


async def verify_bases(site: Site, holdings: Holdings, bases: Sequence[Base], tell: Tell) -> list[Verified]:
    """Unpack each base and those under it into a scratch folder, which goes afterwards, and check every file of them."""
    found: dict[str, Verified] = {}
    for base in reversed(bases):  # the newest first: with it those that it stands on are checked too
        if base.label not in found:
            found |= {one.label: one for one in await _verify_chain(site, holdings, base, tell)}
    return [found[base.label] for base in bases]


async def _verify_chain(site: Site, holdings: Holdings, base: Base, tell: Tell) -> list[Verified]:
    """A base with all that it stands on, the full one first; what is wrong with one is wrong with all that stand on it."""
    chain = chain_in({one.label: one for one in holdings.bases}, base)
    if not chain:
        what = "it is incremental, and one that it stands on is missing"
        return [Verified(base.label, (base.label,), (Finding(f"base/{base.label}", what),), 0.0)]
    scratch = await asyncio.to_thread(_scratch, site, sum(one.database_bytes for one in chain))
    labels, findings, verified = [], [], []
    try:
        for one in chain:
            began = time.perf_counter()
            labels.append(one.label)
            findings += await _found_in(site, one, scratch / one.label, tell)
            if one is base and len(chain) > 1 and not findings:
                findings += await _joined(site, [scratch / label for label in labels], scratch / "joined", tell)
            at = datetime.now(UTC).replace(microsecond=0) if not findings else None
            if at is not None:
                await asyncio.to_thread(_note, site.archive, one, at)
            seconds = round(time.perf_counter() - began, 3)
            verified.append(Verified(one.label, tuple(labels), tuple(findings), seconds, at))
    finally:
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
    return verified


async def verify_log(site: Site, holdings: Holdings, bases: Sequence[Base], tell: Tell) -> VerifiedLog:
    """Read all of the log since the oldest of these bases began, and look for holes in it."""
    began = time.perf_counter()
    since = segment_start(min(base.start_lsn for base in bases))
    reading = _ReadingLog(site.archive, tell)
    pieces = [piece for piece in holdings.pieces if piece.end > since]
    await reading.read(pieces)
    for _ in range(LOOKS_AGAIN):
        if not reading.gone:
            break
        # several became one in the meantime; what is missing is so when one looks again
        holdings = await asyncio.to_thread(survey, site.archive)
        gone, reading.gone = reading.gone, []
        await reading.read([piece for piece in holdings.pieces if any(_overlap(piece, one) for one in gone)])
    findings = reading.findings + [_missing(gap) for gap in holdings.gaps if gap.end > since]
    if holdings.beat is None:
        findings.append(Finding("beat", "it is missing or damaged: how far the archive reaches is not known"))
    return VerifiedLog(
        since=lsn_in_words(since),
        until=lsn_in_words(max((piece.end for piece in pieces), default=since)),
        objects=reading.objects,
        bytes=reading.bytes,
        findings=tuple(sorted(findings, key=lambda one: one.name)),
        seconds=round(time.perf_counter() - began, 3),
    )


async def _found_in(site: Site, base: Base, folder: Path, tell: Tell) -> list[Finding]:
    """What is wrong with one base's objects, and with its files."""
    tell(f"Reading {base.label}: {base.archive_bytes / MB:,.0f} MB")
    findings = await asyncio.to_thread(_unpacked, site.archive, base, folder)
    if findings:
        return findings
    tell(f"Checking each file of {base.label}")
    return await _checked(site, folder, f"base/{base.label}/data")


async def _joined(site: Site, folders: list[Path], into: Path, tell: Tell) -> Iterable[Finding]:
    """Whether the incremental bases make a whole database together with their full one."""
    programs, name = programs_for(site), f"base/{folders[-1].name}"
    if not has_incrementals(programs):
        return [Finding(name, f"PostgreSQL's programs in {programs} cannot join it with its full one; use version 17 or newer")]
    tell(f"Joining {len(folders)} backups")
    try:
        await join(programs, folders, into)
    except RecoveryRefused as error:
        return [Finding(name, str(error))]
    tell("Checking each file of the whole")
    return await _checked(site, into, name)


async def _checked(site: Site, folder: Path, name: str) -> list[Finding]:
    try:
        # the log is not in the copy, it is read for itself
        await run_program([programs_for(site) / "pg_verifybackup", "--no-parse-wal", folder], what=folder.name)
    except RecoveryRefused as error:
        return [Finding(name, str(error))]
    return []


def _scratch(site: Site, needed: int) -> Path:
    """A folder of our own with so much room, after what killed runs left was cleared; `DiskFull`."""
    above = site.home.data("verifying")
    for left in above.iterdir():
        if not psutil.pid_exists(int(left.name.partition("-")[0])):
            shutil.rmtree(left, ignore_errors=True)
    free = shutil.disk_usage(above).free
    if free < needed:
        raise DiskFull(home=str(above), free_mb=free // MB, needed_mb=needed // MB)
    return Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=above))


def _unpacked(archive: Archive, base: Base, folder: Path) -> list[Finding]:
    """Read a base's objects to their ends; what is damaged or missing. An archive that is away is no finding."""
    findings, contents = [], {}
    for name in (f"base/{base.label}/{part}" for part in ("about", "manifest")):
        try:
            contents[name] = archive.read(name)
        except (ArchiveDamaged, ArchiveMissing) as error:
            findings.append(Finding(name, str(error)))
    data = f"base/{base.label}/data"
    folder.mkdir(mode=0o700, parents=True)
    try:
        with archive.open(data) as stream:
            unpack(stream, folder)
            while stream.read(MB):  # a tar ends before its object does
                pass
    except (ArchiveDamaged, ArchiveMissing) as error:
        findings.append(Finding(data, str(error)))
    except tarfile.TarError as error:
        findings.append(Finding(data, f"it is no stream of files: {error}"))
    within, manifest = folder / "backup_manifest", f"base/{base.label}/manifest"
    if not findings and (not within.is_file() or within.read_bytes() != contents[manifest]):
        findings.append(Finding(manifest, "it is not the one that lies in the backup"))
    return findings


class _ReadingLog:
    """Pieces of log read to their ends, a few at a time; `gone` are those that were not there."""

    def __init__(self, archive: Archive, tell: Tell) -> None:
        self.findings: list[Finding] = []
        self.gone: list[Piece] = []
        self.objects = self.bytes = self._whole = 0
        self._archive = archive
        self._tell = tell
        self._free = asyncio.Semaphore(READS_AT_ONCE)

    async def read(self, pieces: Sequence[Piece]) -> None:
        self._whole += sum(piece.bytes for piece in pieces)
        await asyncio.gather(*(self._one(piece) for piece in pieces))

    async def _one(self, piece: Piece) -> None:
        async with self._free:
            try:
                size = await asyncio.to_thread(self._archive.check, piece.name)
            except ArchiveMissing:
                self.gone.append(piece)
                return
            except ArchiveDamaged as error:
                self.findings.append(Finding(piece.name, str(error)))
                return
        if size != piece.end - piece.start:
            self.findings.append(Finding(piece.name, f"it holds {size:,} bytes and not {piece.end - piece.start:,}"))
        self.objects += 1
        self.bytes += piece.bytes
        self._tell(f"Reading the log: {self.bytes / MB:,.0f} of {self._whole / MB:,.0f} MB")


def _overlap(one: Piece, other: Piece) -> bool:
    return one.timeline == other.timeline and one.start < other.end and other.start < one.end


def _missing(gap: Gap) -> Finding:
    places = f"log from {lsn_in_words(gap.start)} to {lsn_in_words(gap.end)} of timeline {gap.timeline}"
    return Finding(places, "it is not in the archive")


def _note(archive: Archive, base: Base, verified_at: datetime) -> None:
    """Write down when the base was found sound, unless it was removed in the meantime: then it must not seem to be there."""
    name = f"base/{base.label}/about"
    try:
        known = msgspec.json.decode(archive.read(name), type=Base)
        archive.put(name, msgspec.json.encode(msgspec.structs.replace(known, verified_at=verified_at)))
        if not any(found == f"base/{base.label}/data" for found, _ in archive.names(f"base/{base.label}/")):
            archive.remove([name])
    except ArchiveAway:
        raise
    except ArchiveUnusable:  # an archive that may be read and not written is sound all the same
        return
