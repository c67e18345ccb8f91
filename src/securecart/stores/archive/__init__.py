"""The archive: named objects in a folder or in an S3 bucket, compressed (zstd), and encrypted (age) where a key is set.

A name is a path such as `base/20261130T120000Z-full/about`. What is put is there whole or not at all, and never changes its
content while somebody reads it. All verbs block: call them from a thread; several threads may use one archive.

Without SecureCart an object is read by `age -d -i KEY_FILE | zstd -d`, or by `zstd -d` alone where no key was set.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

from securecart.stores.archive.bucket import Bucket
from securecart.stores.archive.folder import Folder
from securecart.stores.archive.names import checked
from securecart.stores.archive.packing import key_pair, lock_of, packed, unpacked

__all__ = ["Archive", "key_pair", "open_archive"]

READ_BYTES = 1024 * 1024


class Place(Protocol):
    """Where an archive's objects lie as they are: a folder, or a bucket."""

    @property
    def where(self) -> str:
        """Its address as a person knows it, without secrets."""

    def put(self, name: str, content: IO[bytes]) -> int:
        """Keep all of the content under this name, or nothing; how many bytes that were."""

    def open(self, name: str) -> IO[bytes]:
        """What is kept under this name."""

    def names(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Name and bytes of every object whose name begins so, in order."""

    def remove(self, names: list[str]) -> None:
        """Remove objects; one that is not there is no error."""


class Archive:
    """Where backups are kept. With a key whatever is put is encrypted; what was put without one is still read."""

    def __init__(self, place: Place, key: str = "") -> None:
        self._place = place
        self._lock = lock_of(key)

    @property
    def where(self) -> str:
        """Its address as a person knows it, without secrets."""
        return self._place.where

    @property
    def encrypts(self) -> bool:
        """Whether what is put is encrypted."""
        return self._lock is not None

    def put(self, name: str, content: bytes) -> int:
        """Keep these bytes under this name, in place of what was there; how many bytes it takes in the archive."""
        return self.put_file(name, io.BytesIO(content))

    def put_file(self, name: str, content: IO[bytes] | Path) -> int:
        """The same for content of any size, read once from front to back; a failure to read it is raised as it is."""
        if isinstance(content, Path):
            with content.open("rb") as file:
                return self.put_file(name, file)
        with packed(content, self._lock) as stream:
            return self._place.put(checked(name), stream)

    def read(self, name: str) -> bytes:
        """The content of a small object; `ArchiveMissing`, `ArchiveDamaged`, `ArchiveLocked`, `ArchiveAway`."""
        with self.open(name) as stream:
            return stream.read()

    def open(self, name: str) -> IO[bytes]:
        """The content of an object as a stream, checked while it is read: only its end says that all of it was sound."""
        return unpacked(self._place.open(checked(name)), self._lock, name=name, archive=self.where)

    def check(self, name: str) -> int:
        """Read an object to its end and let go of it: its content's size, or the error of one that is damaged."""
        size = 0
        with self.open(name) as stream:
            while chunk := stream.read(READ_BYTES):
                size += len(chunk)
        return size

    def names(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """Name and bytes in the archive of every object whose name begins so, in order."""
        return self._place.names(prefix)

    def remove(self, names: list[str]) -> None:
        """Remove objects; one that is not there is no error."""
        self._place.remove([checked(name) for name in names])


def open_archive(address: str, key: str = "") -> Archive:
    """The archive at this address: a folder (made where it is missing) or `s3://BUCKET/PREFIX`; `ArchiveUnusable`.

    A bucket is first asked when something is put or read. `BadInput` when the key is none.
    """
    return Archive(Bucket.at(address) if address.startswith("s3:") else Folder.at(Path(address)), key)
