"""An archive in a folder: an object is a file, written beside, brought to the disk, and then given its name."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from securecart.errors import ArchiveAway, ArchiveDamaged, ArchiveFull, ArchiveMissing, ArchiveUnusable

__all__ = ["Folder"]

CHUNK_BYTES = 1024 * 1024
# Lies in the folder from its first use on: a disk that is not mounted shows an empty folder, which is not the archive.
MARK = ".securecart-archive"
UNFINISHED = ".unfinished"
FORGOTTEN_AFTER_S = 86_400.0
NAMING_TRIES = 100
FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
AWAY = (errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN)


class Folder:
    """Objects as files; readable by their owner alone."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @classmethod
    def at(cls, root: Path) -> Folder:
        """The folder, made where it is missing."""
        folder = cls(root.expanduser().absolute())
        with folder._said():
            folder._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder._root / UNFINISHED).mkdir(mode=0o700, exist_ok=True)
            (folder._root / MARK).touch(mode=0o600)
            folder._forget_unfinished()
        return folder

    @property
    def where(self) -> str:
        """The folder's path."""
        return str(self._root)

    def put(self, name: str, content: IO[bytes]) -> int:
        """Write a file beside, bring it to the disk, give it its name."""
        self._is_there()
        beside = self._root / UNFINISHED / f"{name.replace('/', '+')[-200:]}.{secrets.token_hex(6)}"
        size = 0
        with contextlib.ExitStack() as undo:
            undo.callback(beside.unlink, missing_ok=True)
            with self._said():
                beside.parent.mkdir(mode=0o700, exist_ok=True)
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
                file = undo.enter_context(os.fdopen(os.open(beside, flags, 0o600), "wb", buffering=0))
            while chunk := content.read(CHUNK_BYTES):  # its failures are its own
                with self._said():
                    size += _write(file, chunk)
            with self._said():
                os.fsync(file.fileno())
                self._name(beside, self._root / name)
        return size

    def open(self, name: str) -> Any:
        """The file of this name."""
        self._is_there()
        with self._said():
            try:
                return _Kept(self, name, (self._root / name).open("rb"))
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
                raise ArchiveMissing(name=name, archive=self.where) from error

    def names(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Every file whose path begins so, in order of the names as a bucket gives them."""
        self._is_there()
        above = prefix.rpartition("/")[0]
        found = []
        with self._said():
            for folder, folders, files in os.walk(self._root / above, onerror=_but_missing):
                folders[:] = [one for one in folders if not one.startswith(".")]
                for file in files:
                    path = Path(folder, file)
                    name = path.relative_to(self._root).as_posix()
                    if file.startswith(".") or not name.startswith(prefix):
                        continue
                    with contextlib.suppress(FileNotFoundError):  # removed by somebody since
                        found.append((name, path.stat().st_size))
        yield from sorted(found)

    def remove(self, names: list[str]) -> None:
        """Remove files, and the folders that are empty after that."""
        self._is_there()
        with self._said():
            for name in names:
                path = self._root / name
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    path.unlink()
                for folder in list(path.relative_to(self._root).parents)[:-1]:
                    try:
                        (self._root / folder).rmdir()
                    except OSError:  # something else is in it, or it is gone already
                        break

    def explained(self, error: OSError) -> ArchiveUnusable:
        """What an error of the system means to whoever keeps the archive."""
        why = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in FULL:
            return ArchiveFull(archive=self.where)
        if error.errno in FORBIDDEN:
            whose = f"{why}: give this user the permission to write there, or choose another folder with SECURECART_ARCHIVE"
            return ArchiveUnusable(archive=self.where, why=whose)
        if error.errno in AWAY or not self._root.exists():
            return ArchiveAway(archive=self.where, why=why)
        return ArchiveUnusable(archive=self.where, why=f"{why} ({error.filename or 'the folder'})")

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self.explained(error) from error

    def _is_there(self) -> None:
        """`ArchiveAway` when the folder is not the archive: gone, or a disk's empty mount point."""
        with self._said():
            if not (self._root / MARK).exists():
                why = "it is not there as an archive any more; is its disk mounted?"
                raise ArchiveAway(archive=self.where, why=why if self._root.exists() else "the folder is gone")

    def _name(self, beside: Path, path: Path) -> None:
        for left in reversed(range(NAMING_TRIES)):  # whoever removes the last file of a folder takes the folder along
            try:
                self._make_folders(path)
                beside.replace(path)
                break
            except FileNotFoundError:
                if not left:
                    raise
        _to_disk(path.parent)

    def _make_folders(self, path: Path) -> None:
        for folder in list(reversed(path.relative_to(self._root).parents))[1:]:
            with contextlib.suppress(FileExistsError):
                (self._root / folder).mkdir(mode=0o700)
                _to_disk((self._root / folder).parent)

    def _forget_unfinished(self) -> None:
        for path in (self._root / UNFINISHED).iterdir():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - FORGOTTEN_AFTER_S:
                    path.unlink()


class _Kept:
    """A file of the archive, whose disk may fail while it is read."""

    def __init__(self, folder: Folder, name: str, file: IO[bytes]) -> None:
        self._folder = folder
        self._name = name
        self._file = file

    def read(self, size: int = -1) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            if error.errno == errno.EIO:
                raise ArchiveDamaged(name=self._name, archive=self._folder.where, why="its disk cannot read it") from error
            raise self._folder.explained(error) from error

    def close(self) -> None:
        self._file.close()


def _write(file: IO[bytes], chunk: bytes) -> int:
    left = memoryview(chunk)
    while left:
        left = left[file.write(left) :]
    return len(chunk)


def _to_disk(folder: Path) -> None:
    """A name is safe from a power cut once the folder it stands in is on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _but_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
