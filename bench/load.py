"""The load generator: a process of its own that plays many callers at once and times each answer exactly.

A bench describes one caller as a coroutine, `async def look(caller: Caller) -> None`, that asks and checks in a
loop while `caller.running`. The generator starts as many as the plan says, lets them warm up, measures for the
plan's seconds, and hands back every latency in nanoseconds. It is a closed loop: a caller sends its next request
when it has its answer. An answer that is not as the bench expects ends the run; nothing is sampled.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import httptools
import msgspec
import psutil
import uvloop
from msgspec import Struct

__all__ = ["Answer", "Caller", "Load", "Meter", "Plan", "Unexpected", "Wire", "request"]

LAST_WORDS_S = 30.0


class Plan(Struct, frozen=True):
    """What to play: `scenario` is `module:coroutine`, `watch` names processes (pids) whose CPU time is wanted."""

    scenario: str
    callers: int
    warm_up_s: float
    seconds: float
    arguments: dict[str, Any] = {}
    watch: dict[str, list[int]] = {}


class Load(Struct, frozen=True):
    """What was measured: latencies (ns) by step, CPU seconds by process, the callers' notes; `failed` is a sentence."""

    elapsed_s: float = 0.0
    took_ns: dict[str, list[int]] = {}
    cpu_s: dict[str, float] = {}
    notes: list[Any] = []
    failed: str = ""


class Answer(Struct, frozen=True, gc=False):
    """A whole HTTP answer, `took_ns` after its request was written."""

    status: int
    body: bytes
    took_ns: int


class Unexpected(Exception):
    """An answer that the bench did not expect; the message says which and what came."""


class Meter:
    """Keeps latencies while it is `measuring`; the callers go on while it is `running`."""

    def __init__(self) -> None:
        self.running = True
        self.measuring = False
        self.took_ns: dict[str, list[int]] = defaultdict(list)
        self.notes: list[Any] = []

    def record(self, step: str, took_ns: int) -> None:
        """Note how long a step took."""
        if self.measuring:
            self.took_ns[step].append(took_ns)


class Wire(asyncio.Protocol):
    """One keep-alive HTTP/1.1 connection with at most one request under way."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._answer: asyncio.Future[Answer] | None = None
        self._asked_ns = 0

    def ask(self, message: bytes) -> asyncio.Future[Answer]:
        """Send one request as it goes over the wire; `Unexpected` when the connection is lost instead of an answer."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._asked_ns = time.perf_counter_ns()
        self._transport.write(message)
        return self._answer

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer arrived."""
        self._parser.feed_data(data)

    def on_body(self, piece: bytes) -> None:
        """The parser found a piece of the body."""
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """The parser found the answer's end: this is when the clock stops."""
        took_ns = time.perf_counter_ns() - self._asked_ns
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Answer(self._parser.get_status_code(), body, took_ns))

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection ended; whoever waits for an answer is told."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Unexpected(f"The server hung up before it answered ({exc or 'no reason given'})."))


class Caller:
    """One of the callers: its number, the plan's arguments, its connection, and where it notes what it saw."""

    def __init__(self, number: int, plan: Plan, meter: Meter) -> None:
        self.number = number
        self.callers = plan.callers
        self.arguments = plan.arguments
        self._meter = meter
        self._wire: Wire | None = None

    @property
    def running(self) -> bool:
        """Whether to go on."""
        return self._meter.running

    async def connect(self, url: str) -> None:
        """Open the caller's connection to the server at `url`."""
        address = urlsplit(url)
        assert address.hostname is not None
        _, self._wire = await asyncio.get_running_loop().create_connection(Wire, address.hostname, address.port or 80)

    async def ask(self, step: str, message: bytes, *, status: int = 200) -> bytes:
        """Send a request, time it as `step`, and give the answer's body; `Unexpected` when its status is another."""
        assert self._wire is not None
        answer = await self._wire.ask(message)
        if answer.status != status:
            raise Unexpected(_wrong_status(step, answer, status))
        self._meter.record(step, answer.took_ns)
        return answer.body

    def record(self, step: str, since_ns: int) -> None:
        """Note a step that began at `since_ns` of `time.perf_counter_ns` and ends now."""
        self._meter.record(step, time.perf_counter_ns() - since_ns)

    def note(self, thing: Any) -> None:
        """Hand something back to the bench, warm-up included."""
        self._meter.notes.append(thing)


def request(method: str, path: str, *, host: str, body: Any = None, headers: dict[str, str] | None = None) -> bytes:
    """A request's bytes; a `body` is sent as JSON."""
    content = b"" if body is None else msgspec.json.encode(body)
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Accept: application/json"]
    if content:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


async def play(plan: Plan) -> Load:
    """Carry the plan out. A scenario that ends by itself ends the measuring early."""
    module, _, name = plan.scenario.partition(":")
    scenario: Callable[[Caller], Awaitable[None]] = getattr(importlib.import_module(module), name)
    meter = Meter()
    callers = [asyncio.ensure_future(scenario(Caller(number, plan, meter))) for number in range(plan.callers)]
    gc.collect()
    gc.disable()  # a collection in the middle would show as the server's latency
    await asyncio.wait(callers, timeout=plan.warm_up_s, return_when=asyncio.FIRST_EXCEPTION)
    before, began = _cpu_seconds(plan.watch), time.perf_counter()
    meter.measuring = True
    await asyncio.wait(callers, timeout=plan.seconds, return_when=asyncio.FIRST_EXCEPTION)
    meter.measuring = meter.running = False
    elapsed, after = time.perf_counter() - began, _cpu_seconds(plan.watch)
    _, late = await asyncio.wait(callers, timeout=LAST_WORDS_S)
    for caller in late:
        caller.cancel()
    errors = [error for caller in callers if caller.done() and not caller.cancelled() and (error := caller.exception())]
    failed = _sentence(errors[0]) if errors else f"{len(late)} callers still wait for an answer." if late else ""
    cpu_s = {process: after[process] - before[process] for process in after}
    return Load(elapsed_s=elapsed, took_ns=dict(meter.took_ns), cpu_s=cpu_s, notes=meter.notes, failed=failed)


def _wrong_status(step: str, answer: Answer, status: int) -> str:
    if answer.status == 429:
        return (
            "The shop answered 429, too many requests: it does not know this bench as its own program. "
            "Start it with SECURECART_RATE_LIMITS=false for a load test."
        )
    said = answer.body[:300].decode(errors="replace")
    return f"The step '{step}' was answered with status {answer.status} instead of {status}: {said}"


def _sentence(error: BaseException) -> str:
    return str(error) if isinstance(error, Unexpected) else f"{type(error).__name__}: {error}"


def _cpu_seconds(watch: dict[str, list[int]]) -> dict[str, float]:
    own = time.process_time()
    return {"generator": own, **{name: sum(_cpu_of(pid) for pid in pids) for name, pids in watch.items()}}


def _cpu_of(pid: int) -> float:
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return sum(times.user + times.system for times in (one.cpu_times() for one in family))
    except psutil.Error:
        return 0.0


def main() -> None:
    """Read a plan from standard input, write the load to the file that is named, both MessagePack.

    Not to standard output: of some hundred kilobytes there, uvloop has lost the end when the process ended right after.
    """
    plan = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Plan)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        load = runner.run(play(plan))
    Path(sys.argv[1]).write_bytes(msgspec.msgpack.encode(load))
