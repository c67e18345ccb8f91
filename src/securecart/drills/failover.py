"""The failover drill: something happens to the node that leads while shoppers buy and readers read, and all is measured."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from securecart import settings
from securecart.app import open_shop
from securecart.demo.client import connect
from securecart.drills.aftermath import LOOK_AGAIN_S, first_of, take_stock
from securecart.drills.chart import Chart, Event
from securecart.drills.crowd import Crowd
from securecart.drills.deeds import DEEDS, Mode, Victim, ZombieSessions
from securecart.drills.goods import Goods
from securecart.drills.kills import wait_until_well
from securecart.drills.readers import READERS, UNNOTICED_S, PageRead, Readers
from securecart.drills.timeline import Timeline
from securecart.drills.witness import Witness, nodes_of
from securecart.engines import Home
from securecart.errors import BadInput, DrillFailed, NotRunning
from securecart.ops import cluster
from securecart.promises import Report
from securecart.settings import Settings

__all__ = ["READS_GOAL_S", "FailoverPlan", "FailoverVerdict", "drill_failover"]

SESSIONS_FILE = "drill-sessions.txt"
READS_GOAL_S = 1.0
REQUESTS = ("request", "read")
CALM_S, SETTLES_S, STAYS_AWAY_S, GOES_ON_S = 2.5, 1.0, 2.0, 1.5
WELL_WITHIN_S, LEADER_WITHIN_S, SALE_WITHIN_S, BACK_WITHIN_S = 60.0, 60.0, 60.0, 90.0


class FailoverPlan(Struct, frozen=True):
    """What to do to the leading node, with how many shoppers. `seed` decides who buys what and who reads which page."""

    mode: Mode
    seed: int
    shoppers: int = 16


class FailoverVerdict(Struct, frozen=True):
    """How it went. Seconds are counted from the deed until the doors closed, when all nodes were well again.

    `seconds_without_checkout` is the longest time without a successful checkout. `seconds_without_read` sums the breaks in
    which nobody could read any page, `seconds_without_worst_page` those of the kind of page that fared worst. `failed`
    counts the requests, shoppers' and readers', that got an answer of 500 or above, or none. `met` says whether the goals
    were reached, `kept` whether every promise was. `zombie_acknowledged` counts what a thawed node acknowledged; None
    where nothing was frozen.
    """

    mode: Mode
    seed: int
    kept: bool
    met: bool
    seconds_without_checkout: float
    goal_checkout_s: float
    seconds_without_read: float
    seconds_without_worst_page: float
    worst_page: str
    goal_read_s: float
    requests: int
    failed: int
    failed_by: dict[str, int]
    stale: int
    acknowledged: int
    lost: int
    doubled: int
    oversold: int
    zombie_acknowledged: int | None
    leader_before: str
    leader_after: str
    seconds_until_new_leader: float
    seconds_until_old_node_follows: float
    seconds: float
    timeline: list[Event]
    chart: Chart
    pages: list[PageRead]
    calm_pages: list[PageRead]
    refused: dict[str, int]
    report: Report


class Moments(Struct, frozen=True):
    """The moments of a drill, of `time.monotonic`, and who led."""

    began: float
    deed: float
    undone: float | None
    new_leader: float
    follows: float
    closed: float
    leader_before: str
    leader_after: str
    zombie_acknowledged: int | None


class Scene(Struct, frozen=True):
    """What a drill works with."""

    home: Home
    plan: FailoverPlan
    crowd: Crowd
    witness: Witness
    victims: dict[str, Victim]
    dice: random.Random


async def drill_failover(loaded: Settings, plan: FailoverPlan, *, tell: Callable[[str], None]) -> FailoverVerdict:
    """Drill the shop that runs from `loaded.home`; `tell` hears each event as a sentence.

    `DrillFailed` when the shop does not come back or answers what it should not; `BadInput` when it has only one node and
    the mode needs several; `NotRunning`.
    """
    if not loaded.web_url:
        raise NotRunning(home=loaded.home)
    home = Home(loaded.home_path)
    nodes = nodes_of(home, loaded)
    if len(nodes) == 1 and plan.mode != "crash":
        raise BadInput(field="mode", problem=f"The mode {plan.mode} needs several nodes: start the shop with --profile ha.")
    began, line, goods = time.monotonic(), Timeline(), Goods()
    async with (
        open_shop(loaded) as shop,
        connect(
            loaded.web_url,
            loaded.internal_key,
            tokens=Path(loaded.home) / SESSIONS_FILE,
            connections=plan.shoppers + READERS,
            heard=line.hear,
        ) as client,
    ):
        await goods.put_on_sale(shop)
        dice = random.Random(plan.seed)  # noqa: S311 - a seed makes a drill repeatable
        crowd = Crowd(client, goods, shoppers=plan.shoppers, seed=plan.seed, timeline=line)
        await crowd.sign_in()
        readers = Readers(client, goods, crowd, timeline=line, seed=plan.seed)
        scene = Scene(home, plan, crowd, Witness(nodes), {node.label: Victim(home, node) for node in nodes}, dice)
        try:
            async with asyncio.TaskGroup() as group:
                around = [group.create_task(one.run()) for one in (scene.witness, crowd, readers)]
                moments = await _play(scene, tell)
                for task in around:
                    task.cancel()
        except BaseExceptionGroup as several:
            raise first_of(several) from several
        report = await take_stock(shop, crowd, goods, last=False, projections=False)
    return _verdict(scene, readers, moments, report, seconds=time.monotonic() - began)


async def _play(scene: Scene, tell: Callable[[str], None]) -> Moments:
    """A calm while, the deed, and everything after it until all nodes are well; whatever was done is undone in any case."""
    witness, deed = scene.witness, DEEDS[scene.plan.mode]
    await wait_until_well(scene.home)
    if len(scene.victims) > 1:
        await _wait_for_a_successor(scene.home)
    await witness.wait_until(witness.all_well, within_s=WELL_WITHIN_S, what="all nodes well before the deed")
    leader = witness.leader()
    assert leader is not None, "one leads where all are well"
    victim, zombies = scene.victims[leader], ZombieSessions()
    if scene.plan.mode == "freeze":
        await zombies.log_in(victim.node)
    began = time.monotonic()
    scene.crowd.open_doors()
    await asyncio.sleep(CALM_S + scene.dice.random())
    struck = time.monotonic()
    tell(deed.says.format(leader))
    await deed.strike(victim)
    undone = None
    try:
        new_leader, led_at = await _sold_again(scene, struck)
        tell(f"{new_leader} leads after {led_at - struck:.1f} s, and somebody bought something")
        if deed.undo is not None:
            await asyncio.sleep(STAYS_AWAY_S)
            zombies.write()
            undone = time.monotonic()
    finally:
        if deed.undo is not None:
            await deed.undo(victim)
            tell(deed.undone.format(leader))
    follows = await _follows_again(scene, leader, new_leader, since=undone or struck)
    await asyncio.sleep(GOES_ON_S)
    closed = time.monotonic()
    await scene.crowd.close_doors()
    await wait_until_well(scene.home)  # only now: to look at every process takes long, and the readers are of this process
    acknowledged = await zombies.acknowledged() if scene.plan.mode == "freeze" else None
    return Moments(began, struck, undone, led_at, follows, closed, leader, new_leader, acknowledged)


async def _wait_for_a_successor(home: Home) -> None:
    """Return once the cluster has agreed on who would take over: a moment after a standby begins to confirm commits."""
    team = cluster.Cluster.of(settings.load(str(home.path)))
    deadline = time.monotonic() + WELL_WITHIN_S
    while not (await cluster.observe(team)).healthy:
        if time.monotonic() > deadline:
            raise DrillFailed(why=f"no standby was agreed on within {WELL_WITHIN_S:.0f} s; see `securecart cluster status`")
        await asyncio.sleep(LOOK_AGAIN_S)


async def _sold_again(scene: Scene, struck: float) -> tuple[str, float]:
    """Who leads after the deed and since when, once somebody was told of an order that was opened under the new leader."""
    witness = scene.witness
    await witness.wait_until(lambda: witness.led(struck) is not None, within_s=LEADER_WITHIN_S, what="a new leader")
    opened_after = datetime.now(UTC)
    try:
        await asyncio.wait_for(scene.crowd.wait_for_sale(opened_after=opened_after), SALE_WITHIN_S)
    except TimeoutError:
        why = f"a new leader was there for {SALE_WITHIN_S:.0f} s, and nobody could buy anything"
        raise DrillFailed(why=why) from None
    led = witness.led(struck)
    assert led is not None, "it was seen above"
    return led.label, led.at


async def _follows_again(scene: Scene, old: str, new: str, *, since: float) -> float:
    """The moment from which the old leader followed the new one; returns once every node is well."""
    witness = scene.witness
    if old != new:
        what = f"{old} follows {new}"
        await witness.wait_until(lambda: witness.when(old, "follows", since=since) is not None, within_s=BACK_WITHIN_S, what=what)
    await witness.wait_until(witness.all_well, within_s=WELL_WITHIN_S, what="all nodes well after the deed")
    return witness.when(old, "follows", since=since) or time.monotonic()


def _verdict(scene: Scene, readers: Readers, moments: Moments, report: Report, *, seconds: float) -> FailoverVerdict:
    line, since, until, goal = scene.crowd.timeline, moments.deed, moments.closed, DEEDS[scene.plan.mode].goal_s
    pages = readers.seen(since=since, until=until)
    without_checkout = round(line.longest_without("checkout", since=since, until=until), 2)
    without_read = round(line.total_without("read", since=since, until=until, unnoticed_s=UNNOTICED_S), 2)
    worst = max(pages, key=lambda page: page.without_s)
    stale = sum(page.stale for page in pages)
    failed, answered = (
        sum(count(kind, since=since, until=until) for kind in REQUESTS) for count in (line.failures, line.successes)
    )
    return FailoverVerdict(
        mode=scene.plan.mode,
        seed=scene.plan.seed,
        kept=report.kept and not stale and not moments.zombie_acknowledged,
        met=without_checkout <= goal and max(without_read, worst.without_s) <= READS_GOAL_S,
        seconds_without_checkout=without_checkout,
        goal_checkout_s=goal,
        seconds_without_read=without_read,
        seconds_without_worst_page=worst.without_s,
        worst_page=worst.page,
        goal_read_s=READS_GOAL_S,
        requests=failed + answered,
        failed=failed,
        failed_by=_failed_by(line, since, until),
        stale=stale,
        acknowledged=report.acknowledged,
        lost=report.lost,
        doubled=report.doubled,
        oversold=report.oversold,
        zombie_acknowledged=moments.zombie_acknowledged,
        leader_before=moments.leader_before,
        leader_after=moments.leader_after,
        seconds_until_new_leader=round(moments.new_leader - since, 2),
        seconds_until_old_node_follows=round(moments.follows - (moments.undone or since), 2),
        seconds=round(seconds, 1),
        timeline=_events(scene, moments),
        chart=Chart.of(line, since=moments.began, deed=since, until=until),
        pages=pages,
        calm_pages=readers.seen(since=moments.began + SETTLES_S, until=since),
        refused=dict(scene.crowd.refused),
        report=report,
    )


def _failed_by(line: Timeline, since: float, until: float) -> dict[str, int]:
    """The failed requests by what was asked for."""
    asked = [(kind, what) for kind in REQUESTS for what in line.whats(kind)]
    counts = {what: line.failures(kind, what, since=since, until=until) for kind, what in asked}
    return {what: count for what, count in counts.items() if count}


def _events(scene: Scene, moments: Moments) -> list[Event]:
    """What happened, in its order, in seconds from the deed on."""
    deed, line = DEEDS[scene.plan.mode], scene.crowd.timeline
    _, sold = line.longest_break("checkout", since=moments.deed, until=moments.closed)
    happened = [
        (moments.deed, deed.says.format(moments.leader_before)),
        (moments.new_leader, f"{moments.leader_after} leads"),
        (sold, "checkouts go on"),
        (moments.follows, f"{moments.leader_before} follows"),
    ]
    if moments.undone is not None:
        happened.append((moments.undone, deed.undone.format(moments.leader_before)))
    if moments.leader_before == moments.leader_after:
        happened.remove((moments.follows, f"{moments.leader_before} follows"))
    return [Event(round(at - moments.deed, 2), what) for at, what in sorted(happened)]
