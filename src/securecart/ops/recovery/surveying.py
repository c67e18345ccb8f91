"""The home as a recovery in place finds it, and the file in which it writes down how far it is."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from securecart import settings as settings_table
from securecart.engines import Home, address_of
from securecart.engines.patroni import NODES, PatroniNode
from securecart.engines.postgres import Postgres
from securecart.engines.postgres_roles import NOT_READY
from securecart.ops.recovery.holdings import base_for
from securecart.ops.recovery.model import Moment, Site
from securecart.ops.recovery.places import live_of, place_of
from securecart.ops.recovery.planning import Note, Seen
from securecart.ops.recovery.restoring import newest_survey
from securecart.ops.recovery.running import superuser_url, timeline_of
from securecart.settings import Settings

__all__ = ["forget_note", "look", "nodes_of", "observe", "read_note", "write_note"]


NOTE = "recovery.json"


def read_note(home: Home) -> Note | None:
    """The recovery that is under way, None when there is none."""
    try:
        return msgspec.json.decode((home.run() / NOTE).read_bytes(), type=Note)
    except FileNotFoundError:
        return None


def write_note(home: Home, note: Note) -> None:
    """Write down how far it is, in one step."""
    home.write_private(home.run() / NOTE, msgspec.json.format(msgspec.json.encode(note)).decode())


def forget_note(home: Home) -> None:
    """No recovery is under way any more."""
    (home.run() / NOTE).unlink(missing_ok=True)


def nodes_of(settings: Settings) -> Sequence[str]:
    """What the database's nodes are called."""
    if settings.profile == "single":
        return (Postgres.name,)
    return tuple(f"{PatroniNode.name}-{number}" for number in range(1, NODES + 1))


def look(home: Home, settings: Settings) -> Seen:
    """The home's folders and what was written down, without the archive."""
    note = read_note(home)
    nodes = note.nodes if note is not None else nodes_of(settings)
    stamp = note.stamp if note is not None else ""
    kept = sorted(file.name for file in (home.path / "data").glob("postgres-before-*"))
    last = f"The database from before the last one is kept in {home.path / 'data' / kept[-1]}." if kept else ""
    given = settings_table.from_environment().get("postgres_url", "")
    return Seen(
        profile=settings.profile,
        elsewhere=address_of(given) if given else "",
        places=tuple(place_of(home, node, stamp) for node in nodes),
        note=note,
        free_bytes=shutil.disk_usage(live_of(home, nodes[0]).parent).free,
        last=last,
    )


async def observe(site: Site, asked: str, meant: Callable[[str], Awaitable[Moment]]) -> Seen:
    """All that a recovery to this moment is decided on; `RecoveryRefused` names the window when it lies outside."""
    seen = await asyncio.to_thread(look, site.home, site.settings)
    if seen.note is not None and seen.note.asked == asked:
        return msgspec.structs.replace(
            seen, asked=asked, moment=seen.note.moment, timeline=await _live_timeline(site.home, seen.note)
        )
    moment = await meant(asked)
    seen = msgspec.structs.replace(seen, asked=asked, moment=moment)
    if seen.note is not None or seen.elsewhere:
        return seen
    holdings = await newest_survey(site, moment)
    return msgspec.structs.replace(seen, database_bytes=base_for(holdings, moment).database_bytes)


async def _live_timeline(home: Home, note: Note) -> int:
    """The timeline of the database that runs; 0 when none does, or nothing is restored yet that could have the same."""
    if not note.timeline or {"stop"} & {note.begun, *note.done}:
        return 0
    try:
        return await timeline_of(superuser_url(home))
    except NOT_READY:
        return 0
