"""The dependency drill: a helper of the shop dies under load, stays away for a while and comes back, and all is measured."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Literal, get_args

import psutil
from msgspec import Struct

from securecart.app import Shop, open_shop
from securecart.demo.client import connect, email_of
from securecart.drills.aftermath import first_of, take_stock
from securecart.drills.crowd import Crowd
from securecart.drills.goods import Goods
from securecart.drills.kills import running_of, wait_until_well
from securecart.drills.readers import READERS, PageRead, Readers
from securecart.drills.timeline import Timeline
from securecart.engines import Home
from securecart.errors import DrillFailed, NotRunning
from securecart.promises import Report
from securecart.settings import Settings
from securecart.stores.postgres import statements_of

__all__ = ["HELPERS", "DependencyPlan", "DependencyVerdict", "Helper", "drill_dependency"]

SQL = statements_of(__package__)
SESSIONS_FILE = "drill-sessions.txt"
SETTLES_S, CALM_S, GOES_ON_S = 1.0, 3.0, 2.0
# beside the crowd's own; their orders are at the gateway when the helper dies
SLOW_BUYERS = range(2_000_000, 2_000_004)
BEGUN_WITHIN_S, ALL_BEGUN_WITHIN_S, SALE_WITHIN_S = 30.0, 1.0, 60.0
LOOK_AGAIN_S = 0.02

Helper = Literal["cache", "dynamodb", "web"]
HELPERS: tuple[Helper, ...] = get_args(Helper)
KIND_OF: dict[Helper, str] = {"cache": "valkey", "dynamodb": "dynamodb", "web": "web"}


class DependencyPlan(Struct, frozen=True):
    """Whom to kill, and for how long (seconds) it stays away; `seed` decides who buys what and who reads which page."""

    kill: Helper
    seed: int
    shoppers: int = 16
    away_s: float = 5.0


class Pages(Struct, frozen=True):
    """How pages were served in a part of the drill: counts, and the waits (seconds) of the page that was slowest."""

    read: int
    failed: int
    wait_s_p99: float
    wait_s_max: float

    @classmethod
    def of(cls, pages: list[PageRead]) -> Pages:
        """All kinds of pages together."""
        p99, most = (max(getattr(page, name) for page in pages) for name in ("wait_s_p99", "wait_s_max"))
        return cls(sum(page.read for page in pages), sum(page.failed for page in pages), p99, most)


class DependencyVerdict(Struct, frozen=True):
    """How it went: pages before, during and after the absence, and what became of checkouts.

    `carts_refused` counts requests of shoppers that were told 503, `unanswered` those that got no answer, and `in_hand_max`
    the connections that the dead process had. `begun` checkouts waited for the gateway when it died; `begun_completed` of
    them were decided before it came back. `seconds_until_carts_are_back` counts from when it was let back, `engine` from
    then until it answered. `met` says whether nobody was hurt who need not be, `kept` whether every promise was.
    """

    kill: Helper
    killed: str
    seed: int
    kept: bool
    met: bool
    pages_failed: int
    pages_before: Pages
    pages_during: Pages
    pages_after: Pages
    carts_refused: int
    other_errors: int
    unanswered: int
    in_hand_max: int
    checkouts_during: int
    begun: int
    begun_completed: int
    seconds_away: float
    seconds_until_engine_is_back: float
    seconds_until_carts_are_back: float
    acknowledged: int
    lost: int
    doubled: int
    oversold: int
    stale: int
    seconds: float
    refused: dict[str, int]
    report: Report


class Heard(Struct, frozen=True):
    """One request of a shopper: when its answer came (`time.monotonic`), what it was, and the status, 0 for no answer."""

    at: float
    what: str
    status: int


class Moments(Struct, frozen=True):
    """The moments of a drill, of `time.monotonic`, who died, and what was counted then."""

    began: float
    struck: float
    released: float
    engine_back: float
    closed: float
    killed: str
    in_hand_max: int
    begun: int
    begun_completed: int


class Scene(Struct, frozen=True):
    """What a drill works with."""

    home: Home
    plan: DependencyPlan
    shop: Shop
    crowd: Crowd
    dice: random.Random


async def drill_dependency(loaded: Settings, plan: DependencyPlan, *, tell: Callable[[str], None]) -> DependencyVerdict:
    """Drill the shop that runs from `loaded.home`; `tell` hears each event as a sentence.

    `DrillFailed` when the helper does not come back or the shop answers what it should not; `NotRunning`.
    """
    if not loaded.web_url:
        raise NotRunning(home=loaded.home)
    began, line, goods, heard = time.monotonic(), Timeline(), Goods(), list[Heard]()

    def hear(method: str, path: str, status: int) -> None:
        heard.append(Heard(time.monotonic(), f"{method} {path}", status))

    async with (
        open_shop(loaded) as shop,
        connect(
            loaded.web_url,
            loaded.internal_key,
            tokens=Path(loaded.home) / SESSIONS_FILE,
            connections=plan.shoppers + len(SLOW_BUYERS) + READERS,
            heard=hear,
        ) as client,
    ):
        await goods.put_on_sale(shop)
        dice = random.Random(plan.seed)  # noqa: S311 - a seed makes a drill repeatable
        crowd = Crowd(client, goods, shoppers=plan.shoppers, seed=plan.seed, timeline=line)
        await crowd.sign_in(*SLOW_BUYERS)
        readers = Readers(client, goods, crowd, timeline=line, seed=plan.seed)
        scene = Scene(Home(loaded.home_path), plan, shop, crowd, dice)
        try:
            async with asyncio.TaskGroup() as group:
                around = [group.create_task(one.run()) for one in (crowd, readers)]
                moments = await _play(scene, group, tell)
                for task in around:
                    task.cancel()
        except BaseExceptionGroup as several:
            raise first_of(several) from several
        report = await take_stock(shop, crowd, goods, last=True)
    return _verdict(scene, readers, heard, moments, report, seconds=time.monotonic() - began)


async def _play(scene: Scene, group: asyncio.TaskGroup, tell: Callable[[str], None]) -> Moments:
    """A calm while, the death, the absence, the return, and a while of going on; the helper is let back in any case."""
    await wait_until_well(scene.home)
    began = time.monotonic()
    scene.crowd.open_doors()
    await asyncio.sleep(CALM_S + scene.dice.random())
    slow = [group.create_task(scene.crowd.buy_slowly(household, scene.dice)) for household in SLOW_BUYERS]
    pending = await _begun(scene)
    label, pid, returns = _victim(scene)
    if not returns:
        scene.home.hold(label)
    try:
        in_hand_max = _kill(pid)
        struck = time.monotonic()
        tell(f"kill -9 of {label} ({pid})")
        await asyncio.sleep(scene.plan.away_s)
        completed = len(pending) - await _still_pending(scene, pending)
        released = time.monotonic()
    finally:
        scene.home.release(label)
    tell(f"{label} is let back after {released - struck:.1f} s")
    opened_after = datetime.now(UTC)
    await wait_until_well(scene.home)
    engine_back = time.monotonic()
    await _sold_again(scene.crowd.wait_for_sale(opened_after=opened_after))
    tell("somebody bought something")
    await asyncio.gather(*slow)
    await asyncio.sleep(GOES_ON_S)
    closed = time.monotonic()
    await scene.crowd.close_doors()
    return Moments(began, struck, released, engine_back, closed, label, in_hand_max, len(pending), completed)


async def _begun(scene: Scene) -> list[str]:
    """The orders of the slow buyers, once all of them are at the gateway, or some have been for as long as a card may wait."""
    emails = [email_of(household) for household in SLOW_BUYERS]
    deadline, some_since = time.monotonic() + BEGUN_WITHIN_S, float("inf")
    while True:
        async with scene.shop.database.fresh() as fresh:
            numbers = [row["number"] for row in await fresh.fetch(SQL["pending_of"], emails)]
        now = time.monotonic()
        some_since = min(some_since, now) if numbers else some_since
        if len(numbers) == len(SLOW_BUYERS) or (numbers and now > some_since + ALL_BEGUN_WITHIN_S):
            return numbers
        if now > deadline:
            raise DrillFailed(why="no checkout was seen to be under way")
        await asyncio.sleep(LOOK_AGAIN_S)


async def _still_pending(scene: Scene, numbers: list[str]) -> int:
    async with scene.shop.database.fresh() as fresh:
        return int(await fresh.fetchval(SQL["still_pending"], numbers))


async def _sold_again(sale: Awaitable[None]) -> None:
    try:
        await asyncio.wait_for(sale, SALE_WITHIN_S)
    except TimeoutError:
        raise DrillFailed(why=f"everything was back for {SALE_WITHIN_S:.0f} s, and nobody could buy anything") from None


def _victim(scene: Scene) -> tuple[str, int, bool]:
    """Whom to kill, and whether it comes back at once: the only web process does, for the shop would be closed meanwhile."""
    kind = KIND_OF[scene.plan.kill]
    running = running_of(scene.home, kind)
    victim = scene.dice.choice(running)
    return victim.name, victim.pid, kind == "web" and len(running) == 1


def _kill(pid: int) -> int:
    """Kill the process; how many connections it had with callers: so many requests may be lost with it at most."""
    process = psutil.Process(pid)
    process.suspend()
    try:
        ports = {one.laddr.port for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN}
        connected = [one for one in process.net_connections("tcp") if one.raddr and one.laddr.port in ports]
    finally:
        os.kill(pid, signal.SIGKILL)
    return len(connected)


def _verdict(
    scene: Scene, readers: Readers, heard: list[Heard], moments: Moments, report: Report, *, seconds: float
) -> DependencyVerdict:
    plan, since, until = scene.plan, moments.struck, moments.closed
    before, during, after = (
        readers.seen(since=begin, until=end)
        for begin, end in (
            (moments.began + SETTLES_S, moments.struck),
            (moments.struck, moments.engine_back),
            (moments.engine_back, moments.closed),
        )
    )
    failed = Pages.of(readers.seen(since=since, until=until)).failed
    statuses = [one.status for one in heard if since <= one.at <= until]
    carts = [
        one.at for one in heard if one.what == "PUT /api/cart" and one.status == HTTPStatus.OK and one.at >= moments.released
    ]
    stale = sum(page.stale for page in after)
    refused = statuses.count(HTTPStatus.SERVICE_UNAVAILABLE)
    unanswered = statuses.count(0)
    others = sum(status >= HTTPStatus.INTERNAL_SERVER_ERROR for status in statuses) - refused
    return DependencyVerdict(
        kill=plan.kill,
        killed=moments.killed,
        seed=plan.seed,
        kept=report.kept and not stale,
        met=_met(plan.kill, moments, failed=failed, refused=refused, unanswered=unanswered) and not others,
        pages_failed=failed,
        pages_before=Pages.of(before),
        pages_during=Pages.of(during),
        pages_after=Pages.of(after),
        carts_refused=refused,
        other_errors=others,
        unanswered=unanswered,
        in_hand_max=moments.in_hand_max,
        checkouts_during=scene.crowd.timeline.successes("checkout", since=since, until=moments.released),
        begun=moments.begun,
        begun_completed=moments.begun_completed,
        seconds_away=round(moments.released - since, 2),
        seconds_until_engine_is_back=round(moments.engine_back - moments.released, 2),
        seconds_until_carts_are_back=round(carts[0] - moments.released, 2),
        acknowledged=report.acknowledged,
        lost=report.lost,
        doubled=report.doubled,
        oversold=report.oversold,
        stale=stale,
        seconds=round(seconds, 1),
        refused=dict(scene.crowd.refused),
        report=report,
    )


def _met(kill: Helper, moments: Moments, *, failed: int, refused: int, unanswered: int) -> bool:
    """Whether nobody was hurt who need not be."""
    if kill == "web":  # what was in the hands of the dead process is lost, and nothing else
        return failed + unanswered <= moments.in_hand_max and not refused
    no_page_failed = failed == 0 and unanswered == 0
    return no_page_failed and (not refused if kill == "cache" else moments.begun_completed == moments.begun)
