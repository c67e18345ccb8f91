"""Asks every node, four times a second, what it is and how far it has come; who writes is found out, never configured.

A node that gives no answer for 0.6 seconds is out: its connections are cut off, so that nobody hangs on a frozen server, and
those who wait for one are told at once. It is asked on, and is back as soon as it answers.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import suppress
from typing import TypeVar

import asyncpg

from securecart.errors import StoreAway
from securecart.stores.postgres.choosing import (
    History,
    Position,
    Seen,
    View,
    choose,
    eligible,
    eligible_without_writer,
    follows,
    writer_of,
)
from securecart.stores.postgres.node import AWAY, CANNOT_TELL, SERVER_SETTINGS, Node
from securecart.stores.postgres.statements import statements_of
from securecart.telemetry import log

__all__ = ["Watch"]

T = TypeVar("T")

SQL = statements_of(__package__)
LOOK_EVERY_S = 0.25
# With a look every quarter of a second a read hangs on a frozen node for 0.85 s at most, and is then asked of another.
SILENT_S = 0.6
# A silence is counted in steps, so that one long pause of this very process counts as one step and accuses nobody.
STEP_S = 0.1
CONNECT_S = 5.0  # never reached: silence ends it before
WATCH_SETTINGS = {**SERVER_SETTINGS, "application_name": "securecart watch"}
WAITING_MAX = 1_000
FAILED = (*AWAY, asyncpg.PostgresError)
# The fullest first; a node that cannot answer one is asked the next.
LOOKS = ("look", "look_at_aurora", "look_barely")


class Watch:
    """What was seen of the nodes, and who does what by that. A replica more than `limit_s` behind is left out.

    `confirmed` says that a second node confirms each commit before it is acknowledged.
    """

    def __init__(self, nodes: Sequence[Node], *, limit_s: float, confirmed: bool = False) -> None:
        self._eligible = eligible_without_writer if confirmed else eligible
        self.nodes: Sequence[Node] = nodes
        self.view = View(lags=(None,) * len(nodes))
        self.seen: list[Seen | None] = [None] * len(nodes)
        self._following = [False] * len(nodes)
        self._limit_s = limit_s
        self._history = History()
        self._writes = asyncio.Event()
        self._last_writer: int | None = None
        self._timeline = 0
        self._waiting = 0
        self._turns = itertools.count()
        self._tasks = [asyncio.create_task(self._follow(i)) for i in range(len(nodes))]

    async def writer(self, *, within_s: float) -> Node:
        """The node that writes, waited for at most so long; `StoreAway` when there is none, or too many wait already."""
        if self.view.writer is None and within_s > 0 and self._waiting < WAITING_MAX:
            self._waiting += 1
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(within_s):
                        await self._writes.wait()
            finally:
                self._waiting -= 1
        if self.view.writer is None:
            raise StoreAway(store="orders database", retry_after=2)
        return self.nodes[self.view.writer]

    def readers(self, after: Position | None) -> list[Node]:
        """The replicas that will do for a read, those with the fewest reads under way first."""
        fit = self._eligible(self.view, self.seen, after)
        turn = next(self._turns)
        return sorted((self.nodes[fit[(i + turn) % len(fit)]] for i in range(len(fit))), key=lambda node: node.in_use)

    def close(self) -> None:
        """Stop looking."""
        for task in self._tasks:
            task.cancel()

    async def _follow(self, index: int) -> None:
        """Look at one node for ever. A lost connection is tried anew once before the node counts as away."""
        node, lost = self.nodes[index], 0
        while True:
            try:
                connection = await _patiently(asyncpg.connect(node.url, timeout=CONNECT_S, server_settings=WATCH_SETTINGS))
                connection.add_termination_listener(lambda _: node.nudge())
                try:
                    async for seen in _looks(connection, node):
                        lost = 0
                        self._note(index, seen)
                finally:
                    connection.terminate()
            except FAILED as error:
                lost += 1
                if lost > 1 or isinstance(error, TimeoutError) or self.seen[index] is None:
                    self._lose(index, error)
                    await _pause(node)
            except Exception:  # noqa: BLE001 - a bug in the looking must not end it
                log.exception("looking at a node failed", node=node.name)
                await asyncio.sleep(LOOK_EVERY_S)

    def _note(self, index: int, seen: Seen | None) -> None:
        """Take in what was seen of a node, and decide anew who does what."""
        self.seen[index] = seen
        writer = writer_of(self.seen, since=self._timeline)
        if writer is not None and writer != self._last_writer:
            self._history.begin_anew()
        if seen is not None and seen.position is not None and index == writer:
            self._history.note(seen.position, seen.asked_at)
        if seen is not None and index == writer and seen.timeline != self._timeline:
            self._timeline = seen.timeline
            self._following = [False] * len(self.nodes)  # who followed before has to show that it receives this timeline
        self._following[index] = follows(seen, timeline=self._timeline, already=self._following[index])
        before = self.view
        self.view = choose(
            self.seen, writer, self._history, limit_s=self._limit_s, serving=before.readers, following=self._following
        )
        if writer is None:
            if before.writer is not None:
                log.warning("no node of the orders database writes")
            self._writes.clear()
            return
        if writer != self._last_writer:
            if self._last_writer is not None:  # what hangs on the old one waits for answers that nobody may believe any more
                self.nodes[self._last_writer].cut_off()
            log.info("found who writes", node=self.nodes[writer].name)
            self._last_writer = writer
        self._writes.set()

    def _lose(self, index: int, error: BaseException) -> None:
        if self.seen[index] is not None:
            log.warning("a node of the orders database is out", node=self.nodes[index].name, reason=repr(error))
            self.nodes[index].cut_off()
            self._note(index, None)


async def _looks(connection: asyncpg.Connection, node: Node) -> AsyncIterator[Seen]:
    """What the node says of itself, for ever; driver errors."""
    ways = list(LOOKS)
    while True:
        asked_at = time.monotonic()
        try:
            row = await _patiently(connection.fetchrow(SQL[ways[0]]))
        except CANNOT_TELL:
            row = None
        if row is None:
            if not ways[1:]:
                raise asyncpg.InterfaceError("the node tells nothing of itself")
            ways.pop(0)
            continue
        yield Seen(**dict(row), asked_at=asked_at, at=time.monotonic())
        await _pause(node)


async def _pause(node: Node) -> None:
    """Until the next look, or until somebody has met with a failure here."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LOOK_EVERY_S):
            await node.nudged.wait()
    node.nudged.clear()


async def _patiently(asked: Awaitable[T]) -> T:
    """The answer; `TimeoutError` after a silence in which this process was there to hear it."""
    work = asyncio.ensure_future(asked)
    try:
        for _ in range(round(SILENT_S / STEP_S)):
            await asyncio.wait([work], timeout=STEP_S)
            if work.done():
                return work.result()
        raise TimeoutError
    finally:
        if not work.done():
            work.cancel()
            work.add_done_callback(_forget)


def _forget(work: asyncio.Future[T]) -> None:
    if not work.cancelled():
        work.exception()
