"""Base backups by the timetable and by hand: what is due is taken, what is not needed any more is removed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from securecart.errors import SecureCartError
from securecart.ops.recovery.archiving import GAPS, Archiver
from securecart.ops.recovery.copying import Tell
from securecart.ops.recovery.holdings import surplus, survey
from securecart.ops.recovery.model import Base, Gap
from securecart.ops.recovery.nodes import NOT_READY
from securecart.ops.recovery.proofs import is_proving
from securecart.ops.recovery.taking import BASES, Kind, Taker, Wanted
from securecart.settings import Settings
from securecart.telemetry import log

__all__ = ["TROUBLE", "Backups", "due"]

LOOK_EVERY_S = 2.0
# The first base of all is taken when the first log has been in the archive for so long: a shop that just starts has other work.
FIRST_AFTER_S = 10.0
AGAIN_AFTER_S, AGAIN_AFTER_MAX_S = 30.0, 600.0
TROUBLE = (SecureCartError, OSError, *NOT_READY)


class Backups:
    """The bases of one archive; `doing` says what is being done at the moment."""

    def __init__(self, archiver: Archiver) -> None:
        self.bases: tuple[Base, ...] | None = None
        self.doing = self.problem = ""
        self.failures = 0
        self._archiver = archiver
        self._site = archiver.site
        self._taker = Taker(archiver.site, archiver.arrived)
        self._gap_at: datetime | None = None
        self._pause_s = 0.0
        self._not_before = 0.0

    @property
    def newest(self) -> Base | None:
        """The newest base, None while there is none or the archive was not looked at."""
        return max(self.bases or (), key=lambda base: base.ended_at, default=None)

    async def run(self, stopping: asyncio.Event) -> None:
        """Take what is due until `stopping` is set; one that is under way is given up then."""
        turns = asyncio.create_task(self._turns())
        await stopping.wait()
        self._taker.give_up()
        turns.cancel()
        await asyncio.gather(turns, return_exceptions=True)

    async def now(self, *, full: bool, tell: Tell) -> Base:
        """Take one at once, after the one that is under way; raises what keeps it from being taken."""
        await self._look()
        newest = self.newest
        wanted = Wanted("full", hurry=True) if full or newest is None else Wanted("incremental", newest, hurry=True)
        return await self._take(wanted, tell)

    async def _turns(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if time.monotonic() < self._not_before or not self._has_begun():
                continue
            try:
                await self._turn()
                self._pause_s, self.problem = 0.0, ""
            except TROUBLE as problem:
                self._failed(problem)
            except Exception as problem:  # noqa: BLE001 - one turn's bug must not end the backups
                log.exception("a base backup failed, it will be tried again")
                self._failed(problem)

    async def _turn(self) -> None:
        if self._archiver.lost_log.is_set():
            self.bases = None
            self._archiver.lost_log.clear()
        if self.bases is None:
            await self._look()
        kind = due(self.bases or (), self._gap_at, datetime.now(UTC), self._site.settings)
        if kind is not None and not await asyncio.to_thread(is_proving, self._site.home):  # one heavy work at a time
            log.info("a base backup is due", kind=kind)
            await self._take(Wanted(kind, self.newest, hurry=not self.bases), lambda _: None)

    def _has_begun(self) -> bool:
        began = self._archiver.health.first_beat_at
        return bool(began) and (bool(self.bases) or time.monotonic() > began + FIRST_AFTER_S)

    async def _take(self, wanted: Wanted, tell: Tell) -> Base:
        def told(text: str) -> None:
            self.doing = text
            tell(text)

        try:
            base = await self._taker.take(wanted, told)
        finally:
            self.doing = ""
        self.bases = (*(self.bases or ()), base)
        log.info("a base backup is in the archive", label=base.label, bytes=base.archive_bytes, seconds=base.seconds)
        try:
            await self._let_go()
        except TROUBLE as problem:  # it is a base all the same
            log.warning("what is not needed any more could not be removed", problem=str(problem))
        return base

    async def _let_go(self) -> None:
        """Remove what nobody wants to go back to any more."""
        holdings = await asyncio.to_thread(survey, self._site.archive)
        kept = self._site.settings
        names = surplus(holdings, datetime.now(UTC), days=kept.backup_days, fulls=kept.backup_fulls)
        if names:
            await asyncio.to_thread(self._site.archive.remove, names)
            self.bases = None
            log.info("what is not needed any more is removed from the archive", objects=len(names))

    async def _look(self) -> None:
        bases, gaps = await asyncio.to_thread(self._read)
        self.bases = bases
        self._gap_at = max((gap.until for gap in gaps if gap.until is not None), default=None)
        self._archiver.health.gaps = len(gaps)

    def _read(self) -> tuple[tuple[Base, ...], tuple[Gap, ...]]:
        archive = self._site.archive
        abouts = [name for name, _ in archive.names(f"{BASES}/") if name.endswith("/about")]
        bases = tuple(msgspec.json.decode(archive.read(name), type=Base) for name in abouts)
        gaps = [name for name, _ in archive.names(f"{GAPS}/")]
        return bases, tuple(msgspec.json.decode(archive.read(name), type=Gap) for name in gaps)

    def _failed(self, problem: Exception) -> None:
        self.failures += 1
        self.bases = None
        self.problem = str(problem)
        self._pause_s = min(AGAIN_AFTER_MAX_S, self._pause_s * 2 or AGAIN_AFTER_S)
        self._not_before = time.monotonic() + self._pause_s
        log.warning("no base backup could be taken", problem=str(problem), again_in_s=self._pause_s)


def due(bases: Sequence[Base], gap_at: datetime | None, now: datetime, settings: Settings) -> Kind | None:
    """Which base is to be taken now; after a gap in the log a full one, without waiting."""
    newest = max(bases, key=lambda base: base.ended_at, default=None)
    full = max((base.started_at for base in bases if base.kind == "full"), default=None)
    if newest is None or full is None or (gap_at is not None and gap_at > full):
        return "full"
    if full < now - timedelta(days=settings.backup_full_days):
        return "full"
    return "incremental" if newest.started_at < now - timedelta(hours=settings.backup_hours) else None
