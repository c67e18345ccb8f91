"""The network between the regions: it delays without slowing down, can be cut and mended, and follows the database's leader."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest
from aiohttp import web

from securecart.sandbox.link import Door, Link, LinkPlan, Node

DELAY_MS = 80
WITHIN_S = 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Store:
    """A server that says who it is and then echoes, until the other side has said its last word."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = free_port()
        self.open = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Store]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        yield self
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        with contextlib.suppress(ConnectionError):
            writer.write(f"{self.name}\n".encode())
            while data := await reader.read(2**16):
                writer.write(data)
                await writer.drain()
            writer.write(b"bye")
            writer.close()
            await writer.wait_closed()
        self.open -= 1


def door_to(*stores: Store, role: str = "", apis: tuple[str, ...] = ("",)) -> Door:
    nodes = tuple(Node(api, "127.0.0.1", store.port) for store, api in zip(stores, apis, strict=True))
    return msgspec.convert({"name": "store", "port": free_port(), "nodes": nodes, "role": role}, Door, from_attributes=True)


@asynccontextmanager
async def opened(door: Door, *, delay_ms: float = DELAY_MS) -> AsyncIterator[Link]:
    link = Link(LinkPlan(delay_ms, (door,)))
    await link.start()
    yield link
    await link.close()


@asynccontextmanager
async def caller(door: Door) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    try:
        async with asyncio.timeout(WITHIN_S):
            yield reader, writer
    finally:
        writer.close()


async def eventually(holds: Callable[[], bool | Awaitable[bool]]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while True:
            found = holds()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.02)


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    async with Store("first").running() as running:
        yield running


async def test_each_way_takes_half_the_delay_and_a_connection_costs_a_round_trip(store: Store) -> None:
    door = door_to(store)
    async with opened(door):
        began = time.monotonic()
        async with caller(door) as (reader, writer):
            assert await reader.readline() == b"first\n"
            connected = time.monotonic()
            writer.write(b"ping")
            assert await reader.readexactly(4) == b"ping"
            answered = time.monotonic()
    assert connected - began >= DELAY_MS / 1000
    assert answered - connected >= DELAY_MS / 1000 - 0.002


async def test_the_delay_does_not_limit_the_throughput(store: Store) -> None:
    sent = os.urandom(2**20) * 48
    door = door_to(store)
    async with opened(door), caller(door) as (reader, writer):
        await reader.readline()
        began = time.monotonic()
        writer.write(sent)
        received = await reader.readexactly(len(sent))
        took_s = time.monotonic() - began
    assert received == sent
    # a sleep for each piece of 64 KiB would take a minute
    assert took_s < 10


async def test_either_side_may_say_its_last_word_first(store: Store) -> None:
    door = door_to(store)
    async with opened(door) as link:
        async with caller(door) as (reader, writer):
            writer.write(b"last words")
            writer.write_eof()
            assert await reader.read() == b"first\nlast wordsbye"
        await eventually(lambda: link.status()[0].connections == 0)
    assert store.open == 0


async def test_a_caller_who_vanishes_leaves_nothing_behind(store: Store) -> None:
    door = door_to(store)
    async with opened(door) as link:
        async with caller(door) as (reader, writer):
            await reader.readline()
            writer.transport.abort()
        await eventually(lambda: link.status()[0].connections == 0 and store.open == 0)


async def test_a_closed_store_refuses_through_the_link_too() -> None:
    door = door_to(Store("nobody"))
    async with opened(door) as link:
        async with caller(door) as (reader, _):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        await eventually(lambda: link.status()[0].connections == 0)


async def test_while_it_is_cut_nothing_arrives_and_everything_does_once_it_is_mended(store: Store) -> None:
    door = door_to(store)
    async with opened(door, delay_ms=2) as link:
        async with caller(door) as (reader, writer), caller(door) as (other, _):
            await reader.readline()
            await other.readline()
            link.cut()
            writer.write(b"into the dark")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.3)
            async with caller(door) as (late, _):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(late.read(1), 0.2)
            await eventually(lambda: link.status()[0].connections == 2)  # who gives up before it was let in is forgotten
            link.mend()
            assert await reader.readexactly(13) == b"into the dark"
        await eventually(lambda: link.status()[0].connections == 0)


class Patroni:
    """As much of its REST interface as the link asks: 200 from who has the role, 503 from others."""

    def __init__(self, *names: str) -> None:
        self.leading = names[0]
        self._port = free_port()
        self.apis = tuple(f"http://127.0.0.1:{self._port}/{name}" for name in names)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Patroni]:
        async def has_role(request: web.Request) -> web.Response:
            return web.Response(status=200 if request.match_info["name"] == self.leading else 503)

        app = web.Application()
        app.add_routes([web.get("/{name}/primary", has_role)])
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self._port).start()
        yield self
        await runner.cleanup()


async def test_it_follows_the_leader_and_drops_the_connections_to_the_old_one(store: Store) -> None:
    second = Store("second")
    patroni = Patroni("first", "second")
    door = door_to(store, second, role="primary", apis=patroni.apis)
    async with second.running(), opened(door, delay_ms=0) as link:
        async with patroni.running():
            await eventually(lambda: link.status()[0].target.endswith(str(store.port)))
            async with caller(door) as (reader, _):
                assert await reader.readline() == b"first\n"
                patroni.leading = "second"
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
            async with caller(door) as (reader, _):
                assert await reader.readline() == b"second\n"
            patroni.leading = "nobody"
            await eventually(lambda: link.status()[0].target == "")
            patroni.leading = "second"
            await eventually(lambda: link.status()[0].target != "")
        async with caller(door) as (reader, _):  # a silent Patroni says nothing about its database
            await asyncio.sleep(0.6)
            assert await reader.readline() == b"second\n"


@pytest.fixture
def cut_file(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "link-cut"
    yield file
    file.unlink(missing_ok=True)


async def test_the_process_is_cut_by_a_file_and_says_so(store: Store, tmp_path: Path, cut_file: Path) -> None:
    door, status = door_to(store), free_port()
    (tmp_path / "plan.json").write_bytes(msgspec.json.encode(LinkPlan(10, (door,), str(cut_file), status)))
    arguments = ["-m", "securecart.sandbox.link", "--plan", str(tmp_path / "plan.json")]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments)
    async with aiohttp.ClientSession() as http:

        async def says(*, cut: bool) -> bool:
            try:
                async with http.get(f"http://127.0.0.1:{status}/") as answer:
                    return bool((await answer.json())["cut"]) is cut
            except aiohttp.ClientConnectionError:
                return False

        await eventually(lambda: says(cut=False))
        await asyncio.to_thread(cut_file.touch)
        await eventually(lambda: says(cut=True))
        async with caller(door) as (reader, _):
            await asyncio.to_thread(cut_file.unlink)
            assert await reader.readline() == b"first\n"
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), WITHIN_S) == 0
