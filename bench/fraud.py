"""What a judgement costs while the graph is large, how fast it learns, and the same question asked of PostgreSQL.

On a graph and a PostgreSQL of its own. The orders are taught as the reader of the event log teaches them, and judged through the
same grouping as at a checkout. What fraud costs the rate of placing orders is measured on a whole shop: bench/judged.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import asyncpg
import msgspec
import psutil
from msgspec import Struct

from bench.harness import BenchFailed, Options, Result, at_least, at_most, percentile, ratio, result
from bench.judged import place_rates
from bench.links import BEGAN, SECOND, SPREAD_S, attempt_of_somebody, links_of, made_lessons
from securecart import fraud
from securecart import settings as settings_table
from securecart.engines import Home, Supervisor
from securecart.engines.graph import Graph as GraphEngine
from securecart.engines.postgres import Postgres
from securecart.fraud import Attempt, Judge, Lesson
from securecart.settings import Settings
from securecart.stores import graph, postgres
from securecart.stores.graph import Graph

__all__ = ["FraudOptions", "run"]

SQL = postgres.statements_of("bench")
FACTS = 500  # as many as the reader takes at once
PAGE = 20_000
BUDGET_S = 2.0  # how long it takes is measured here, so nobody is cut off
P99_MS_MAX, LEARNT_PER_S_MIN, PLACED_SHARE_MIN = 15, 500, 0.8
MS = 1e6
MB = 2**20
LINKS_AN_ORDER = 5


class FraudOptions(Options, frozen=True, kw_only=True):
    """How large the graph is, beside what every bench wants to know; there are as many orders as accounts, or more."""

    accounts: int = 200_000
    links: int = 1_000_000
    learn: int = 10_000

    @property
    def given(self) -> dict[str, float]:
        """What repeats it."""
        names = ("accounts", "links", "seconds", "connections", "rounds", "learn", "seed")
        return {name: getattr(self, name) for name in names}


class Scene(Struct, frozen=True):
    """The engines of this bench, and the process of the graph."""

    settings: Settings
    links: Graph
    process: psutil.Process


async def run(options: FraudOptions) -> Result:
    """Teach, judge, judge while it learns, ask PostgreSQL; and place orders with and without it, in so many rounds."""
    with tempfile.TemporaryDirectory(prefix="securecart-bench-") as folder:
        async with _engines(Path(folder)) as scene:
            orders = max(options.accounts, options.links // LINKS_AN_ORDER)
            loaded = await _taught(scene, options, made_lessons(options.seed, options.accounts, orders))
            alone = await _judged(scene, options)
            more = made_lessons(options.seed, options.accounts, options.learn, first=orders)
            learnt = await _taught(scene, options, more[: options.learn // 2])
            both, meanwhile = await _judged_meanwhile(scene, options, more[options.learn // 2 :])
            memory_mb = scene.process.memory_info().rss / MB
            size_mb = sum(file.stat().st_size for file in (Path(folder) / "data" / "graph").rglob("*") if file.is_file()) / MB
            options.say("the same question, asked of PostgreSQL")
            asked = await _asked_of_postgres(scene, options, made_lessons(options.seed, options.accounts, orders))
    placing = await place_rates(options) if options.rounds else None
    figures = {
        "links": float(orders * LINKS_AN_ORDER),
        "loaded_orders_per_s": loaded,
        "learnt_orders_per_s": learnt,
        **_latencies("score", alone),
        **_latencies("score_while_learning", both),
        "learnt_while_scoring_per_s": meanwhile,
        "graph_rss_mb": memory_mb,
        "graph_file_mb": size_mb,
    }
    baselines = _latencies("postgres", asked)
    ratios = {name: ratio(baselines[f"postgres_{name}"], figures[f"score_{name}"]) for name in ("p50_ms", "p99_ms")}
    goals = [
        at_most("score_p99_ms", figures["score_p99_ms"], P99_MS_MAX),
        at_least("learnt_orders_per_s", learnt, LEARNT_PER_S_MIN),
    ]
    if placing is not None:
        figures |= {f"place_{name}": value for name, value in msgspec.structs.asdict(placing).items()}
        ratios["place_on_of_off"] = ratio(placing.on_per_s, placing.off_per_s)
        goals.append(at_least("place_on_of_off", ratios["place_on_of_off"], PLACED_SHARE_MIN))
    return result(
        "fraud",
        options,
        chosen={"orders": orders, "facts_a_batch": FACTS},
        figures=figures,
        baselines=baselines,
        ratios=ratios,
        goals=goals,
    )


@contextlib.asynccontextmanager
async def _engines(folder: Path) -> AsyncIterator[Scene]:
    home = Home(folder)
    home.prepare()
    settings = settings_table.load(str(folder))

    async def nothing() -> None:
        """The bench makes its own tables."""

    engines = [GraphEngine(home, settings), Postgres(home, settings)]
    supervisor = Supervisor(home, [engines], prepare=nothing, report=lambda _: None)
    lock = home.lock()
    if lock is None:
        raise BenchFailed(problem=f"another shop runs from {folder}.")
    await supervisor.start(lock)
    try:
        settings = settings_table.load(str(folder))
        links = await graph.connect(settings.graph_url, timeout_s=settings.graph_timeout_s)
        try:
            yield Scene(settings, links, _process_of_graph())
        finally:
            await links.close()
    finally:
        await supervisor.stop()


def _process_of_graph() -> psutil.Process:
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # one that has just ended
            if "securecart.graph" in process.cmdline():
                return process
    raise BenchFailed(problem="the graph's process is not there.")


async def _taught(scene: Scene, options: FraudOptions, lessons: Sequence[Lesson]) -> float:
    """Teach these as the reader does; orders a second."""
    began = time.perf_counter()
    for start in range(0, len(lessons), FACTS):
        await fraud.teach(scene.links, lessons[start : start + FACTS])
        done = start + FACTS
        if done % PAGE == 0:
            options.say(f"{done:,} of {len(lessons):,} orders taught, {done / (time.perf_counter() - began):,.0f} a second")
    return len(lessons) / (time.perf_counter() - began)


async def _judged(scene: Scene, options: FraudOptions, *, until: asyncio.Event | None = None) -> list[int]:
    """How long each judgement took, in nanoseconds, with so many callers at once."""
    judge = Judge(functools.partial(_ask, scene.links), fraud.default_model(), budget_s=BUDGET_S, caution_amount=1_000_000)

    async def judged(attempt: Attempt) -> None:
        if (await judge.judge(attempt)).judged_by != "model":
            raise BenchFailed(problem="an attempt was judged by caution, so the graph gave no answer.")

    return await _called(options, judged, until=until)


async def _ask(links: Graph, attempts: Sequence[Attempt], within_s: float) -> Sequence[fraud.Known]:
    return await fraud.ask_past(links, attempts, within_s=within_s)


async def _judged_meanwhile(scene: Scene, options: FraudOptions, lessons: Sequence[Lesson]) -> tuple[list[int], float]:
    """The same while the graph learns these, and how fast it does."""
    done = asyncio.Event()
    judging = asyncio.create_task(_judged(scene, options, until=done))
    try:
        rate = await _taught(scene, options, lessons)
    finally:
        done.set()
    return await judging, rate


async def _called(
    options: FraudOptions, call: Callable[[Attempt], Awaitable[None]], *, until: asyncio.Event | None = None
) -> list[int]:
    """Callers, each with the next attempt as soon as it has its answer: how long each took, by length, in nanoseconds."""
    chance = random.Random(options.seed)
    now = BEGAN + SPREAD_S * SECOND
    taken: list[int] = []
    warm_at = time.monotonic() + (0 if until else options.warm_up_s)
    end_at = warm_at + options.seconds

    async def caller() -> None:
        while not until.is_set() if until else time.monotonic() < end_at:
            attempt = attempt_of_somebody(chance, options.accounts, now)
            began, is_warm = time.perf_counter_ns(), time.monotonic() >= warm_at
            await call(attempt)
            if is_warm:
                taken.append(time.perf_counter_ns() - began)

    await asyncio.gather(*(caller() for _ in range(options.connections)))
    return sorted(taken)


async def _asked_of_postgres(scene: Scene, options: FraudOptions, lessons: Sequence[Lesson]) -> list[int]:
    """The same links in two tables, the same question by a recursive statement; as many callers."""
    pool = await asyncpg.create_pool(
        scene.settings.postgres_owner_url, min_size=options.connections, max_size=options.connections
    )
    try:
        await pool.execute(SQL["make_fraud_tables"])
        rows = links_of(lessons)
        await pool.copy_records_to_table("fraud_link", records=rows)
        pairs = {(thing, f"account:{account}") for thing, account, _, _ in rows if not thing.startswith(("account:", "network:"))}
        await pool.copy_records_to_table("fraud_pair", records=[*pairs, *((other, one) for one, other in pairs)])
        await pool.execute(SQL["index_fraud_tables"])

        async def asked(attempt: Attempt) -> None:
            things = [f"{kind}:{key}" for kind, key in attempt.things().items()]
            await pool.fetch(SQL["fraud_question"], things, attempt.at)

        return await _called(options, asked)
    finally:
        await pool.close()


def _latencies(name: str, taken: Sequence[int]) -> dict[str, float]:
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    found = {f"{name}_{share}_ms": percentile(taken, part) / MS for share, part in shares.items()}
    return {**found, f"{name}_max_ms": taken[-1] / MS, f"{name}_count": float(len(taken))}
