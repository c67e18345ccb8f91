"""The archiver at work: the log received, shipped several times a second, and the beat that says how far the archive reaches.

A turn asks the writer first and ships then, so the beat it leaves behind is true: all that was committed by then is there.
"""

from __future__ import annotations

import asyncio
import time

import msgspec
from msgspec import Struct

from securecart.errors import ArchiveUnusable, RecoveryRefused, StoreAway
from securecart.ops.recovery.model import Beat, Gap, Site, lsn_in_words
from securecart.ops.recovery.nodes import NOT_READY, Nodes, Position
from securecart.ops.recovery.owning import own
from securecart.ops.recovery.programs import programs_for
from securecart.ops.recovery.receiving import Place, Receiver
from securecart.ops.recovery.shipping import Shipper
from securecart.ops.recovery.starting import begin, last_beat
from securecart.telemetry import log

__all__ = ["BEAT", "GAPS", "Archiver", "Health"]

BEAT = "beat"
GAPS = "gaps"
NOTE = "archive.json"
TURN_S = 0.3
# With nothing new in the log only the beat's time moves on, and that may be slower.
BEAT_AT_REST_S = 1.0
ARRIVES_WITHIN_S, LOOK_AGAIN_S = 0.15, 0.01
# A stream that is behind and gets no further for so long is ended and begun anew: the node may be frozen.
STUCK_S = 4.0
COMES_WITHIN_S = 60.0
LATE_S = 10.0
WAITING_BYTES_MAX = 2 * 2**30


class Health(Struct):
    """How the archiver is; times are monotonic seconds, 0 for never. `problem` is what keeps it from its work, in words."""

    beat: Beat | None = None
    beat_at: float = 0.0
    first_beat_at: float = 0.0
    lsn: int = 0
    shipped_bytes: int = 0
    gaps: int = 0
    failures: int = 0
    problem: str = ""


class Archiver:
    """One database's log on its way into one archive."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.folder = site.home.data("archiver") / "receiving"
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.nodes = Nodes(site.home)
        self.health = Health()
        self.waited_for = site.settings.archive_synchronous and site.settings.profile == "single"
        self.receiver = Receiver(programs_for(site), self.folder, waited_for=self.waited_for)
        self.shipper = Shipper(site.archive, self.folder)
        self.lost_log = asyncio.Event()  # a gap was found: what follows can only be reached from a new full base
        self._began = time.monotonic()
        self._moved_at = 0.0
        self._place: Place | None = None
        self._gaps: list[Gap] = []
        self._owns = False
        self._has_rest = True

    async def run(self, stopping: asyncio.Event) -> None:
        """Receive and ship until `stopping` is set; then ship the rest."""
        while not stopping.is_set():
            began = time.monotonic()
            await self._turn_safely()
            try:
                await asyncio.wait_for(stopping.wait(), max(0.0, began + TURN_S - time.monotonic()))
            except TimeoutError:
                continue
        await self._turn_safely()
        await self.receiver.stop()
        await self._ship_rest()

    async def arrived(self, timeline: int, lsn: int) -> None:
        """Return once the archive has the log up to there; `RecoveryRefused` when it does not come."""
        deadline = time.monotonic() + COMES_WITHIN_S
        while (beat := self.health.beat) is None or (beat.timeline, beat.lsn) < (timeline, lsn):
            if time.monotonic() > deadline:
                raise RecoveryRefused(
                    problem=f"The log up to {lsn_in_words(lsn)} did not reach the archive: {self.health.problem}."
                )
            await asyncio.sleep(TURN_S)

    async def _turn_safely(self) -> None:
        try:
            await self.turn()
        except (ArchiveUnusable, RecoveryRefused, StoreAway, OSError) as problem:
            self._failed(str(problem))
        except NOT_READY as problem:
            self._failed(f"the database does not answer: {problem}")
        except Exception:  # noqa: BLE001 - one turn's bug must not end the archive
            log.exception("a turn of the archiver failed, the next follows")
            self._failed("a bug; the log says which")

    async def turn(self) -> None:
        """Ask, see that the stream runs, ship what came, and leave a beat."""
        try:
            position: Position | None = await self.nodes.ask()
        except StoreAway:
            position = None
        if position is not None:
            self.health.lsn = position.lsn
            await self._see_to_stream(position)
        await self._own()
        if not self.receiver.runs:
            await self._ship_rest()
        await self._note_gaps()
        place = await self._arrived(position)
        shipped = await asyncio.to_thread(self.shipper.ship, place)
        self.health.shipped_bytes = self.shipper.shipped_bytes
        if position is None:
            raise StoreAway(store="orders database", retry_after=1)
        await self._judge(position, place)
        if _covers(shipped, position):
            await self._beat(position)
            self._well()
        elif time.monotonic() > max(self.health.beat_at, self._began) + LATE_S:
            self._failed(f"the log does not arrive: {self.receiver.words or 'its stream is behind'}")

    async def _beat_before(self) -> Beat | None:
        """The beat in the archive. One that is away does not hold up the stream, where the folder says from where to receive."""
        try:
            await self._own()
        except (ArchiveUnusable, RecoveryRefused):
            if not self.waited_for and not self.receiver.files():
                raise
        return self.health.beat

    async def _own(self) -> None:
        """Ship nothing into an archive before it is known to be this database's."""
        if not self._owns:
            system = await self.nodes.system() if self.nodes.writer is not None else None
            await asyncio.to_thread(own, self.site.archive, system, self.folder.parent / NOTE)
            self.health.beat = await asyncio.to_thread(last_beat, self.site.archive)
            self._owns = True

    async def _see_to_stream(self, position: Position) -> None:
        """Start the stream when it does not run, unless too much waits on disk for the archive."""
        too_much = await asyncio.to_thread(self.shipper.waiting_bytes) > WAITING_BYTES_MAX
        if self.receiver.runs and (too_much or self.receiver.node != self.nodes.writer):
            await self.receiver.stop()
        if self.receiver.due and not too_much and self.nodes.writer is not None:
            gap = await begin(self.nodes, self.receiver, position, await self._beat_before())
            if gap is not None:
                self._gaps.append(gap)
            self._moved_at = time.monotonic()
            self._has_rest = True
            await self.receiver.start(self.nodes.writer, self.nodes.write_passwords())

    async def _ship_rest(self) -> None:
        """Ship what the stream had received when it broke: should the database never come back, nothing of it is lost."""
        if self._has_rest:
            rest = await asyncio.to_thread(self.shipper.ship_rest)
            beat = self.health.beat
            if rest is not None and rest.committed_at is not None and beat is not None and rest.committed_at > beat.at:
                await self._put_beat(Beat(rest.committed_at, rest.place.timeline, rest.place.lsn))
            self._has_rest = False

    async def _note_gaps(self) -> None:
        """Keep and say that some log was lost, and have a full base taken: it is what later moments are reached from."""
        while self._gaps:
            gap = self._gaps[0]
            name = f"{GAPS}/{gap.timeline:08X}-{gap.start:016X}"
            await asyncio.to_thread(self.site.archive.put, name, msgspec.json.encode(gap))
            del self._gaps[0]
            self.health.gaps += 1
            self.lost_log.set()
            log.error(
                "the server no longer had the log that was needed next; moments in between cannot be reached",
                start=lsn_in_words(gap.start),
                end=lsn_in_words(gap.end),
                after=gap.after,
                until=gap.until,
            )

    async def _arrived(self, position: Position | None) -> Place | None:
        """How far the log has come, once that is what the writer said, or after a moment without."""
        deadline = time.monotonic() + ARRIVES_WITHIN_S
        place = self.receiver.place(position)
        while position is not None and not _covers(place, position) and time.monotonic() < deadline and self.receiver.runs:
            await asyncio.sleep(LOOK_AGAIN_S)
            place = self.receiver.place(position)
        return place

    async def _judge(self, position: Position, place: Place | None) -> None:
        """End a stream that is behind and gets no further: its node may be frozen, or overtaken by another."""
        now = time.monotonic()
        if place != self._place or _covers(place, position):
            self._place, self._moved_at = place, now
        if self.receiver.runs and now > self._moved_at + STUCK_S:
            log.warning("the log's stream got no further, it is begun anew", received=place)
            self.nodes.forget()
            await self.receiver.stop()

    async def _beat(self, position: Position) -> None:
        now = time.monotonic()
        rested = self.health.beat is not None and position.lsn == self.health.beat.lsn
        if not rested or now >= self.health.beat_at + BEAT_AT_REST_S:
            await self._put_beat(Beat(position.at, position.timeline, position.lsn))

    async def _put_beat(self, beat: Beat) -> None:
        await asyncio.to_thread(self.site.archive.put, BEAT, msgspec.json.encode(beat))
        self.health.beat, self.health.beat_at = beat, time.monotonic()
        self.health.first_beat_at = self.health.first_beat_at or time.monotonic()

    def _well(self) -> None:
        self.receiver.stands_well()
        if self.health.problem:
            log.info("the archiver is at work again", after=self.health.problem)
        self.health.problem = ""

    def _failed(self, problem: str) -> None:
        self.health.failures += 1
        if problem != self.health.problem:
            log.warning("nothing is archived at the moment", problem=problem)
        self.health.problem = problem


def _covers(place: Place | None, position: Position) -> bool:
    """Whether the log is here up to where the writer was when it was asked."""
    return place is not None and place.timeline == position.timeline and place.lsn >= position.lsn
