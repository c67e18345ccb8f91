"""What the replicator remembers across its own death: where each stream is to be read on. One small file, replaced in one step.

More is not needed. The streams keep every write with its time for a day, and what was applied is known by its mark, so
whatever is read twice is found to be done. Without the file both regions are compared as a whole.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from securecart.stores.dynamodb.stream import Place

__all__ = ["Checkpoint", "Checkpoints"]


class Checkpoint(Struct, frozen=True):
    """Every change that the region made to the table before this place is in the other region."""

    region: str
    table: str
    place: Place


class Checkpoints:
    """The file of checkpoints."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: list[Checkpoint] = []

    def read(self) -> dict[tuple[str, str], Place]:
        """The places by region and table; empty when there is no file, or one that cannot be read."""
        try:
            self._written = msgspec.json.decode(self._path.read_bytes(), type=list[Checkpoint])
        except (OSError, msgspec.DecodeError):
            self._written = []
        return {(one.region, one.table): one.place for one in self._written}

    def write(self, places: dict[tuple[str, str], Place]) -> None:
        """Replace what is remembered; nothing is written when it is the same."""
        checkpoints = [Checkpoint(region, table, place) for (region, table), place in sorted(places.items())]
        if checkpoints == self._written:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        scratch.write_bytes(msgspec.json.encode(checkpoints))
        scratch.replace(self._path)
        self._written = checkpoints

    def forget(self) -> None:
        """The next start compares both regions as a whole."""
        self._path.unlink(missing_ok=True)
        self._written = []
