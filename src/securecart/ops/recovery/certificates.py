"""Certificates: what a proof found when it restored a backup, kept in the archive and in the home folder.

A certificate is good when nothing was found. Bad ones are kept too: they say since when a backup is no good, and why.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from securecart.engines import Home
from securecart.ops.recovery.model import Site
from securecart.stores.archive import Archive

__all__ = ["FOLDER", "Certificate", "Flaw", "certificates_in", "keep", "newest", "stamp_of"]

FOLDER = "certificates"
KEPT_AT_HOME = 100


class Flaw(Struct, frozen=True):
    """One thing that is wrong with a backup: `part` of it (archive, log, restore, pages, rows, promises), which, and how."""

    part: str
    name: str
    what: str


class Certificate(Struct, frozen=True):
    """What came of restoring the base backups `bases` (oldest first) and their log up to `moment`.

    `seconds` has a figure for each phase and `total`; `rows` is what each table held; `indexes` and `tables` count what
    was read from end to end. `unchecked` says what could not be looked at, and why.
    """

    stamp: str
    good: bool
    began_at: datetime
    archive: str
    moment: datetime | None = None
    bases: tuple[str, ...] = ()
    flaws: tuple[Flaw, ...] = ()
    unchecked: tuple[str, ...] = ()
    postgres: str = ""
    securecart: str = ""
    database_bytes: int = 0
    log_bytes: int = 0
    tables: int = 0
    indexes: int = 0
    rows: dict[str, int] = {}
    seconds: dict[str, float] = {}


def stamp_of(moment: datetime) -> str:
    """The name of a certificate that was begun then; names sort by time."""
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def keep(site: Site, certificate: Certificate) -> None:
    """Keep it at home first, then in the archive, whose errors are its caller's; blocks."""
    content = msgspec.json.format(msgspec.json.encode(certificate))
    folder = site.home.path / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    site.home.write_private(folder / f"{certificate.stamp}.json", content.decode())
    for old in sorted(folder.glob("*.json"))[:-KEPT_AT_HOME]:
        old.unlink(missing_ok=True)
    site.archive.put(f"{FOLDER}/{certificate.stamp}", content)


def newest(home: Home, *, good: bool = False) -> Certificate | None:
    """The newest certificate at home, or the newest good one; blocks for a few small files."""
    found = _at_home(home.path / FOLDER)
    return next((one for one in found if one.good or not good), None)


def certificates_in(archive: Archive) -> Iterator[Certificate]:
    """Those in the archive, the newest first; blocks."""
    for name, _ in sorted(archive.names(f"{FOLDER}/"), reverse=True):
        yield msgspec.json.decode(archive.read(name), type=Certificate)


def _at_home(folder: Path) -> Iterator[Certificate]:
    for file in sorted(folder.glob("*.json"), reverse=True):
        with contextlib.suppress(OSError, msgspec.MsgspecError):  # another version's, or gone in this moment
            yield msgspec.json.decode(file.read_bytes(), type=Certificate)
