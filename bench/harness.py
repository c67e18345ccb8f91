"""What every bench shares: the shop it runs against, the generator's process, and the one shape of a result."""

from __future__ import annotations

import asyncio
import math
import os
import platform
import statistics
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import psutil
from msgspec import Struct

import securecart
from bench.load import Load, Plan
from securecart import settings
from securecart.engines import Home
from securecart.errors import DataMissing, NotRunning
from securecart.settings import Settings

__all__ = [
    "BenchFailed",
    "Goal",
    "Machine",
    "Options",
    "Result",
    "RunningShop",
    "at_least",
    "at_most",
    "cpu_figures",
    "generate",
    "latency_figures",
    "machine",
    "median_rate",
    "percentile",
    "ratio",
    "result",
    "running_shop",
]

ROOT = Path(__file__).parents[1]
NS_PER_MS = 1e6
INTERNAL_KEY_HEADER = "x-securecart-internal-key"  # as in web/limits.py, which the generator had to import the whole shop for
READY_TIMEOUT_S = 5


class BenchFailed(DataMissing):
    """The bench was stopped, its figures would mean nothing: {problem}"""


class Options(Struct, frozen=True):
    """How long and how hard: each round warms up, then measures for `seconds`; `seed` chooses what is asked for."""

    seconds: float
    connections: int
    rounds: int = 3
    warm_up_s: float = 1.0
    seed: int = 1
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr)

    @property
    def given(self) -> dict[str, float]:
        """What repeats it."""
        return {"seconds": self.seconds, "connections": self.connections, "rounds": self.rounds}


class Machine(Struct, frozen=True):
    """Where it was measured; memory in bytes."""

    cpu: str
    cores: int
    memory: int
    os: str
    python: str


class Goal(Struct, frozen=True):
    """What was wished of a figure or ratio, and whether it came out so."""

    figure: str
    wish: str
    met: bool


class Result(Struct, frozen=True):
    """One bench, once: its figures beside the baselines of the same run. The units stand in the names.

    `series` are figures over time, in order; what each of their places is, the bench says.
    """

    name: str
    version: str
    taken_at: str
    command: str
    machine: Machine
    settings: dict[str, Any]
    figures: dict[str, float]
    baselines: dict[str, float]
    ratios: dict[str, float]
    goals: list[Goal]
    series: dict[str, list[float]] = {}


class RunningShop(Struct, frozen=True):
    """A shop that runs: its settings, and its processes' pids by engine."""

    settings: Settings
    pids: dict[str, list[int]]

    @property
    def url(self) -> str:
        """Where its doors are."""
        return self.settings.web_url.rstrip("/")

    @property
    def host(self) -> str:
        """What its requests name as their host."""
        return self.url.partition("//")[2]

    @property
    def headers(self) -> dict[str, str]:
        """What makes the shop let the bench pass its rate limits."""
        return {INTERNAL_KEY_HEADER: self.settings.internal_key} if self.settings.internal_key else {}

    @property
    def web_processes(self) -> int:
        """How many processes answer at its doors."""
        return len(self.pids.get("web", [])) or 1


def running_shop(home: str | None = None) -> RunningShop:
    """The shop that runs from this home; `NotRunning` when none answers there."""
    loaded = settings.load(home)
    state = Home(loaded.home_path).state()
    pids: dict[str, list[int]] = {}
    for engine in state.engines if state is not None else ():
        pids.setdefault(engine.name.split("-")[0], []).append(engine.pid)
    shop = RunningShop(loaded, pids)
    if not loaded.web_url or not _is_ready(shop.url):
        raise NotRunning(home=str(loaded.home_path))
    return shop


async def generate(plan: Plan) -> Load:
    """Carry the plan out in a process of its own; `BenchFailed` when an answer was not as expected."""
    with tempfile.NamedTemporaryFile(prefix="securecart-bench-") as answer:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench", answer.name), cwd=ROOT, stdin=asyncio.subprocess.PIPE
        )
        try:
            await process.communicate(msgspec.msgpack.encode(plan))
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise BenchFailed(problem=f"the load generator ended with status {process.returncode}.")
        load = msgspec.msgpack.decode(answer.read(), type=Load)
    if load.failed:
        raise BenchFailed(problem=load.failed)
    return load


def percentile(ordered: Sequence[int], share: float) -> int:
    """The smallest of the ordered values that at least `share` of them do not exceed; exact, nothing interpolated."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def latency_figures(loads: Iterable[Load], step: str, *, prefix: str = "") -> dict[str, float]:
    """p50, p95, p99 and maximum of a step over all rounds, in milliseconds."""
    took = sorted(one for load in loads for one in load.took_ns.get(step, []))
    if not took:
        raise BenchFailed(problem=f"the step '{step}' was never finished within the measured seconds; give it more.")
    marks = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99, "max_ms": 1.0}
    return {prefix + name: round(percentile(took, share) / NS_PER_MS, 3) for name, share in marks.items()}


def median_rate(loads: Iterable[Load], step: str) -> float:
    """How often a step was finished in a second: the median of the rounds."""
    return round(statistics.median(len(load.took_ns.get(step, [])) / load.elapsed_s for load in loads), 1)


def cpu_figures(loads: Sequence[Load], step: str, *, prefix: str = "") -> dict[str, float]:
    """CPU time that each process took for one such step, in microseconds, over all rounds."""
    steps = sum(len(load.took_ns.get(step, [])) for load in loads) or 1
    processes = {process for load in loads for process in load.cpu_s}
    spent = {process: sum(load.cpu_s.get(process, 0.0) for load in loads) for process in sorted(processes)}
    return {f"{prefix}cpu_{process}_us": round(seconds / steps * 1e6, 1) for process, seconds in spent.items()}


def ratio(part: float, whole: float) -> float:
    """A figure beside its limit."""
    return round(part / whole, 3) if whole else 0.0


def at_least(figure: str, found: float, wished: float) -> Goal:
    """A goal that is met from `wished` up."""
    return Goal(figure, f"at least {wished:,g}", found >= wished)


def at_most(figure: str, found: float, wished: float) -> Goal:
    """A goal that is met up to `wished`."""
    return Goal(figure, f"at most {wished:,g}", found <= wished)


def result(
    name: str,
    options: Options,
    *,
    chosen: dict[str, Any],
    figures: dict[str, float],
    baselines: dict[str, float],
    ratios: dict[str, float],
    goals: list[Goal],
) -> Result:
    """The result with all that goes without saying: version, time, machine, and the command that repeats it."""
    flags = " ".join(f"--{flag} {value:.10g}" for flag, value in options.given.items())
    return Result(
        name=name,
        version=securecart.__version__,
        taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=f"securecart bench {name} {flags}",
        machine=machine(),
        settings={**options.given, "warm_up_s": options.warm_up_s, **chosen},
        figures=figures,
        baselines=baselines,
        ratios=ratios,
        goals=goals,
    )


def machine() -> Machine:
    """This machine."""
    described = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    models = [line.partition(":")[2].strip() for line in described.splitlines() if line.startswith("model name")]
    return Machine(
        cpu=models[0] if models else platform.processor() or platform.machine(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory=psutil.virtual_memory().total,
        os=platform.platform(terse=True),
        python=platform.python_version(),
    )


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=READY_TIMEOUT_S) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False
