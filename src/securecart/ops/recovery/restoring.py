"""Base backups and log out of the archive into a folder: planned first, then fetched and checked on the way.

Nothing outside that folder is touched. `FOLDER.log` holds the log as whole segment files under PostgreSQL's own names, so
that `restore_command` is a plain copy; the newest segment is filled up with zeros.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec
from msgspec import Struct

from securecart.errors import RecoveryRefused
from securecart.ops.recovery.branches import Leg, branch_at, legs_of
from securecart.ops.recovery.fetching import Fetching, Tell, all_of, unpack, write_histories
from securecart.ops.recovery.holdings import base_for, known_of, reaches_of, survey
from securecart.ops.recovery.log_plan import Segment, enough_for, log_plan
from securecart.ops.recovery.model import SEGMENT_BYTES, Base, Holdings, Moment, Site
from securecart.ops.recovery.programs import has_incrementals, links, programs_for, run_program
from securecart.ops.recovery.reach import chain_in

__all__ = ["Restored", "Tell", "join", "lay_out_more", "log_of", "newest_survey", "parts_of", "restore", "unpack"]

# A moment that has only just passed is in the archive a little later.
ARCHIVED_WITHIN_S = 10.0
LOOK_AGAIN_S = 0.25
MB = 1_000_000


class Restored(Struct, frozen=True):
    """A data folder as its base backup left it, and the log beside it that leads to any moment up to `until` (or `end_lsn`)."""

    folder: Path
    log: Path
    timeline: int
    legs: tuple[Leg, ...]
    bases: tuple[Base, ...]
    segments: tuple[Segment, ...]
    end_lsn: int
    until: datetime
    archive_bytes: int

    @property
    def start_lsn(self) -> int:
        """Where replay begins."""
        return self.bases[-1].start_lsn


async def newest_survey(site: Site, moment: Moment) -> Holdings:
    """What the archive holds; a moment that has only just passed is waited for, as long as the archive still grows."""
    waited = 0.0
    while True:
        holdings = await asyncio.to_thread(survey, site.archive)
        if moment.at is None or holdings.beat is None or holdings.beat.at >= moment.at:
            return holdings
        fresh = datetime.now(UTC) - holdings.beat.at < timedelta(seconds=ARCHIVED_WITHIN_S)
        if not fresh or waited >= ARCHIVED_WITHIN_S:
            return holdings
        waited += LOOK_AGAIN_S
        await asyncio.sleep(LOOK_AGAIN_S)


def log_of(folder: Path) -> Path:
    """The folder of the log that belongs to a restored data folder."""
    return folder.with_name(f"{folder.name}.log")


def parts_of(folder: Path) -> Path:
    """Where backups are unpacked before they are joined to this data folder."""
    return folder.with_name(f"{folder.name}.parts")


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
    left where it is. What was in these folders goes.
    """
    bases = chain_in(known_of(holdings), base_for(holdings, moment))
    legs = legs_of(holdings.forks, branch_at(holdings, moment))
    plan, until = log_plan(holdings, legs, bases[-1].start_lsn), _reaches_until(holdings, bases[-1], moment)
    if up_to is not None:
        enough = enough_for(holdings.bases, legs, up_to)
        plan, until = [segment for segment in plan if segment.start < enough], min(until, up_to)
    programs = programs_for(site)
    if len(bases) > 1 and not await asyncio.to_thread(has_incrementals, programs):
        raise RecoveryRefused(
            problem=f"The backup {bases[-1].label} is incremental, and PostgreSQL's programs in {programs} cannot join it "
            "with its full one; use version 17 or newer."
        )
    log, parts = log_of(into), parts_of(into)
    await asyncio.to_thread(_empty, into, log, parts)
    await asyncio.to_thread(_see_room, into, bases, plan)
    folders = [parts / one.label for one in bases] if len(bases) > 1 else [into]
    fetching = Fetching(site.archive, sum(one.archive_bytes for one in bases) + _bytes_of(plan), tell)
    await all_of(
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
    return Restored(into, log, legs[-1].timeline, tuple(legs), bases, tuple(plan), plan[-1].end, until, fetching.whole)


async def lay_out_more(site: Site, holdings: Holdings, restored: Restored, moment: Moment, tell: Tell) -> Restored:
    """Fetch the log that the archive has got since, up to the moment; `RecoveryRefused` where it went another way."""
    base_for(holdings, moment)  # refuses what the window does not hold
    legs = tuple(legs_of(holdings.forks, branch_at(holdings, moment)))
    if legs != restored.legs:
        raise RecoveryRefused(
            problem=f"The database went on another timeline before {moment.in_words} than the server aside follows. Begin anew."
        )
    until = _reaches_until(holdings, restored.bases[-1], moment)
    plan = log_plan(holdings, legs, restored.start_lsn)
    more = [segment for segment in plan if segment.end > restored.end_lsn]
    fetching = Fetching(site.archive, _bytes_of(more), tell)
    await all_of([partial(fetching.segment, one, legs, restored.log) for one in more])
    return msgspec.structs.replace(restored, segments=tuple(plan), end_lsn=plan[-1].end, until=until)


async def join(programs: Path, folders: list[Path], into: Path) -> None:
    """Make one whole data folder of a full backup and the incremental ones on it."""
    command: list[str | Path] = [programs / "pg_combinebackup", "--no-sync", "-o", into]
    command += ["--link"] if await links(programs) else []
    await run_program([*command, *folders], what=f"joining {', '.join(folder.name for folder in folders)}")


def _reaches_until(holdings: Holdings, base: Base, moment: Moment) -> datetime:
    """The last moment that is reached from this base along the branch on which the moment is."""
    reaches = [reach for _, found in reaches_of(holdings) for reach in found if reach.base.label == base.label]
    if moment.at is not None:
        reaches = [reach for reach in reaches if reach.has(moment.at)]
    if not reaches:
        raise RecoveryRefused(
            problem=f"From the backup {base.label} on, the log has a hole before {moment.in_words}; `securecart backup list` "
            "shows the gaps. Begin anew: another backup leads there."
        )
    return reaches[-1].until


def _bytes_of(plan: Sequence[Segment]) -> int:
    return sum(part.piece.bytes for segment in plan for part in segment.parts)


def _see_room(into: Path, bases: Sequence[Base], plan: Sequence[Segment]) -> None:
    """`RecoveryRefused` before a disk is filled up: the data, what is joined, the log and the server's own copy of it."""
    data = bases[0].database_bytes + (bases[-1].database_bytes if len(bases) > 1 else 0)
    needed = data + 2 * SEGMENT_BYTES * len(plan)
    free = shutil.disk_usage(into).free
    if free < needed:
        raise RecoveryRefused(
            problem=f"Restoring needs up to {needed / MB:,.0f} MB in {into.parent}, and {free / MB:,.0f} MB are free. "
            "Free some, and repeat the command."
        )


def _empty(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
