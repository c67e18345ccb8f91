"""What the archive holds, told simply, until `holdings` tells it in full; goes as soon as that is there."""

from __future__ import annotations

import msgspec

from securecart.errors import RecoveryRefused
from securecart.ops.recovery.model import SEGMENT_BYTES, Base, Beat, Fork, Holdings, Moment, Piece, Window, lsn_of
from securecart.stores.archive import Archive

__all__ = ["base_for", "survey"]


def survey(archive: Archive) -> Holdings:
    """One listing of the archive."""
    bases: list[Base] = []
    pieces: list[Piece] = []
    forks: dict[int, Fork] = {}
    beat, whole = None, 0
    for name, size in archive.names(""):
        whole += size
        parts = name.split("/")
        if name == "beat":
            beat = msgspec.json.decode(archive.read(name), type=Beat)
        elif parts[0] == "base" and parts[2] == "about":
            bases.append(msgspec.json.decode(archive.read(name), type=Base))
        elif parts[0] == "forks":
            fork = msgspec.json.decode(archive.read(name), type=Fork)
            forks[fork.timeline] = fork
        elif parts[0] == "wal" and name.endswith(".history"):
            last = archive.read(name).decode().strip().splitlines()[-1].split()
            timeline = int(parts[1][:8], 16)
            forks.setdefault(timeline, Fork(timeline, int(last[0]), lsn_of(last[1])))
        elif parts[0] == "wal":
            pieces.append(_piece(name, size))
    windows = (Window(min(one.ended_at for one in bases), beat.at),) if bases and beat else ()
    return Holdings(tuple(bases), tuple(pieces), tuple(forks.values()), (), beat, windows, whole)


def base_for(holdings: Holdings, moment: Moment) -> Base:
    """The newest base that leads to the moment."""
    good = [one for one in holdings.bases if moment.at is None or one.ended_at <= moment.at]
    if not good or (moment.at is not None and not (holdings.windows and holdings.windows[-1].until >= moment.at)):
        raise RecoveryRefused(problem=f"{moment.in_words} is outside of the window {holdings.windows}.")
    return max(good, key=lambda one: one.ended_at)


def _piece(name: str, size: int) -> Piece:
    _, timeline, file = name.split("/")
    segment, _, span = file.partition(".")
    start = (int(segment[8:16], 16) * 256 + int(segment[16:], 16)) * SEGMENT_BYTES
    first, _, last = (span or f"0-{SEGMENT_BYTES:X}").partition("-")
    return Piece(name, int(timeline, 16), start + int(first, 16), start + int(last, 16), size)
