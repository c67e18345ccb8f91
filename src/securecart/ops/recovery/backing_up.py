"""Base backups by the timetable and by hand: what is due is taken, what is not needed any more is removed."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

from securecart.errors import RecoveryRefused, SecureCartError
from securecart.ops.recovery.archiving import Archiver
from securecart.ops.recovery.copying import Tell
from securecart.ops.recovery.holdings import surplus, survey, whole_bases
from securecart.ops.recovery.model import Base, Holdings
from securecart.ops.recovery.nodes import NOT_READY
from securecart.ops.recovery.proofs import is_proving
from securecart.ops.recovery.schedule import Due, due
from securecart.ops.recovery.taking import Taker, Wanted
from securecart.telemetry import log

__all__ = ["TROUBLE", "Backups"]

LOOK_EVERY_S = 2.0
# A base that is due waits until log has been archived for so long: a shop that just starts has other work.
BEGINS_AFTER_S = 10.0
AGAIN_AFTER_S, AGAIN_AFTER_MAX_S = 30.0, 600.0
TROUBLE = (SecureCartError, OSError, *NOT_READY)


class Backups:
    """The bases of one archive; `doing` says what is being done at the moment."""

    def __init__(self, archiver: Archiver) -> None:
        self.bases: tuple[Base, ...] = ()
        self.doing = self.problem = ""
        self.failures = 0
        self._archiver = archiver
        self._site = archiver.site
        self._taker = Taker(archiver.site, archiver.arrived)
        self._due: Due | None = None
        self._waits = True
        self._pause_s = 0.0
        self._not_before = 0.0

    @property
    def newest(self) -> Base | None:
        """The newest base, None while there is none or the archive was not looked at."""
        return max(self.bases, key=lambda base: base.ended_at, default=None)

    async def run(self, stopping: asyncio.Event) -> None:
        """Take what is due until `stopping` is set; one that is under way is given up then."""
        turns = asyncio.create_task(self._turns())
        await stopping.wait()
        self._taker.give_up()
        turns.cancel()
        await asyncio.gather(turns, return_exceptions=True)

    async def now(self, *, full: bool, tell: Tell) -> Base:
        """Take one at once, after the one that is under way; raises what keeps it from being taken."""
        holdings = await self._look()
        usable = [base for base in holdings.bases if base.label in whole_bases(holdings)]
        parent = None if full else max(usable, key=lambda base: base.ended_at, default=None)
        return await self._take(Wanted("full" if parent is None else "incremental", parent, hurry=True), tell)

    async def _turns(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if time.monotonic() < self._not_before or not self._archiver.health.first_beat_at:
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
            self._archiver.lost_log.clear()
            self._due, self._waits = None, False
        if self._due is None:
            await self._look()
        wanted = self._due
        if wanted is None or wanted.kind is None or not wanted.is_now(datetime.now(UTC)):
            return
        if self._waits and time.monotonic() < self._archiver.health.first_beat_at + BEGINS_AFTER_S:
            return
        if await asyncio.to_thread(is_proving, self._site.home):  # one heavy work at a time
            return
        log.info("a base backup is due", kind=wanted.kind, why=wanted.why)
        parent = next((base for base in self.bases if base.label == wanted.parent), None)
        base = await self._take(Wanted(wanted.kind, parent, hurry=not self.bases), lambda _: None)
        if base.label not in whole_bases(await self._look()):  # another one at once would be no better
            raise RecoveryRefused(
                problem=f"Nothing can be recovered from the base backup {base.label}: its log is not in the archive."
            )

    async def _take(self, wanted: Wanted, tell: Tell) -> Base:
        def told(text: str) -> None:
            self.doing = text
            tell(text)

        try:
            base = await self._taker.take(wanted, told)
        finally:
            self.doing = ""
        log.info("a base backup is in the archive", label=base.label, bytes=base.archive_bytes, seconds=base.seconds)
        try:
            await self._let_go()
        except TROUBLE as problem:  # it is a base all the same
            log.warning("what is not needed any more could not be removed", problem=str(problem))
        return base

    async def _let_go(self) -> None:
        """Remove what nobody wants to go back to any more."""
        self._due = None
        holdings = await self._look()
        kept = self._site.settings
        names = surplus(holdings, datetime.now(UTC), days=kept.backup_days, fulls=kept.backup_fulls)
        if names:
            await asyncio.to_thread(self._site.archive.remove, names)
            await self._look()
            log.info("what is not needed any more is removed from the archive", objects=len(names))

    async def _look(self) -> Holdings:
        """What the archive holds, and what is due by that; until then nobody looks again."""
        holdings = await asyncio.to_thread(survey, self._site.archive)
        self.bases = holdings.bases
        self._due = due(holdings, self._site.settings, datetime.now(UTC))
        self._archiver.health.gaps = len(holdings.gaps)
        return holdings

    def _failed(self, problem: Exception) -> None:
        self.failures += 1
        self._due = None
        self.problem = str(problem)
        self._pause_s = min(AGAIN_AFTER_MAX_S, self._pause_s * 2 or AGAIN_AFTER_S)
        self._not_before = time.monotonic() + self._pause_s
        log.warning("no base backup could be taken", problem=str(problem), again_in_s=self._pause_s)
