"""The archive: named objects in a folder or in an S3 bucket, compressed (zstd), and encrypted (age) where a key is set.

A name is a path such as `base/20261130T120000/about`. What is put is there whole or not at all, and never changes its
content while somebody reads it. All verbs block: call them from a thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

__all__ = ["Archive", "open_archive"]


class Archive(Protocol):
    """Where backups are kept."""

    @property
    def where(self) -> str:
        """Its address as a person knows it, without secrets."""

    def put(self, name: str, content: bytes) -> int:
        """Keep these bytes under this name, in place of what was there; how many bytes it takes in the archive."""

    def put_file(self, name: str, content: IO[bytes] | Path) -> int:
        """The same for content of any size, read once from front to back."""

    def read(self, name: str) -> bytes:
        """The content of a small object; `ArchiveMissing`, `ArchiveDamaged`, `ArchiveLocked`, `ArchiveAway`."""

    def open(self, name: str) -> IO[bytes]:
        """The content of an object as a stream, checked while it is read."""

    def check(self, name: str) -> int:
        """Read an object to its end and let go of it: its content's size, or the error of one that is damaged."""

    def names(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Name and bytes in the archive of every object whose name begins so, in order."""

    def remove(self, names: list[str]) -> None:
        """Remove objects; one that is not there is no error."""


def open_archive(address: str, key: str = "") -> Archive:
    """The archive at this address: a folder (made where it is missing) or `s3://BUCKET/PREFIX`; `ArchiveUnusable`."""
    raise NotImplementedError(address, key)
