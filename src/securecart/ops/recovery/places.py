"""A node's data folder, the old one kept beside it, the restored one aside: renamed, never copied over one another.

Each verb can be cut off at any moment and done again: what is where tells how far it came.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import msgspec

from securecart.engines import Home
from securecart.engines.patroni import MARK, data_of
from securecart.engines.patroni_yaml import founding
from securecart.engines.postgres import Postgres
from securecart.errors import StepFailed
from securecart.ops.recovery.planning import Place
from securecart.settings import Settings

__all__ = ["aside_of", "below", "bytes_of", "copy", "exchange", "fit", "kept_of", "live_of", "place_of", "put_back"]

ORIGINAL_CONFIGURATION, CONFIGURATION = "postgresql.base.conf", "postgresql.conf"


def live_of(home: Home, node: str) -> Path:
    """Where the node's database is."""
    return home.path / "data" / "postgres" if node == Postgres.name else data_of(home, node)


def kept_of(home: Home, node: str, stamp: str) -> Path:
    """Where its old one is kept after a recovery."""
    live = live_of(home, node)
    return live.with_name(f"{live.name}-before-{stamp}")


def below(home: Home, stamp: str) -> Path:
    """Where a recovery prepares the restored ones."""
    return home.path / "data" / f"recovery-{stamp}"


def aside_of(home: Home, node: str, stamp: str) -> Path:
    """Where the restored one for the node is, until it is put in place."""
    return below(home, stamp) / live_of(home, node).name


def place_of(home: Home, node: str, stamp: str) -> Place:
    """What of these is there."""
    if not stamp:
        return Place(node, _holds_database(live_of(home, node)))
    return Place(
        node,
        live=_holds_database(live_of(home, node)),
        kept=kept_of(home, node, stamp).exists(),
        aside=_holds_database(aside_of(home, node, stamp)),
    )


def exchange(home: Home, node: str, stamp: str) -> None:
    """Keep the old one under another name, and put the restored one in its place."""
    live, kept, aside = live_of(home, node), kept_of(home, node, stamp), aside_of(home, node, stamp)
    if not aside.exists():
        if kept.exists() and _holds_database(live):
            return
        raise StepFailed(
            problem=f"The restored database {aside} is not there any more. Undo this with `securecart recover abandon`."
        )
    if not kept.exists() and live.exists():
        _rename(live, kept)
    _rename(aside, live)


def put_back(home: Home, node: str, stamp: str) -> None:
    """Put the old one in its place again; the restored one goes aside, as long as nobody needs its room."""
    live, kept, aside = live_of(home, node), kept_of(home, node, stamp), aside_of(home, node, stamp)
    if not kept.exists():
        return
    if live.exists():
        if aside.exists():  # whatever it is, it is neither of the two
            raise StepFailed(problem=f"{live} is neither the old database nor the restored one; move it away and repeat this.")
        aside.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _rename(live, aside)
    _rename(kept, live)


def copy(home: Home, first: str, others: Iterable[str], stamp: str) -> None:
    """Give the other nodes copies of the first one's restored database."""
    for node in others:
        folder = aside_of(home, node, stamp)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(aside_of(home, first, stamp), folder, symlinks=True)


def fit(folder: Path, settings: Settings) -> None:
    """Have a restored database be what this profile expects: one of several nodes under Patroni, or one alone."""
    (folder / MARK).unlink(missing_ok=True)
    if (folder / ORIGINAL_CONFIGURATION).exists():  # Patroni keeps it there, and writes a file of its own
        (folder / ORIGINAL_CONFIGURATION).replace(folder / CONFIGURATION)
    for left in ("standby.signal", "recovery.signal", "postmaster.opts", "backup_label.old"):
        (folder / left).unlink(missing_ok=True)
    if settings.profile != "single":
        version = (folder / "PG_VERSION").read_text(encoding="utf-8").strip()
        (folder / MARK).write_bytes(msgspec.json.encode(founding(version, settings)))


def bytes_of(folder: Path) -> int:
    """How much room a folder takes."""
    return sum(file.lstat().st_blocks * 512 for file in folder.rglob("*"))


def _holds_database(folder: Path) -> bool:
    return (folder / "PG_VERSION").exists()


def _rename(old: Path, new: Path) -> None:
    """Rename a folder, so that it stays renamed through a power cut; an empty one is in nobody's way."""
    old.rename(new)
    for parent in {old.parent, new.parent}:
        descriptor = os.open(parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
