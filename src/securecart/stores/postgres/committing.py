"""A commit that is never cancelled.

With a synchronous standby a commit waits until another node has it, and a cancelled wait does not undo it: PostgreSQL
stops waiting, warns, and makes the row visible on this node alone. Whoever reads it believes what a failover then loses.
The driver sends a cancel request when a call takes too long or its task is cancelled, so neither may reach a commit: here
the connection is cut off instead. The server goes on waiting, and the row stays unseen until another node has it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import asyncpg

from securecart.errors import SecureCartError

__all__ = ["Connection", "commit"]

Connection = asyncpg.pool.PoolConnectionProxy

NEVER_S = 86_400.0  # the driver's own time-out, which would send a cancel request


async def commit(connection: Connection, *, within_s: float) -> None:
    """Commit; after `within_s` the connection is lost, and then as after any other loss nobody knows the outcome yet."""
    work = asyncio.ensure_future(connection.execute("COMMIT", timeout=NEVER_S))
    too_late = asyncio.get_running_loop().call_later(within_s, _cut_off, connection)
    try:
        said = await asyncio.shield(work)
    except asyncio.CancelledError:
        _cut_off(connection)
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await work
        raise
    finally:
        too_late.cancel()
    if said != "COMMIT":  # what was left of a failed statement is rolled back, and PostgreSQL calls that a success
        raise SecureCartError


def _cut_off(connection: Connection) -> None:
    with suppress(asyncpg.InterfaceError):  # it has been cut off, or given back
        connection.terminate()
