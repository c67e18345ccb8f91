"""The live database as its tables' owner sees it."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from securecart.errors import BadInput, NotRunning
from securecart.ops.recovery.model import Site
from securecart.ops.recovery.schema import SESSION
from securecart.undo.policies import POLICY

__all__ = ["check_names", "connect_live"]


async def connect_live(site: Site) -> asyncpg.Connection:
    """A connection to the live database as the tables' owner, speaking as the server aside does."""
    if not site.settings.postgres_owner_url:
        raise NotRunning(home=str(site.home.path))
    try:
        return await asyncpg.connect(site.settings.postgres_owner_url, server_settings=SESSION)
    except OSError as error:
        raise NotRunning(home=str(site.home.path)) from error


async def check_names(site: Site, tables: Sequence[str]) -> None:
    """`BadInput` when one of these is no table of the shop's."""
    now = await connect_live(site)
    try:
        known = {row[0] for row in await now.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    finally:
        await now.close()
    unknown = [name for name in tables if name not in known]
    if unknown:
        known_here = ", ".join(sorted(name for name in known if name not in POLICY.follows and not name.startswith("event")))
        raise BadInput(field="tables", problem=f"There is no table {unknown[0]!r}; there are {known_here}.")
