"""Look at both regions: every node's Patroni and PostgreSQL, asked directly and, for its writer, through the link."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec

from securecart import settings as settings_table
from securecart.engines import Home
from securecart.engines.beyond import WRITER
from securecart.engines.link import cut_file, door_port
from securecart.engines.patroni_rest import NodeState, ask, request
from securecart.engines.process import process_of
from securecart.engines.regions import FIRST, SECOND
from securecart.errors import OperatorError
from securecart.ops.regions.model import Node, Region, Regions
from securecart.settings import Settings
from securecart.stores.postgres import statements_of
from securecart.stores.postgres.node import addresses_of

__all__ = ["home_of", "look_at", "observe", "whole_home"]

SQL = statements_of(__package__)
ANSWER_WITHIN_S = 2.0
SILENT = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


async def observe(home: Home) -> Regions:
    """Both regions of the shop in this home; `OperatorError` when it has only one."""
    first, second = await asyncio.gather(*(look_at(home, name) for name in (FIRST, SECOND)))
    return Regions((_with_lag(first, second), _with_lag(second, first)), link_cut=cut_file(home).exists())


async def look_at(home: Home, name: str) -> Region:
    """One region."""
    there = home_of(home, name)
    loaded = settings_table.load(str(there.path))
    urls = loaded.cluster_urls.split(",")
    addresses = addresses_of(loaded.region_postgres_url)
    nodes, follows, through_link = await asyncio.gather(
        asyncio.gather(*(_node(f"patroni-{i}", *pair) for i, pair in enumerate(zip(urls, addresses, strict=True), 1))),
        _follows(urls),
        _writes_through_link(home, name, addresses[0]),
    )
    state = there.state()
    return Region(
        name,
        tuple(node for node, _ in nodes),
        follows=follows,
        fenced=there.is_fenced(),
        held=tuple(sorted(there.held())),
        running=tuple(engine.name for engine in (state.engines if state else ()) if engine.pid and process_of(engine)),
        writes_through_link=through_link,
        behind_seconds=min((age for _, age in nodes if age is not None), default=None),
    )


def home_of(home: Home, name: str) -> Home:
    """The folder of a region; `OperatorError` when the shop has none."""
    there = home if name == FIRST else home.region(name)
    if not there.settings().get("region_postgres_url"):
        raise OperatorError(problem=f"The shop in {home.path} has one region; `up --profile regions` gives it another.")
    return there


def whole_home(loaded: Settings) -> Home:
    """The home that both regions are in, given the settings of either."""
    path = loaded.home_path
    return Home(path.parent if loaded.region == SECOND else path)


async def _node(label: str, url: str, address: str) -> tuple[Node, float | None]:
    """The node, and the age in seconds of the newest commit that it has replayed where it follows."""
    state, (writes, age_s) = await asyncio.gather(ask(url), _postgres(address))
    if state is None:
        return Node(label, writes=writes), age_s
    return Node(
        label,
        role=state.role,
        state=state.state,
        streams=state.replication_state == "streaming",
        synchronous=state.synchronous,
        timeline=state.timeline,
        position=_position(state),
        writes=writes,
    ), age_s


def _position(state: NodeState) -> int | None:
    """What the node has written, or received; None while its PostgreSQL is down."""
    if state.state != "running":
        return None
    return max(state.wal.location, state.wal.received_location or 0, state.wal.replayed_location or 0) or None


async def _postgres(address: str) -> tuple[bool | None, float | None]:
    """Whether the server takes writes (None: no answer), and how old the newest commit is that it has replayed."""
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            connection = await asyncpg.connect(address)
            try:
                row: Any = await connection.fetchrow(SQL["how_is_it"])
            finally:
                connection.terminate()
    except SILENT:
        return None, None
    return bool(row["writes"]), row["replayed_s"]


async def _follows(urls: Sequence[str]) -> bool | None:
    """Whether the nodes have agreed to follow another region; None when none of them says."""
    for answer in await asyncio.gather(*(request(url, "GET", "/config", within_s=ANSWER_WITHIN_S) for url in urls)):
        try:
            return bool(msgspec.json.decode(answer.text)["standby_cluster"]) if answer.status == 200 else None  # noqa: PLR2004
        except KeyError:
            return False
        except msgspec.DecodeError:
            continue
    return None


async def _writes_through_link(home: Home, name: str, address: str) -> bool | None:
    """Whether the region's writer is reached by the way that the other region takes; None: nobody answers there."""
    try:
        port = await asyncio.to_thread(door_port, home, name, WRITER)
    except (OSError, KeyError):
        return None
    user, _, rest = address.partition("@")
    writes, _ = await _postgres(f"{user}@127.0.0.1:{port}/{rest.partition('/')[2]}")
    return writes


def _with_lag(region: Region, other: Region) -> Region:
    """What it lacks of the other's writes; nothing where it takes the writes itself."""
    leader = region.leader
    if region.writes or leader is None or leader.position is None:
        return msgspec.structs.replace(region, behind_bytes=None, behind_seconds=None)
    if not other.writes or other.position is None:
        return region  # nobody can say how much it lacks; the newest commit that it has is as old as it says
    behind = max(other.position - leader.position, 0)
    return msgspec.structs.replace(region, behind_bytes=behind, behind_seconds=region.behind_seconds if behind else 0.0)
