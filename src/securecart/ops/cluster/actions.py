"""Ask the nodes how they are, and carry a plan out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from msgspec import Struct

from securecart.engines import Home
from securecart.engines import patroni_rest as rest
from securecart.engines.patroni import PatroniNode
from securecart.engines.postgres import Postgres
from securecart.engines.process import stop_process
from securecart.errors import ClusterRefused, StepFailed
from securecart.ops.cluster.model import (
    AwaitConfirmed,
    AwaitFollowing,
    AwaitWriter,
    HandOver,
    Node,
    Rebuild,
    Release,
    Snapshot,
    Step,
    TakeOver,
)
from securecart.settings import Settings

__all__ = ["Cluster", "carry_out", "observe"]

LOOK_EVERY_S = 0.1
# The lease of a writer that is gone, and some room for the election.
WRITER_WITHIN_S = 40.0
CONFIRMED_WITHIN_S = 30.0
FOLLOWING_WITHIN_S = 60.0
ANSWERING_WITHIN_S = 60.0
REBUILT_WITHIN_S = 600.0
HAND_OVER_WITHIN_S = 45.0
# Patroni's word for a node's part, where it says all; a replica is one of two things.
ROLES = {"primary": "writer", "standby_leader": "standby leader"}


class Cluster(Struct, frozen=True):
    """Where the nodes are asked, the key that lets them act, and the home whose supervisor starts them."""

    urls: tuple[str, ...]
    key: str
    home: Home

    @classmethod
    def of(cls, settings: Settings) -> Cluster:
        """The cluster that the settings name; `ClusterRefused` when they name none."""
        if settings.cluster_urls:
            return cls(tuple(settings.cluster_urls.split(",")), settings.cluster_key, Home(settings.home_path))
        raise ClusterRefused(
            problem=f"The database of {settings.home_path} does not run on several nodes of ours. `securecart up --profile ha` "
            "makes it do so; a database elsewhere, such as RDS, has commands of its own (docs/topologies.md)."
        )


async def observe(cluster: Cluster) -> Snapshot:
    """Ask every node at the same time, each for 2 seconds at most."""
    states = await asyncio.gather(*(rest.ask(url) for url in cluster.urls))
    held = await asyncio.to_thread(cluster.home.held)
    written = max((state.wal.location for state in states if state and state.role == "primary"), default=None)
    nodes = tuple(_node(number, *pair, held, written) for number, pair in enumerate(zip(cluster.urls, states, strict=True), 1))
    return Snapshot(nodes, paused=any(state.pause for state in states if state))


async def carry_out(cluster: Cluster, steps: Sequence[Step]) -> AsyncIterator[str]:
    """Do one step after the other and tell each in a sentence; `StepFailed` when one cannot be done."""
    for step in steps:
        try:
            yield await _DO[type(step)](cluster, step)
        except StepFailed as failure:
            otherwise = step.otherwise if isinstance(step, AwaitFollowing) else ()
            if not otherwise:
                raise
            yield str(failure)
            async for sentence in carry_out(cluster, otherwise):
                yield sentence


def _node(number: int, url: str, state: rest.NodeState | None, held: frozenset[str], written: int | None) -> Node:
    name = f"{PatroniNode.name}-{number}"
    if state is None:
        return Node(name, url, held=name in held)
    role = ROLES.get(state.role, "synchronous" if state.synchronous else "reader")
    replayed = state.wal.replayed_location
    behind = max(0, written - replayed) if role != "writer" and written is not None and replayed is not None else None
    doing = state.replication_state or state.state
    has = max(state.wal.location, state.wal.received_location or 0, replayed or 0) or None
    return Node(name, url, role, state.serves, doing, state.timeline, behind, has, name in held, state.patroni.name or name)


async def _hand_over(cluster: Cluster, step: HandOver) -> str:
    """Stop the writer's PostgreSQL properly: its last record is on the standbys then, and Patroni lets one take over.

    Where a candidate is named, or the node is on another machine, Patroni is asked for it by its own /switchover. That takes
    about two seconds longer: its reader pauses for two seconds before it follows the new writer, and until then no node
    confirms commits.
    """
    began = time.monotonic()
    server = next(iter(await asyncio.to_thread(PatroniNode.beside, cluster.home, step.writer)), None)
    if server is None or step.candidate is not None:
        seen = await observe(cluster)
        body = {"leader": seen.node(step.writer).member}
        if step.candidate is not None:
            body["candidate"] = seen.node(step.candidate).member
        await _demand(cluster, step.writer, "/switchover", body, HAND_OVER_WITHIN_S)
    else:
        await PatroniNode.write_checkpoint(cluster.home, step.writer)  # so that there is little left to write at the end
        began = time.monotonic()
        await stop_process(server, Postgres.stop_signal, Postgres.stop_within_s)
    return f"{step.writer} handed over after {time.monotonic() - began:.1f} s"


async def _take_over(cluster: Cluster, step: TakeOver) -> str:
    body = {"candidate": (await observe(cluster)).node(step.candidate).member}
    await _demand(cluster, step.candidate, "/failover", body, HAND_OVER_WITHIN_S)
    return f"{step.candidate} takes over"


async def _await_writer(cluster: Cluster, step: AwaitWriter) -> str:
    seen = await _until(cluster, lambda seen: seen.writer is not None, WRITER_WITHIN_S, "no node became the writer")
    assert seen.writer is not None
    instead = "" if step.name in {None, seen.writer.name} else f", not {step.name}"
    return f"{seen.writer.name} is the writer{instead}, on timeline {seen.writer.timeline}"


async def _await_confirmed(cluster: Cluster, step: AwaitConfirmed) -> str:
    del step
    seen = await _until(
        cluster,
        lambda seen: seen.writer is not None and seen.synchronous is not None,
        CONFIRMED_WITHIN_S,
        "no standby confirms commits, so nothing is acknowledged",
    )
    assert seen.synchronous is not None
    return f"{seen.synchronous.name} confirms its commits"


async def _release(cluster: Cluster, step: Release) -> str:
    held = step.name in await asyncio.to_thread(cluster.home.held)
    await asyncio.to_thread(cluster.home.release, step.name)
    return f"{step.name} is let go, and the supervisor starts it" if held else f"{step.name} is not held"


async def _await_following(cluster: Cluster, step: AwaitFollowing) -> str:
    def follows(seen: Snapshot) -> bool:
        node, writer = seen.node(step.name), seen.writer
        return writer is not None and node.serves and node.timeline == writer.timeline

    within_s = FOLLOWING_WITHIN_S if step.otherwise else REBUILT_WITHIN_S
    seen = await _until(cluster, follows, within_s, f"{step.name} does not follow the writer after {within_s:.0f} s")
    assert seen.writer is not None
    return f"{step.name} is the writer again" if seen.writer.name == step.name else f"{step.name} follows {seen.writer.name}"


async def _rebuild(cluster: Cluster, step: Rebuild) -> str:
    silent = f"{step.name} does not answer, so its data cannot be copied anew"
    await _until(cluster, lambda seen: seen.node(step.name).answers, ANSWERING_WITHIN_S, silent)
    await _demand(cluster, step.name, "/reinitialize", {"force": True, "from_leader": True}, HAND_OVER_WITHIN_S)
    return f"{step.name} throws its data away and copies them from the writer"


async def _demand(cluster: Cluster, name: str, path: str, body: object, within_s: float) -> None:
    url = (await observe(cluster)).node(name).url
    answer = await rest.request(url, "POST", path, body=body, key=cluster.key, within_s=within_s)
    if answer.status != 200:  # noqa: PLR2004 - HTTP's own number
        raise StepFailed(problem=f"{name} says: {answer.text.strip() or 'nothing'}.")


async def _until(cluster: Cluster, condition: Callable[[Snapshot], bool], within_s: float, otherwise: str) -> Snapshot:
    deadline = time.monotonic() + within_s
    while not condition(seen := await observe(cluster)):
        if time.monotonic() > deadline:
            raise StepFailed(problem=f"{otherwise[0].upper()}{otherwise[1:]}; see `securecart cluster status` and its log.")
        await asyncio.sleep(LOOK_EVERY_S)
    return seen


_DO: dict[type[Step], Callable[..., Awaitable[str]]] = {
    HandOver: _hand_over,
    TakeOver: _take_over,
    AwaitWriter: _await_writer,
    AwaitConfirmed: _await_confirmed,
    Release: _release,
    AwaitFollowing: _await_following,
    Rebuild: _rebuild,
}
