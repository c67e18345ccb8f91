"""The network between two regions: `python -m securecart.sandbox.link --plan FILE`.

A relay for TCP. Each of its doors listens on loopback and leads to one store of the other region; what goes in comes out
half the round trip's delay later, in order and at full speed, and a new connection costs a round trip, as it does between
two cities. As long as the cut file is there nothing arrives: connections stand still, new ones get no answer, and what
was under way arrives once the file is gone. A door to a database follows it: it asks the nodes of its Patroni cluster who
leads, and drops the connections to who did before.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Literal, cast

import aiohttp
import msgspec
import uvloop
from aiohttp import web
from msgspec import Struct

__all__ = ["Door", "Link", "LinkPlan", "Node"]

UNDER_WAY_MAX = 8 * 2**20  # bytes in each direction of a connection: 100 MB/s and more at 80 ms
WRITE_BUFFER = 2**20
EARLY_S = 0.0005  # timers have a millisecond's grain
CUT_LOOK_S = 0.05
FOLLOW_EVERY_S = 0.5
ASK_WITHIN_S = 1.0
CONNECT_WITHIN_S = 5.0


class Node(Struct, frozen=True):
    """A database that may lead: its Patroni's REST address, and its own host and port."""

    api: str
    host: str
    port: int


class Door(Struct, frozen=True):
    """A port on loopback, and where it leads: to `nodes[0]`, or to the one that Patroni says has the `role`.

    `primary` accepts writes; `leader` also is who leads a cluster that follows the other region's.
    """

    name: str
    port: int
    nodes: tuple[Node, ...]
    role: Literal["", "primary", "leader"] = ""


class LinkPlan(Struct, frozen=True):
    """The delay there and back in milliseconds, the doors, the file that cuts, and the port that tells how it is."""

    delay_ms: float
    doors: tuple[Door, ...]
    cut_file: str = ""
    status_port: int = 0


class DoorStatus(Struct, frozen=True):
    """Where a door leads now (empty: nowhere), how many connections go through it, and bytes that came out of it."""

    name: str
    target: str
    connections: int
    bytes: int


class Link:
    """The doors, open from `start` to `close`; `cut` and `mend` are for who holds it in hand, the cut file for all others."""

    def __init__(self, plan: LinkPlan) -> None:
        self.half_s = plan.delay_ms / 2000
        self.is_cut = False
        self.mended = asyncio.Event()
        self.mended.set()
        self._cut_file = Path(plan.cut_file) if plan.cut_file else None
        self._doors = [_OpenDoor(self, door) for door in plan.doors]
        self._tasks: list[asyncio.Task[None]] = []
        self._http: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Listen at every door; `OSError` when a port is taken."""
        self._look_at_cut_file()
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ASK_WITHIN_S))
        for door in self._doors:
            if door.plan.role:
                await door.follow(self._http)
        for door in self._doors:
            await door.open()
            if door.plan.role:
                self._tasks.append(asyncio.create_task(self._follow(door, self._http)))
        if self._cut_file is not None:
            self._tasks.append(asyncio.create_task(self._watch_cut_file()))

    async def close(self) -> None:
        """Close the doors and every connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for door in self._doors:
            door.close()
        if self._http is not None:
            await self._http.close()

    def cut(self) -> None:
        """Nothing arrives from now on."""
        self.is_cut = True
        self.mended.clear()

    def mend(self) -> None:
        """What was under way arrives, and so does what is sent."""
        self.is_cut = False
        self.mended.set()
        for door in self._doors:
            for pipe in door.pipes:
                pipe.go_on()

    def status(self) -> list[DoorStatus]:
        """Each door as it is now."""
        return [
            DoorStatus(
                door.plan.name, f"{door.target.host}:{door.target.port}" if door.target else "", len(door.pipes), door.bytes
            )
            for door in self._doors
        ]

    async def _follow(self, door: _OpenDoor, http: aiohttp.ClientSession) -> None:
        while True:
            await asyncio.sleep(FOLLOW_EVERY_S)
            await door.follow(http)

    async def _watch_cut_file(self) -> None:
        while True:
            await asyncio.sleep(CUT_LOOK_S)
            self._look_at_cut_file()

    def _look_at_cut_file(self) -> None:
        there = self._cut_file is not None and self._cut_file.exists()
        if there and not self.is_cut:
            self.cut()
        elif self.is_cut and not there and self._cut_file is not None:
            self.mend()


class _OpenDoor:
    """A listening door and the connections that came through it."""

    def __init__(self, link: Link, plan: Door) -> None:
        self.link = link
        self.plan = plan
        self.target: Node | None = None if plan.role else plan.nodes[0]
        self.pipes: set[_Pipe] = set()
        self.bytes = 0
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Pipe(self).near, "127.0.0.1", self.plan.port, backlog=512)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for pipe in list(self.pipes):
            pipe.abort()

    async def follow(self, http: aiohttp.ClientSession) -> None:
        """Ask every node whether it has the role; connections to a node that has it no more are dropped."""
        answers = await asyncio.gather(*(self._has_role(http, node) for node in self.plan.nodes))
        leading = next((node for node, yes in zip(self.plan.nodes, answers, strict=True) if yes), None)
        if leading is None and self.target is not None and answers[self.plan.nodes.index(self.target)] is None:
            return  # its Patroni gives no answer, which says nothing about the database
        if leading == self.target:
            return
        for pipe in [pipe for pipe in self.pipes if pipe.target not in {None, leading}]:
            pipe.abort()
        self.target = leading

    async def _has_role(self, http: aiohttp.ClientSession, node: Node) -> bool | None:
        try:
            async with http.get(f"{node.api.rstrip('/')}/{self.plan.role}") as answer:
                return answer.status == HTTPStatus.OK
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None


class _Pipe:
    """One connection: the `near` end knocked at the door, the `far` end is the store's."""

    def __init__(self, door: _OpenDoor) -> None:
        self.door = door
        self.target: Node | None = None
        self.there, self.back = _Lane(self), _Lane(self)
        self.near, self.far = _End(self, out=self.there, into=self.back), _End(self, out=self.back, into=self.there)
        self._reaching: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Somebody has knocked: reach the store, a round trip later."""
        self.door.pipes.add(self)
        self.there.open_at = asyncio.get_running_loop().time() + 2 * self.door.link.half_s
        self._reaching = asyncio.create_task(self._reach())

    def go_on(self) -> None:
        self.there.go_on()
        self.back.go_on()

    def ended(self, lane: _Lane) -> None:
        """One direction has delivered its end; with the other's the connection is over. Without a far end it is at once."""
        other = self.back if lane is self.there else self.there
        if other.is_over:
            self.close()

    def close(self) -> None:
        """Close both ends, each after what it was still to be sent."""
        for end in (self.near, self.far):
            if end.transport is not None:
                end.transport.close()
        self._forget()

    def abort(self) -> None:
        """Break both ends off."""
        for end in (self.near, self.far):
            if end.transport is not None:
                end.transport.abort()
        self._forget()

    def _forget(self) -> None:
        if self._reaching is not None:
            self._reaching.cancel()
        self.door.pipes.discard(self)

    async def _reach(self) -> None:
        link = self.door.link
        await asyncio.sleep(link.half_s)
        await link.mended.wait()
        self.target = self.door.target
        try:
            if self.target is None:
                raise ConnectionRefusedError
            async with asyncio.timeout(CONNECT_WITHIN_S):
                await asyncio.get_running_loop().create_connection(lambda: self.far, self.target.host, self.target.port)
        except (OSError, TimeoutError):
            await asyncio.sleep(link.half_s)
            self.abort()


class _End(asyncio.Protocol):
    """A socket of ours: what it says goes `out`, what it is told comes out of `into`."""

    def __init__(self, pipe: _Pipe, *, out: _Lane, into: _Lane) -> None:
        self.pipe = pipe
        self.out = out
        self.into = into
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self.out.source = self.into.sink = self.transport
        if self is self.pipe.near:
            self.pipe.begin()
        else:
            self.pipe.go_on()

    def data_received(self, data: bytes) -> None:
        self.out.send(data)

    def eof_received(self) -> bool:
        if self.pipe.far.transport is None and self.pipe.door.link.is_cut:
            self.pipe.abort()  # it gave up before anybody heard of it
        self.out.send(None)
        return True  # the other direction goes on until it has ended too

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self is self.pipe.near and self.pipe.far.transport is None:
            self.pipe.abort()
        self.out.send(None)
        self.into.drop()

    def pause_writing(self) -> None:
        self.into.is_blocked = True

    def resume_writing(self) -> None:
        self.into.is_blocked = False
        self.into.go_on()


class _Lane:
    """One direction: each piece arrives half the delay after it was sent. A source that is too far ahead is not read."""

    def __init__(self, pipe: _Pipe) -> None:
        self.pipe = pipe
        self.source: asyncio.Transport | None = None
        self.sink: asyncio.Transport | None = None
        self.open_at = 0.0
        self.is_blocked = False
        self.is_over = False
        self._pieces: deque[tuple[float, bytes | None]] = deque()
        self._bytes = 0
        self._paused = False
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def send(self, piece: bytes | None) -> None:
        """Put a piece on its way; None is the end."""
        due = max(self._loop.time(), self.open_at) + self.pipe.door.link.half_s
        self._pieces.append((due, piece))
        self._bytes += len(piece or b"")
        if self._bytes > UNDER_WAY_MAX and not self._paused and self.source is not None and not self.source.is_closing():
            self._paused = True
            self.source.pause_reading()
        self.go_on()

    def go_on(self) -> None:
        """Deliver the first piece when it is due, as far as anything can be delivered."""
        if self._timer is None and self._pieces and not self._held():
            self._timer = self._loop.call_at(self._pieces[0][0], self._deliver)

    def drop(self) -> None:
        """Nobody is there any more to deliver to."""
        self.sink = None
        if self.pipe.far.transport is not None:
            self._finish()

    def _held(self) -> bool:
        return self.is_over or self.is_blocked or self.sink is None or self.pipe.door.link.is_cut

    def _deliver(self) -> None:
        self._timer = None
        now = self._loop.time() + EARLY_S
        while self._pieces and not self._held() and self._pieces[0][0] <= now:
            _, piece = self._pieces.popleft()
            assert self.sink is not None
            if piece is None:
                with suppress(OSError, RuntimeError):
                    self.sink.write_eof()
                self._finish()
                return
            self._bytes -= len(piece)
            self.pipe.door.bytes += len(piece)
            self.sink.write(piece)
        if self._paused and self._bytes < UNDER_WAY_MAX // 2 and self.source is not None:
            self._paused = False
            if not self.source.is_closing():
                self.source.resume_reading()
        self.go_on()

    def _finish(self) -> None:
        if not self.is_over:
            self.is_over = True
            self._pieces.clear()
            self.pipe.ended(self)


async def _serve(plan: LinkPlan) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    link = Link(plan)
    await link.start()

    async def tell(_request: web.Request) -> web.StreamResponse:
        body = {"cut": link.is_cut, "delay_ms": link.half_s * 2000, "doors": link.status()}
        return web.Response(body=msgspec.json.encode(body), content_type="application/json")

    app = web.Application()
    app.add_routes([web.get("/", tell)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", plan.status_port).start()
    await stopping.wait()
    await runner.cleanup()
    await link.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Relay until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", type=Path, required=True)
    plan = msgspec.json.decode(parser.parse_args(arguments).plan.read_bytes(), type=LinkPlan)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(plan))


if __name__ == "__main__":
    main()
