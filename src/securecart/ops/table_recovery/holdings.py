"""The tables' part of the archive, read and written: objects, their lines, what there is. Everything here blocks.

    tables/<table>/<era>/journal/<first>-<last>.<since>-<until>   lines: where the stream was read to, then the changes
    tables/<table>/<era>/snapshots/<began>/<part>                 lines: items
    tables/<table>/<era>/snapshots/<began>/about                  JSON Snapshot, written last: without it there is none
    tables/<table>/<era>/end                                      JSON End: the journal of this era goes no further
    tables/beat                                                   JSON Beat, about once a second

A table of another region than the first is in `tables/<table>@<region>/`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from msgspec.structs import replace

from securecart.errors import ArchiveDamaged, ArchiveMissing
from securecart.ops.table_recovery.model import (
    BEAT,
    ROOT,
    Beat,
    Change,
    End,
    Entry,
    Era,
    Holdings,
    Piece,
    PieceHead,
    Snapshot,
    chain,
    is_whole,
    piece_of,
)
from securecart.stores.archive import Archive

__all__ = [
    "changes_backwards",
    "entries",
    "folders",
    "head_of",
    "merged",
    "part_name",
    "read_beat",
    "survey",
    "written_piece",
]

ABOUT = "about"
END = "end"
JOURNAL = "journal"
SNAPSHOTS = "snapshots"
LOOKS = 3

_change = msgspec.json.Decoder(Change)
_entry = msgspec.json.Decoder(Entry)


def survey(archive: Archive, folder: str) -> Holdings:
    """What the archive holds of the table in this folder: one listing, and a small object for each snapshot.

    The archiver may merge pieces while they are listed; then it is looked at again.
    """
    for _ in range(LOOKS):
        found = _look(archive, folder)
        if all(is_whole(era) for era in found.eras):
            break
    return found


def _look(archive: Archive, folder: str) -> Holdings:
    beat = read_beat(archive)  # before the listing, which then has all that the beat speaks of
    kept = beat.tables.get(folder) if beat is not None else None
    names: dict[str, dict[str, int]] = defaultdict(dict)
    for name, size in archive.names(f"{folder}/"):
        era, _, rest = name.removeprefix(f"{folder}/").partition("/")
        if rest:
            names[era][name] = size
    if kept is not None:
        names.setdefault(kept.era, {})
    eras = [_era(archive, f"{folder}/{name}", found) for name, found in sorted(names.items())]
    if kept is not None:
        eras = [replace(era, through=kept.through, last=kept.next - 1) if era.name == kept.era else era for era in eras]
    return Holdings(folder, tuple(eras), sum(era.bytes for era in eras))


def folders(archive: Archive) -> list[str]:
    """The folders of the tables that the archive knows of."""
    return sorted({"/".join(name.split("/")[:2]) for name, _ in archive.names(f"{ROOT}/") if name.count("/") > 1})


def read_beat(archive: Archive) -> Beat | None:
    """How far the journals were when the archiver last looked; None when it never did, or what it wrote is of no use."""
    try:
        return msgspec.json.decode(archive.read(f"{ROOT}/{BEAT}"), type=Beat)
    except (ArchiveMissing, msgspec.DecodeError):
        return None


def head_of(archive: Archive, piece: Piece) -> PieceHead:
    """Where in its stream a piece ends."""
    return msgspec.json.decode(archive.read(piece.name).split(b"\n", 1)[0], type=PieceHead)


def written_piece(head: PieceHead, changes: Sequence[bytes]) -> bytes:
    """The content of a piece whose changes are encoded already."""
    return b"\n".join([msgspec.json.encode(head), *changes])


def merged(archive: Archive, pieces: Sequence[Piece]) -> bytes:
    """The content of one piece in the place of several that follow each other."""
    contents = [archive.read(piece.name) for piece in pieces]
    head = contents[-1].split(b"\n", 1)[0]
    return b"\n".join([head, *(content.split(b"\n", 1)[1] for content in contents)])


def changes_backwards(archive: Archive, pieces: Iterable[Piece]) -> Iterator[Change]:
    """The changes in these pieces, the newest first; one piece is in memory at a time."""
    read_to = None
    for piece in sorted(pieces, key=lambda one: one.first, reverse=True):
        if read_to is not None and piece.first >= read_to:
            continue
        for found, content in _contents(archive, piece):
            read_to = found.first
            try:
                yield from (_change.decode(line) for line in reversed(content.split(b"\n")[1:]))
            except msgspec.DecodeError as error:
                raise ArchiveDamaged(name=found.name, archive=archive.where, why=str(error)) from error


def entries(archive: Archive, folder: str, era: str, snapshot: Snapshot) -> Iterator[Entry]:
    """The items of a snapshot; one part is in memory at a time."""
    found = 0
    for number in range(1, snapshot.parts + 1):
        name = part_name(folder, era, snapshot.label, number)
        try:
            for line in archive.read(name).split(b"\n"):
                found += 1
                yield _entry.decode(line)
        except msgspec.DecodeError as error:
            raise ArchiveDamaged(name=name, archive=archive.where, why=str(error)) from error
    if found != snapshot.items:
        why = f"it has {found:,} items and should have {snapshot.items:,}"
        raise ArchiveDamaged(name=f"{folder}/{era}/{SNAPSHOTS}/{snapshot.label}", archive=archive.where, why=why)


def part_name(folder: str, era: str, label: str, number: int | None = None) -> str:
    """The name of a snapshot's part, or of the object that is written last."""
    return f"{folder}/{era}/{SNAPSHOTS}/{label}/{ABOUT if number is None else f'{number:06d}'}"


def _contents(archive: Archive, piece: Piece) -> list[tuple[Piece, bytes]]:
    """The piece, or what it has been merged into meanwhile, the newest first; more than the piece does no harm."""
    try:
        return [(piece, archive.read(piece.name))]
    except ArchiveMissing:
        journal = piece.name.rpartition("/")[0]
        listed = (piece_of(name, size) for name, size in archive.names(f"{journal}/"))
        found = [one for one in chain((one for one in listed if one is not None), piece.first) if one.first <= piece.last]
        if not found or found[-1].last < piece.last:
            raise
        return [(one, archive.read(one.name)) for one in reversed(found)]


def _era(archive: Archive, folder: str, found: dict[str, int]) -> Era:
    labels = [name.split("/")[-2] for name in found if f"/{SNAPSHOTS}/" in name and name.endswith(f"/{ABOUT}")]
    era = folder.rpartition("/")[2]
    snapshots = [_about(archive, f"{folder}/{SNAPSHOTS}/{label}/{ABOUT}") for label in sorted(labels)]
    parts = [name for name in found if f"/{SNAPSHOTS}/" in name]
    pieces = [piece_of(name, size) for name, size in found.items() if f"/{JOURNAL}/" in name]
    return Era(
        name=era,
        pieces=tuple(sorted((one for one in pieces if one is not None), key=lambda one: (one.first, -one.last))),
        snapshots=tuple(snapshots),
        parts=tuple(name for name in parts if name.split("/")[-2] in labels),
        unfinished=tuple(name for name in parts if name.split("/")[-2] not in labels),
        end=msgspec.json.decode(archive.read(f"{folder}/{END}"), type=End) if f"{folder}/{END}" in found else None,
        bytes=sum(found.values()),
    )


def _about(archive: Archive, name: str) -> Snapshot:
    try:
        return msgspec.json.decode(archive.read(name), type=Snapshot)
    except msgspec.DecodeError as error:
        raise ArchiveDamaged(name=name, archive=archive.where, why=str(error)) from error
