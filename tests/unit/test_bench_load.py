"""The load generator against a toy server: it counts and times every answer, and believes none of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from bench import harness
from bench.harness import BenchFailed
from bench.load import Load, Plan

PAGES = {"a-mug": b'{"slug":"a-mug"}', "a-hat": b'{"slug":"a-hat"}', "a-pen": b'{"slug":"a-pen"}'}
SLOW_S = 0.02

Answering = Callable[[str, int], tuple[int, bytes]]


class Toy:
    """An HTTP server of a few lines that counts what it was asked; `answer` decides what it says to the n-th request."""

    def __init__(self, answer: Answering, *, pause_s: float = 0.0) -> None:
        self.answer = answer
        self.pause_s = pause_s
        self.asked: list[str] = []
        self.headers: set[str] = set()
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                slug = head.split(" ")[1].rpartition("/")[2]
                self.headers.update(head.lower().split("\r\n")[1:])
                self.asked.append(slug)
                status, body = self.answer(slug, len(self.asked))
                await asyncio.sleep(self.pause_s)
                if status == 0:
                    return
                writer.write(b"HTTP/1.1 %d Toy\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(toy: Toy) -> AsyncIterator[str]:
    server = await asyncio.start_server(toy.serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


async def load_of(toy: Toy, *, callers: int = 4, warm_up_s: float = 0.1, seconds: float = 0.3) -> Load:
    async with serving(toy) as url:
        arguments = {"url": url, "pages": PAGES, "headers": {"x-key": "secret"}}
        return await harness.generate(Plan("bench.lookup:look", callers, warm_up_s, seconds, arguments, {"toy": [1]}))


async def test_every_answer_of_the_measured_seconds_is_timed() -> None:
    toy = Toy(lambda slug, _: (200, PAGES[slug]), pause_s=SLOW_S)
    load = await load_of(toy)
    took = load.took_ns["look up"]
    assert toy.connections == 4, "each caller keeps one connection"
    assert 0 < len(took) <= len(toy.asked) - 4, "the warm-up is not counted"
    assert min(took) >= SLOW_S * 0.9e9, "no answer can be faster than the server"
    assert len(took) / load.elapsed_s <= 4 / SLOW_S * 1.1, "a closed loop asks no faster than it is answered"
    assert set(toy.asked) == set(PAGES)
    assert "x-key: secret" in toy.headers
    assert set(load.cpu_s) == {"generator", "toy"}


async def test_a_single_wrong_body_ends_the_run() -> None:
    toy = Toy(lambda slug, number: (200, b'{"slug":"another"}' if number == 20 else PAGES[slug]))
    with pytest.raises(BenchFailed, match=r"The answer to /api/products/.* changed"):
        await load_of(toy)


async def test_a_wrong_status_ends_the_run_with_what_the_server_said() -> None:
    toy = Toy(lambda slug, number: (503, b'{"detail":"no database"}') if number > 8 else (200, PAGES[slug]))
    with pytest.raises(BenchFailed, match=r"'look up' was answered with status 503 instead of 200.*no database"):
        await load_of(toy)


async def test_a_rate_limit_is_named_with_the_setting_that_lifts_it() -> None:
    with pytest.raises(BenchFailed, match="SECURECART_RATE_LIMITS=false"):
        await load_of(Toy(lambda _slug, _number: (429, b"{}")))


async def test_a_server_that_hangs_up_ends_the_run() -> None:
    toy = Toy(lambda slug, number: (0 if number == 5 else 200, PAGES[slug]))
    with pytest.raises(BenchFailed, match="hung up before it answered"):
        await load_of(toy)


async def test_a_server_that_is_not_there_is_said_so() -> None:
    plan = Plan("bench.lookup:look", 1, 0.1, 0.1, {"url": "http://127.0.0.1:1", "pages": PAGES, "headers": {}})
    with pytest.raises(BenchFailed, match="ConnectionRefusedError"):
        await harness.generate(plan)
