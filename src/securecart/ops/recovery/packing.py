"""A folder becomes one object of the archive: a tar stream that is written while it is put, so memory stays small."""

from __future__ import annotations

import os
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

from securecart.errors import RecoveryRefused
from securecart.stores.archive import Archive

__all__ = ["put_folder"]

PIPED_BYTES = 1024 * 1024
TELL_EVERY_BYTES = 16 * 1024 * 1024


def put_folder(archive: Archive, name: str, folder: Path, tell: Callable[[int], None], given_up: threading.Event) -> int:
    """Put all that is in the folder; the bytes it takes in the archive. `tell` hears now and then how many were read.

    Once it is `given_up`, nothing is put, and `RecoveryRefused` raised.
    """
    stream = _Tar(folder, tell, given_up)
    try:
        return archive.put_file(name, cast("IO[bytes]", stream))
    finally:
        stream.close()


class _Tar:
    """The folder as a stream; a failure to read a file is raised by who reads the stream, never a shorter stream."""

    def __init__(self, folder: Path, tell: Callable[[int], None], given_up: threading.Event) -> None:
        self._folder = folder
        self._given_up = given_up
        self._tell = tell
        self._read = self._told = 0
        self._failure: Exception | None = None
        source, sink = os.pipe()
        self._source = os.fdopen(source, "rb")
        self._writing = threading.Thread(target=self._write, args=(os.fdopen(sink, "wb", buffering=0),), name="tar")
        self._writing.start()

    def read(self, size: int = -1) -> bytes:
        if self._given_up.is_set():
            raise RecoveryRefused(problem="The base backup was given up, because the archiver is to stop.")
        content = self._source.read(size)
        self._read += len(content)
        if self._read > self._told + TELL_EVERY_BYTES:
            self._told = self._read
            self._tell(self._read)
        if not content and size != 0:
            self._writing.join()
            if self._failure is not None:
                raise self._failure
        return content

    def close(self) -> None:
        self._source.close()  # who still writes finds nobody reading, and ends
        self._writing.join()

    def _write(self, sink: IO[bytes]) -> None:
        try:
            with sink, tarfile.open(fileobj=sink, mode="w|", bufsize=PIPED_BYTES) as tar:
                tar.add(self._folder, arcname=".", filter=_nobodys)
        except Exception as failure:  # noqa: BLE001 - it is raised by who reads
            self._failure = failure


def _nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Whose files they are here means nothing where they are restored."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
