"""What the archive holds: one look at its names, what can be reached with it, and what may go.

`survey` reads; everything else here is pure and works on what it found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec

from securecart.errors import ArchiveDamaged, ArchiveMissing, RecoveryRefused
from securecart.ops.recovery.model import (
    SEGMENT_BYTES,
    Base,
    Beat,
    Fork,
    Gap,
    Holdings,
    Moment,
    Piece,
    Window,
    lsn_of,
)
from securecart.ops.recovery.reach import Era, Reach, chain_in, eras_of, gaps_in, reaches_in, segment_start, windows_of
from securecart.ops.recovery.segments import segment_of, span_of
from securecart.stores.archive import Archive

__all__ = ["base_for", "in_words", "known_of", "pieces_in", "reaches_of", "surplus", "survey", "understood", "whole_bases"]

T = TypeVar("T")

READS_AT_ONCE = 8
HISTORY = re.compile(r"^wal/(?P<timeline>[0-9A-F]{8})\.history\Z")
BASE = re.compile(r"^base/(?P<label>[^/]+)/(?P<part>data|manifest|about)\Z")
STAMP = "%Y%m%dT%H%M%SZ"
PARTS = ("about", "manifest", "data")  # as they go: without `about` a backup does not exist
LOOKS_AGAIN = 3
STRAY_AFTER = timedelta(days=1)
SLACK = timedelta(microseconds=1)


def survey(archive: Archive) -> Holdings:
    """One look at everything the archive holds of the database. Blocks; `ArchiveUnusable` and its kinds."""
    looked = _look(archive)
    for _ in range(LOOKS_AGAIN):
        # where pieces became one while they were listed, neither they nor it may have been seen; a true hole is seen again
        if not looked.gaps or (again := _look(archive)).gaps == looked.gaps:
            break
        looked = again
    return looked


def _look(archive: Archive) -> Holdings:
    with ThreadPoolExecutor(READS_AT_ONCE) as threads:
        reading = _Reading(archive, threads)
        beats = reading.structs(Beat, ["beat"])  # first: what it speaks of is in the archive before it is
        sizes = {name: size for top in ("base/", "beat", "forks/", "gaps/", "wal/") for name, size in archive.names(top)}
        bases = reading.structs(Base, [name for name in sizes if name.startswith("base/") and name.endswith("/about")])
        gaps = reading.structs(Gap, [name for name in sizes if name.startswith("gaps/")])
        noted = reading.structs(Fork, [name for name in sizes if name.startswith("forks/")])
        forks = reading.forks([name for name in sizes if HISTORY.match(name)], noted)
    labels = {base.label for base in bases}
    strays = [name for name in sizes if (found := BASE.match(name)) is not None and found["label"] not in labels]
    return msgspec.structs.replace(
        understood(bases, list(pieces_in(sizes)), forks, gaps, beats[0] if beats else None),
        bytes=sum(sizes.values()),
        unread=tuple(sorted(reading.unread)),
        strays=tuple(name for name in strays if not any(name in why for why in reading.unread)),
    )


def understood(
    bases: Sequence[Base], pieces: Sequence[Piece], forks: Sequence[Fork], gaps: Sequence[Gap], beat: Beat | None
) -> Holdings:
    """What these objects mean together: the windows, and the holes between them."""
    bases = sorted(bases, key=lambda one: one.ended_at)
    known = {base.label: base for base in bases}
    windows: list[Reach] = []
    holes: dict[tuple[int, int, int], Gap] = {}
    for era in eras_of(bases, pieces, forks, gaps, beat):
        reaches = reaches_in(era, known)
        windows += reaches
        holes |= {(gap.timeline, gap.start, gap.end): gap for gap in gaps_in(era, reaches)}
    return Holdings(
        bases=tuple(bases),
        pieces=tuple(sorted(pieces, key=lambda one: (one.timeline, one.start, one.end))),
        forks=tuple(sorted(forks, key=lambda one: one.timeline)),
        gaps=tuple(holes[place] for place in sorted(holes)),
        beat=beat,
        windows=windows_of(windows),
        bytes=sum(base.archive_bytes for base in bases) + sum(piece.bytes for piece in pieces),
    )


def known_of(holdings: Holdings) -> dict[str, Base]:
    """The bases by label."""
    return {base.label: base for base in holdings.bases}


def reaches_of(holdings: Holdings) -> list[tuple[Era, list[Reach]]]:
    """Each time in which one branch of the log was live, and how far each base reaches on it; oldest first."""
    known = known_of(holdings)
    eras = eras_of(holdings.bases, holdings.pieces, holdings.forks, holdings.gaps, holdings.beat)
    return [(era, reaches_in(era, known)) for era in eras]


def whole_bases(holdings: Holdings) -> set[str]:
    """The labels of those bases that the database can be recovered from: their chain is whole, and the log that they need."""
    return {reach.base.label for _, reaches in reaches_of(holdings) for reach in reaches}


def base_for(holdings: Holdings, moment: Moment) -> Base:
    """The newest base from which the moment is reached; `RecoveryRefused` says which moments can be."""
    eras = reaches_of(holdings)
    if moment.at is not None:
        reaching = [reach for _, reaches in eras for reach in reaches if reach.has(moment.at)]
        found = max(reaching, key=lambda one: one.base.ended_at, default=None)
    else:
        found = _before(eras[-1][1] if eras else [], moment.xid or 0)
    if found is None:
        raise RecoveryRefused(problem=_refusal(holdings, moment))
    return found.base


def in_words(windows: Sequence[Window]) -> str:
    """The moments that can be reached, as a person reads them; times are UTC, and inside of what is meant."""
    spans = []
    for window in windows:
        # the first is rounded up and the last down to what is shown, so that both can be given back
        since = Moment(at=window.since + timedelta(milliseconds=1) - SLACK)
        spans.append(f"from {since.in_words} until {Moment(at=window.until).in_words}")
    return ", and ".join(spans)


def surplus(holdings: Holdings, now: datetime, *, days: float, fulls: int) -> list[str]:
    """Names of objects that may go, in the order in which they should.

    Every moment of the last `days` that can be reached stays so, and at least `fulls` full backups stay with all that hangs on
    them; log from before the oldest backup that stays goes, and what was never finished.
    """
    stay = _staying(holdings, now - timedelta(days=days), max(fulls, 1))
    names = [f"base/{base.label}/{part}" for base in holdings.bases if base not in stay for part in PARTS] if stay else []
    names += [name for name in holdings.strays if _stamp(name) < now - STRAY_AFTER]
    cut = segment_start(min((base.start_lsn for base in stay), default=0))
    whole = {(piece.timeline, piece.start) for piece in holdings.pieces if piece.end - piece.start == SEGMENT_BYTES}
    for piece in holdings.pieces:
        part = piece.end - piece.start < SEGMENT_BYTES
        if piece.end <= cut or (part and (piece.timeline, segment_start(piece.start)) in whole):
            names.append(piece.name)
    return names


def _staying(holdings: Holdings, horizon: datetime, fulls: int) -> set[Base]:
    """The bases that stay: whole families, each a full backup and what stands on it."""
    known = known_of(holdings)
    roots = {base.label: (chain_in(known, base) or (base,))[0].label for base in holdings.bases}
    needed = {roots[base.label] for base in holdings.bases if base.ended_at >= horizon}
    ended: dict[str, datetime] = {}
    for _, reaches in reaches_of(holdings):
        at_horizon: dict[int, Reach] = {}  # by where the log ends that they reach along; the newest comes last
        for reach in reaches:
            root = roots[reach.base.label]
            ended[root] = max(reach.base.ended_at, ended.get(root, reach.base.ended_at))
            if reach.base.ended_at < horizon <= reach.until:
                at_horizon[reach.end] = reach
        needed |= {roots[reach.base.label] for reach in at_horizon.values()}
    needed |= set(sorted(ended, key=ended.__getitem__)[-fulls:])
    return {base for base in holdings.bases if roots[base.label] in needed} if ended else set()


def _before(reaches: Sequence[Reach], xid: int) -> Reach | None:
    """The newest base that surely ended before a transaction began, else the oldest of those that reach the newest log."""
    live = [reach for reach in reaches if reach.end == max(one.end for one in reaches)]
    surely = [reach for reach in live if 0 < reach.base.next_xid <= xid]
    return surely[-1] if surely else next(iter(live), None)


def _refusal(holdings: Holdings, moment: Moment) -> str:
    wanted = f"{moment.in_words[0].upper()}{moment.in_words[1:]}"
    if not holdings.bases:
        return f"{wanted} cannot be recovered: there is no backup yet. Take one with `securecart backup now`."
    if not holdings.windows:
        return (
            f"{wanted} cannot be recovered: no backup is whole together with the log that belongs to it. "
            "`securecart backup list` shows what is missing; take a new one with `securecart backup now --full`."
        )
    windows = holdings.windows
    between = moment.at is not None and windows[0].since < moment.at < windows[-1].until
    why = "; between these log is missing in the archive (`securecart backup list` shows the gaps)" if between else ""
    return f"{wanted} cannot be recovered: the database can be recovered {in_words(windows)}{why}."


def pieces_in(sizes: Mapping[str, int]) -> Iterable[Piece]:
    """The pieces of log among these objects."""
    for name, size in sizes.items():
        parts = name.split("/")
        if len(parts) != 3 or parts[0] != "wal":  # noqa: PLR2004  wal, timeline, segment
            continue
        found = segment_of(parts[2][:24])
        span = span_of(name) if len(parts[2]) > 24 else (0, SEGMENT_BYTES)  # noqa: PLR2004  PostgreSQL's name alone
        if found is not None and span is not None and 0 <= span[0] < span[1] <= SEGMENT_BYTES:
            segment = found[0]
            yield Piece(name, segment.timeline, segment.start + span[0], segment.start + span[1], size)


def _stamp(name: str) -> datetime:
    """When the backup began to which a stray object belongs; one without a time is left alone."""
    try:
        return datetime.strptime(name.split("/")[1].partition("-")[0], STAMP).replace(tzinfo=UTC)
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)


class _Reading:
    """Small objects read several at a time; one that is damaged is noted, so that it costs what it describes and no more."""

    def __init__(self, archive: Archive, threads: ThreadPoolExecutor) -> None:
        self.unread: list[str] = []
        self._archive = archive
        self._threads = threads

    def structs(self, kind: type[T], names: Sequence[str]) -> list[T]:
        found = []
        for name, content in self._contents(names):
            try:
                found.append(msgspec.json.decode(content, type=kind))
            except msgspec.MsgspecError as error:
                self.unread.append(f"{name} cannot be understood: {error}")
        return found

    def forks(self, names: Sequence[str], noted: Sequence[Fork]) -> list[Fork]:
        """Where each timeline began: PostgreSQL's own word for it, and when a person went back there."""
        forks: dict[int, Fork] = {fork.timeline: fork for fork in noted}
        for name, content in self._contents(names):
            timeline = int(name[4:12], 16)
            lines = [line.split() for line in content.decode(errors="replace").splitlines()]
            lines = [line for line in lines if line and not line[0].startswith("#")]
            try:
                parent, lsn = int(lines[-1][0]), lsn_of(lines[-1][1])
            except (IndexError, ValueError):
                self.unread.append(f"{name} cannot be understood: it is no history of a timeline")
                continue
            resumed = forks[timeline].resumed_at if timeline in forks else None
            forks[timeline] = Fork(timeline, parent, lsn, resumed)
        return [fork for fork in forks.values() if fork.parent < fork.timeline]

    def _contents(self, names: Sequence[str]) -> Iterable[tuple[str, bytes]]:
        for name, content in zip(names, self._threads.map(self._read, names), strict=True):
            if isinstance(content, str):
                self.unread.append(content)
            elif content is not None:
                yield name, content

    def _read(self, name: str) -> bytes | str | None:
        """The object's content, why it cannot be read, or None when it has just been removed."""
        try:
            return self._archive.read(name)
        except ArchiveMissing:
            return None
        except ArchiveDamaged as error:
            return str(error)
