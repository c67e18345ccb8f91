"""The steps: each is done to one region, and says in a sentence what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import asyncpg
import psutil
from msgspec import Struct

from securecart.engines import Home, kind_of
from securecart.engines.beyond import REPLICATION, standby_of
from securecart.engines.link import door_port
from securecart.engines.patroni_rest import request
from securecart.engines.process import gone, process_of
from securecart.engines.regions import FIRST, SECOND, SHARED
from securecart.engines.supervisor import KINDS
from securecart.errors import OperatorError
from securecart.ops.regions.model import Region, Step
from securecart.ops.regions.observing import home_of, look_at
from securecart.stores.postgres import statements_of

__all__ = ["bring_down", "carry_out", "compare_databases"]

SQL = statements_of(__package__)
LOOK_AGAIN_S = 0.1
STOPS_WITHIN_S, EQUAL_WITHIN_S, LEADS_WITHIN_S, FOLLOWS_WITHIN_S = 30.0, 20.0, 30.0, 120.0
COMPARED_TIMES, COMPARE_AGAIN_S, COMPARE_WITHIN_S = 10, 0.5, 600.0


class Down(Struct, frozen=True):
    """The engines that were brought down, and the moment after which none of them did anything."""

    labels: tuple[str, ...]
    at: datetime


async def carry_out(home: Home, step: Step) -> str:
    """Do the step; the sentence says what became of it. `OperatorError` when it does not come about in time."""
    began = time.monotonic()
    done = await STEPS[step.do](home, step.region)
    return f"{done} ({time.monotonic() - began:.1f} s)"


async def bring_down(home: Home, name: str) -> Down:
    """Kill every process of a region at once, and leave all of them down; what both regions share runs on."""
    there = home_of(home, name)
    state = there.state()
    labels = [label for label in (state.planned if state else ()) if kind_of(label) not in SHARED]
    for label in labels:
        there.hold(label)
    first = [process_of(engine) for engine in (state.engines if state else ()) if engine.name in labels and engine.pid]
    beside = [process for label in labels for process in KINDS[kind_of(label)].beside(there, label)]
    family = [member for process in (*first, *beside) if process is not None for member in _family(process)]
    for member in family:
        with contextlib.suppress(psutil.Error):
            member.kill()
    at = datetime.now(UTC)
    while not all(gone(member) for member in family):  # noqa: ASYNC110 - no event tells of another program's end
        await asyncio.sleep(LOOK_AGAIN_S)
    return Down(tuple(labels), at)


async def compare_databases(one: str, other: str) -> dict[str, str]:
    """What the databases at two addresses do not have alike, by table; looks again while one may still be catching up."""
    differences: dict[str, str] = {}
    for _ in range(COMPARED_TIMES):
        here, there = await asyncio.gather(_digests(one), _digests(other))
        differences = {
            table: f"{here.get(table)} here, {there.get(table)} there"
            for table in sorted(here.keys() | there.keys())
            if here.get(table) != there.get(table)
        }
        if not differences:
            break
        await asyncio.sleep(COMPARE_AGAIN_S)
    return differences


async def _follow(home: Home, name: str) -> str:
    """Tell the region's nodes to follow the other region, and wait until none of them writes."""
    other = SECOND if name == FIRST else FIRST
    await _agree(home, name, standby_of(name, door_port(home, other, REPLICATION)))
    await _until(home, name, lambda region: not region.writes, STOPS_WITHIN_S, f"Region {name} still takes writes")
    return f"Region {name} takes no writes any more, and follows {other} from now on"


async def _hold(home: Home, name: str) -> str:
    """Fence a region that cannot be asked: nothing of it runs, and its database will follow when it comes back."""
    home_of(home, name).fence()
    down = await bring_down(home, name)
    return (
        f"Region {name} is fenced: its {len(down.labels)} engines are down and held, and its database follows when it comes back"
    )


async def _wait_until_equal(home: Home, name: str) -> str:
    """Wait until the region has all that the other wrote before it stopped.

    All but one of the other's nodes have to say how far they are: whatever was acknowledged is on two of them.
    """
    other = SECOND if name == FIRST else FIRST
    deadline = time.monotonic() + EQUAL_WITHIN_S
    while True:
        here, there = await asyncio.gather(look_at(home, name), look_at(home, other))
        told = [node.position for node in there.nodes if node.position is not None]
        if not there.writes and len(told) >= len(there.nodes) - 1 and here.leader and (here.leader.position or 0) >= max(told):
            return f"Region {name} has everything that {other} wrote"
        if time.monotonic() > deadline:
            await _agree(home, other, None)
            raise OperatorError(
                problem=f"Region {name} did not catch up within {EQUAL_WITHIN_S:.0f} s, so the writes are given back to {other}."
            )
        await asyncio.sleep(LOOK_AGAIN_S)


async def _promote(home: Home, name: str) -> str:
    """Have the region's leader take writes, and wait until a second node confirms them."""
    await _agree(home, name, None)
    region = await _until(home, name, _takes_writes, LEADS_WITHIN_S, f"Region {name} does not take writes yet")
    leader = region.leader
    return f"Region {name} takes the writes; {leader.label if leader else 'one'} leads and another node confirms each commit"


async def _let_go(home: Home, name: str) -> str:
    """Have the supervisor start what was held; its nodes find the fence and follow."""
    there = home_of(home, name)
    held = there.held()
    if held:
        there.fence()
    for label in held:
        there.release(label)
    return f"Region {name}: {len(held)} engines are let go"


async def _wait_until_it_follows(home: Home, name: str) -> str:
    """Wait until every node of the region runs and streams; then the fence may go, for they have agreed."""
    await _until(home, name, _all_follow, FOLLOWS_WITHIN_S, f"Region {name} does not follow yet; see its nodes' logs")
    other = SECOND if name == FIRST else FIRST
    await _agree(home, name, standby_of(name, door_port(home, other, REPLICATION)))  # a fenced region comes back without its slot
    home_of(home, name).take_fence_down()
    return f"Region {name} follows, with every node"


STEPS: dict[str, Callable[[Home, str], Awaitable[str]]] = {
    "follow": _follow,
    "hold": _hold,
    "wait until equal": _wait_until_equal,
    "promote": _promote,
    "let go": _let_go,
    "wait until it follows": _wait_until_it_follows,
}


def _takes_writes(region: Region) -> bool:
    return any(node.writes and node.role == "primary" for node in region.nodes) and any(node.synchronous for node in region.nodes)


def _all_follow(region: Region) -> bool:
    return bool(region.follows) and all(
        node.state == "running" and node.streams and node.writes is False for node in region.nodes
    )


async def _agree(home: Home, name: str, standby: dict[str, Any] | None) -> None:
    """Have the region's nodes agree whom to follow, None for nobody; any node that answers is told."""
    settings = home_of(home, name).settings()
    said = ""
    for url in str(settings["cluster_urls"]).split(","):
        answer = await request(url, "PATCH", "/config", body={"standby_cluster": standby}, key=str(settings["cluster_key"]))
        if answer.status == HTTPStatus.OK:
            return
        said = answer.text.strip() or said
    raise OperatorError(problem=f"No database node of region {name} could be told: {said or 'none answers'}.")


async def _until(home: Home, name: str, well: Callable[[Region], bool], within_s: float, otherwise: str) -> Region:
    deadline = time.monotonic() + within_s
    while not well(region := await look_at(home, name)):
        if time.monotonic() > deadline:
            parts = ", ".join(f"{node.label} {node.role or 'no answer'} {node.state}".strip() for node in region.nodes)
            raise OperatorError(problem=f"{otherwise} after {within_s:.0f} s: {parts}.")
        await asyncio.sleep(LOOK_AGAIN_S)
    return region


async def _digests(address: str) -> dict[str, tuple[int, str]]:
    connection = await asyncpg.connect(address, command_timeout=COMPARE_WITHIN_S)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            tables = await connection.fetch(SQL["digests"])
            found = {table["name"]: await connection.fetchrow(table["statement"]) for table in tables}
    finally:
        await connection.close()
    return {name: (row[0], row[1]) for name, row in found.items() if row is not None}


def _family(process: psutil.Process) -> Iterator[psutil.Process]:
    yield process
    with contextlib.suppress(psutil.NoSuchProcess):
        yield from process.children(recursive=True)
