"""Where the log's stream begins: where the last one ended, as long as the writer still has that; otherwise there is a gap.

`decide` is pure. pg_receivewal begins at the newest segment in its folder, so an empty file there tells it where to begin.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
from msgspec import Struct

from securecart.errors import ArchiveMissing
from securecart.ops.recovery.model import Beat, Gap
from securecart.ops.recovery.nodes import Nodes, Position, Slot
from securecart.ops.recovery.receiving import PARTIAL, Receiver
from securecart.ops.recovery.segments import History, Segment, history_of, whole_of
from securecart.stores.archive import Archive
from securecart.telemetry import log

__all__ = ["Begin", "begin", "decide", "last_beat"]


class Begin(Struct, frozen=True):
    """From which segment on to receive; None: wherever the slot is. `gap` is what the archive will never have."""

    segment: Segment | None
    gap: Gap | None = None


def decide(newest: tuple[Segment, bool] | None, beat: Beat | None, position: Position, history: History, slot: Slot) -> Begin:
    """Where to begin: after the newest file received (a partial one anew), else where the archive ends.

    `history` tells where each earlier timeline of the writer's ended; log beyond that end never was acknowledged, or somebody
    went back to before it. Then a timeline that was received may not be in it at all, and the way goes on from its last end.
    """
    wanted, reached = None, beat.lsn if beat is not None else 0
    if newest is not None:
        segment, partial = newest
        wanted = segment if partial else Segment(segment.number + 1, segment.timeline)
        reached = max(reached, wanted.start)
    elif beat is not None:
        wanted = whole_of(beat.timeline, beat.lsn)
    if wanted is None:
        return Begin(None)
    if wanted.timeline not in {position.timeline, *history} and history:
        last = max(history)
        wanted, reached = whole_of(last, history[last]), history[last]
    ends = position.lsn if wanted.timeline == position.timeline else history.get(wanted.timeline)
    if ends is not None and wanted.start > ends:
        wanted = whole_of(wanted.timeline, ends)
    if ends is not None and wanted.number >= slot.oldest:
        return Begin(wanted)
    first = whole_of(position.timeline, slot.restart if slot.restart is not None else position.lsn)
    after = beat.at if beat is not None else None
    return Begin(first, Gap(position.timeline, min(reached, first.start), first.start, after, position.at))


async def begin(nodes: Nodes, receiver: Receiver, position: Position, beat: Beat | None) -> Gap | None:
    """See that the writer keeps log for us and that the stream will begin where it should; the gap that was found, if any."""
    slot = await nodes.slot()
    if slot.lost or not slot.there:
        log.warning("the slot that keeps log for the archive is made anew", lost=slot.lost)
        await nodes.make_slot()
        slot = await nodes.slot()
    if receiver.was_refused:
        slot = msgspec.structs.replace(slot, oldest=slot.oldest + 1)
    newest = max(receiver.files(), default=None)
    history = history_of(await nodes.history(position.timeline))
    decided = decide(newest, beat, position, history, slot)
    await asyncio.to_thread(_lay_out, receiver, decided.segment)
    return decided.gap


def last_beat(archive: Archive) -> Beat | None:
    """The beat in the archive, None when there never was one."""
    try:
        return msgspec.json.decode(archive.read("beat"), type=Beat)
    except ArchiveMissing:
        return None


def _lay_out(receiver: Receiver, first: Segment | None) -> None:
    """Remove what lies beyond the beginning, and mark it with an empty file where there is none."""
    folder: Path = receiver.folder
    if first is None:
        return
    for segment, partial in receiver.files():
        if segment.number >= first.number and (segment, partial) != (first, True):
            (folder / (segment.file + PARTIAL * partial)).unlink(missing_ok=True)
    marked = folder / (first.file + PARTIAL)
    if not marked.exists():
        marked.touch(mode=0o600)
