"""The region drill: the region that takes the writes dies whole, or hands over, while shoppers of both regions buy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from http import HTTPStatus

import aiohttp
import asyncpg
from msgspec import Struct

from securecart import regions
from securecart import settings as settings_table
from securecart.app import Shop, open_shop
from securecart.demo.client import Client, connect
from securecart.drills.aftermath import first_of, patiently, take_stock
from securecart.drills.chart import Event
from securecart.drills.crowd import FIRST_HOUSEHOLD, Crowd
from securecart.drills.goods import Goods
from securecart.drills.holders import Holders, Kept
from securecart.drills.kills import wait_until_well
from securecart.drills.region_model import RPO_GOAL_S, RTO_GOAL_S, RegionPlan, RegionVerdict
from securecart.drills.timeline import Timeline
from securecart.engines import Home
from securecart.engines.link import cut_file
from securecart.errors import DrillFailed, NotRunning, OperatorError
from securecart.ops import regions as ops
from securecart.ops.regions import Step
from securecart.promises import Report, look
from securecart.settings import Settings

__all__ = ["drill_region"]

SESSIONS_FILE = "drill-sessions.txt"
HOUSEHOLDS_APART = 500
CALM_S, DEAD_S, GOES_ON_S = 4.0, 1.0, 2.5
SALE_WITHIN_S, SAME_WITHIN_S = 90.0, 30.0
BUYERS = 8  # of those who only held, so many buy in the other region
ANSWER_WITHIN_S = 30.0

Tell = Callable[[str], None]


class Side(Struct, frozen=True):
    """A region in the drill: its settings, its client, its shoppers who buy and those who only hold."""

    name: str
    settings: Settings
    client: Client
    crowd: Crowd
    holders: Holders


class Scene(Struct, frozen=True):
    """What a drill works with: the region that is to lose the writes, the one that gets them, and this one's shop."""

    home: Home
    plan: RegionPlan
    from_side: Side
    to_side: Side
    shop: Shop
    goods: Goods
    line: Timeline


class Outcome(Struct):
    """What was measured on the way; moments are seconds of `time.monotonic`."""

    struck: float = 0.0
    rpo_seconds: float = 0.0
    rpo_orders: int = 0
    commanded: float = 0.0
    sold: float = 0.0
    promoted: float = 0.0
    kept: Kept | None = None
    bought: int = 0
    captures: int = 0
    returning: float = 0.0
    returned: float = 0.0
    equality: regions.Equality | None = None
    report: Report | None = None


async def drill_region(loaded: Settings, plan: RegionPlan, *, tell: Tell) -> RegionVerdict:
    """Drill the two regions of the shop that runs from `loaded.home`; `tell` hears each event as a sentence.

    Whichever region takes the writes is the one that dies, or hands over: repeated, the drill goes to and fro.
    `DrillFailed` when the shop does not come back, or one region does not follow the other to begin with; `NotRunning`.
    """
    if not loaded.web_url:
        raise NotRunning(home=loaded.home)
    began, home = time.monotonic(), ops.whole_home(loaded)
    async with _on_stage(home, plan) as scene:
        try:
            async with asyncio.TaskGroup() as group:
                around = [group.create_task(one.crowd.run()) for one in (scene.from_side, scene.to_side)]
                outcome = await _play(scene, tell)
                for task in around:
                    task.cancel()
        except BaseExceptionGroup as several:
            raise first_of(several) from several
        await _take_stock(scene, outcome)
    return _verdict(scene, outcome, seconds=time.monotonic() - began)


@asynccontextmanager
async def _on_stage(home: Home, plan: RegionPlan) -> AsyncIterator[Scene]:
    """Both regions with goods for sale and shoppers who are signed in."""
    seen = await ops.observe(home)
    writer = next((region for region in seen.regions if region.writes), None)
    if writer is None or seen.beyond(writer.name).part != "follower":
        parts = ", ".join(f"{region.name} is {region.part}" for region in seen.regions)
        raise DrillFailed(why=f"one region has to write and the other to follow, and {parts}")
    names = writer.name, seen.beyond(writer.name).name
    line, goods = Timeline(), Goods()
    async with AsyncExitStack() as stack:
        sides = []
        for number, name in enumerate(names):
            there = settings_table.load(str(ops.home_of(home, name).path))
            tokens = home.path / f"{name}-{SESSIONS_FILE}"
            door = connect(there.web_url, there.internal_key, tokens=tokens, connections=plan.shoppers, heard=line.hear)
            client = await stack.enter_async_context(door)
            first = FIRST_HOUSEHOLD + HOUSEHOLDS_APART * (1 + (name > names[1 - number]))
            crowd = Crowd(client, goods, shoppers=plan.shoppers, seed=plan.seed, timeline=line, first=first)
            http = await stack.enter_async_context(_plain_client(there))
            sides.append(Side(name, there, client, crowd, Holders(http, there.web_url, goods)))
        shop = await stack.enter_async_context(open_shop(sides[1].settings))
        await goods.put_on_sale(shop)
        for side in sides:
            await side.crowd.sign_in()
        yield Scene(home, plan, sides[0], sides[1], shop, goods, line)


async def _play(scene: Scene, tell: Tell) -> Outcome:
    """A calm while, the loss or the hand-over, buying on in the other region, and the return of the lost one."""
    outcome, sides = Outcome(), (scene.from_side, scene.to_side)
    for side in sides:
        side.crowd.open_doors()
    holding = [asyncio.create_task(side.holders.run()) for side in sides]
    await asyncio.sleep(CALM_S)
    async with _let_go_in_any_case(scene):
        if scene.plan.planned:
            outcome.struck = time.monotonic()
        else:
            await _lose_region(scene, outcome, tell)
        await _stop(holding)
        told_before = {told.number for side in sides for told in side.crowd.told}
        await _change_over(scene, outcome, tell)
        await _afterwards(scene, outcome, told_before, tell)
    return outcome


async def _change_over(scene: Scene, outcome: Outcome, tell: Tell) -> None:
    """Give the command, and wait until it is done and somebody has bought again."""
    outcome.commanded, commanded_at = time.monotonic(), datetime.now(UTC)
    change = regions.move if scene.plan.planned else regions.promote
    changing = asyncio.create_task(change(scene.home, scene.to_side.name, tell))
    await _first_sale(scene, outcome, commanded_at, changing, tell)
    await changing
    outcome.promoted = time.monotonic()


async def _afterwards(scene: Scene, outcome: Outcome, told_before: set[str], tell: Tell) -> None:
    """What is left of whom and what, and the return of the lost region."""
    sides = scene.from_side, scene.to_side
    await _count_the_lost(scene, outcome, told_before)
    await _look_for_holders(scene, outcome, tell)
    await asyncio.sleep(GOES_ON_S)
    for side in sides:
        await side.crowd.close_doors()
        seconds, what = side.crowd.forget_longest_wait()
        tell(f"the longest that a shopper of region {side.name} waited for an answer: {seconds:.1f} s, {what}")
    cut_file(scene.home).unlink(missing_ok=True)
    outcome.returning = time.monotonic()
    if not scene.plan.planned:
        await regions.rejoin(scene.home, scene.from_side.name, tell)
    await wait_until_well(scene.home)
    outcome.returned = time.monotonic()
    scene.from_side.client.go_to(scene.from_side.settings.web_url)


@asynccontextmanager
async def _let_go_in_any_case(scene: Scene) -> AsyncIterator[None]:
    """Whatever happens, the lost region is not left held: it may come back, and follows."""
    try:
        yield
    except BaseException:
        cut_file(scene.home).unlink(missing_ok=True)
        if not scene.plan.planned:
            with suppress(OperatorError):
                await ops.carry_out(scene.home, Step("let go", scene.from_side.name))
        raise


async def _lose_region(scene: Scene, outcome: Outcome, tell: Tell) -> None:
    """Kill every process of the region at once. Its shoppers go to the other region's door, with what was in their hands."""
    if scene.plan.cut_s:
        cut_file(scene.home).touch()
        tell(f"the link is cut, {scene.plan.cut_s:.1f} s before region {scene.from_side.name} dies")
        await asyncio.sleep(scene.plan.cut_s)
    down = await ops.bring_down(scene.home, scene.from_side.name)
    outcome.struck = time.monotonic() - (datetime.now(UTC) - down.at).total_seconds()
    tell(f"region {scene.from_side.name} is dead: kill -9 of its {len(down.labels)} engines")
    scene.from_side.client.go_to(scene.to_side.settings.web_url)
    await asyncio.sleep(DEAD_S)
    newest = await _newest_commit(scene.to_side.settings)
    outcome.rpo_seconds = round(max((down.at - newest).total_seconds(), 0.0), 3)


async def _newest_commit(settings: Settings) -> datetime:
    """When the newest commit was made that a region which follows has replayed, by the clock of who made it."""
    connection = await asyncpg.connect(settings.region_postgres_url)
    try:
        found: datetime | None = await connection.fetchval("SELECT pg_last_xact_replay_timestamp()")
    finally:
        await connection.close()
    if found is None:
        raise DrillFailed(why="the region that follows has not replayed a single commit")
    return found


async def _first_sale(scene: Scene, outcome: Outcome, commanded_at: datetime, changing: asyncio.Task[None], tell: Tell) -> None:
    """Wait until anybody has bought something that was opened after the command; a command that fails ends the waiting."""
    sales = [
        asyncio.create_task(side.crowd.wait_for_sale(opened_after=commanded_at)) for side in (scene.from_side, scene.to_side)
    ]
    waiting: set[asyncio.Task[None]] = {*sales}
    try:
        async with asyncio.timeout(SALE_WITHIN_S):
            done, _ = await asyncio.wait({*sales, changing}, return_when=asyncio.FIRST_COMPLETED)
            if changing in done:
                changing.result()
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    except TimeoutError:
        raise DrillFailed(why=f"{SALE_WITHIN_S:.0f} s after the command nobody could buy anything") from None
    finally:
        await _stop(sales)
    outcome.sold = time.monotonic()
    tell(f"somebody has bought again, {outcome.sold - outcome.commanded:.1f} s after the command")


async def _count_the_lost(scene: Scene, outcome: Outcome, told_before: set[str]) -> None:
    """Which orders of before the command the region does not have as their shoppers were told; they are held against nobody."""
    crowds = [side.crowd for side in (scene.from_side, scene.to_side)]
    told = [one for crowd in crowds for one in crowd.told if one.number in told_before]

    async def lost() -> set[str]:
        async with scene.shop.database.fresh() as fresh:
            return {finding.key for finding in await look(fresh, told=told) if finding.promise == "lost"}

    numbers = await patiently(lost)
    outcome.rpo_orders = len(numbers)
    for crowd in crowds:
        crowd.forget(numbers)


async def _look_for_holders(scene: Scene, outcome: Outcome, tell: Tell) -> None:
    """Look for everybody who only held, in the region that writes now; some of them buy what they hold."""
    url = scene.to_side.settings.web_url
    found = [*await scene.from_side.holders.look_for(url), *await scene.to_side.holders.look_for(url)]
    outcome.kept = kept = Kept.of(found, at=outcome.struck, lag_s=RPO_GOAL_S)
    tell(f"of {kept.sessions} sessions {kept.sessions_kept} are known, and {kept.carts_kept} carts are as they were left")
    buyers = [one.holder for one in found if one.cart_kept and one.holder in scene.from_side.holders.all][:BUYERS]
    keys = [f"held-{scene.plan.seed}-{time.time_ns()}-{number}" for number in range(len(buyers))]
    bought = await asyncio.gather(
        *(scene.from_side.holders.buy(buyer, url, key) for buyer, key in zip(buyers, keys, strict=True))
    )
    outcome.bought = bought.count(HTTPStatus.CREATED)
    if outcome.bought < len(buyers):
        raise DrillFailed(why=f"shoppers could not buy their carts in the other region: it answered {sorted(bought)}")


async def _take_stock(scene: Scene, outcome: Outcome) -> None:
    """Give the money of lost orders back, then hold the databases against what was told, and the regions against each other."""
    if not scene.plan.planned:
        lost = await patiently(lambda: regions.lost_captures(scene.to_side.settings))
        outcome.captures = len(lost)
        await regions.give_back(scene.to_side.settings, lost)
    crowds = [side.crowd for side in (scene.from_side, scene.to_side)]
    for crowd in crowds[1:]:
        await crowd.ask_about_pending()
    outcome.report = await take_stock(scene.shop, crowds[0], scene.goods, last=True, also=crowds[1].told)
    outcome.equality = await patiently(lambda: regions.compare(scene.home))


async def _stop(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def _plain_client(settings: Settings) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Content-Type": "application/json", "X-SecureCart-Internal-Key": settings.internal_key}
    timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as http:
        yield http


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 1.0


def _verdict(scene: Scene, outcome: Outcome, *, seconds: float) -> RegionVerdict:
    kept, report, equality = outcome.kept, outcome.report, outcome.equality
    assert kept is not None
    assert report is not None
    assert equality is not None
    rto = outcome.sold - outcome.commanded
    if scene.plan.planned:  # the region that hands over sells until it does
        rto = scene.line.longest_without("checkout", since=outcome.commanded, until=outcome.returning)
    rto = round(rto, 2)
    shares = _share(kept.sessions_old_kept, kept.sessions_old), _share(kept.carts_old_kept, kept.carts_old)
    within = outcome.rpo_seconds == outcome.rpo_orders == 0 if scene.plan.planned else outcome.rpo_seconds <= RPO_GOAL_S
    events = [
        (outcome.struck, f"region {scene.from_side.name} " + ("is well" if scene.plan.planned else "dies")),
        (outcome.commanded, f"securecart region {'move' if scene.plan.planned else 'promote'} {scene.to_side.name}"),
        (outcome.sold, "checkouts go on"),
        (outcome.promoted, f"region {scene.to_side.name} has taken over"),
        (outcome.returning, f"region {scene.from_side.name} comes back"),
        (outcome.returned, f"region {scene.from_side.name} follows, and everything is well"),
    ]
    return RegionVerdict(
        planned=scene.plan.planned,
        seed=scene.plan.seed,
        kept=report.kept and equality.equal,
        met=rto <= RTO_GOAL_S and within and shares[0] == 1.0,
        lost_region=scene.from_side.name,
        promoted_region=scene.to_side.name,
        rpo_seconds=outcome.rpo_seconds,
        rpo_goal_s=0.0 if scene.plan.planned else RPO_GOAL_S,
        rpo_orders=outcome.rpo_orders,
        tables_rpo_seconds=kept.lag_s,
        rto_seconds=rto,
        rto_goal_s=RTO_GOAL_S,
        sessions_kept=shares[0],
        carts_kept=shares[1],
        sessions=kept,
        bought_from_kept_carts=outcome.bought,
        captures_without_order=outcome.captures,
        acknowledged=report.acknowledged,
        lost=report.lost,
        doubled=report.doubled,
        oversold=report.oversold,
        equal=equality.equal,
        differences={
            **equality.database,
            **{name: str(count) for name, count in (equality.tables | equality.projections).items() if count},
        },
        seconds_to_promote=round(outcome.promoted - outcome.commanded, 2),
        seconds_to_return=round(outcome.returned - outcome.returning, 2),
        seconds=round(seconds, 1),
        failed=scene.line.failures("request", since=outcome.struck, until=outcome.returning),
        timeline=[Event(round(at - outcome.struck, 2), what) for at, what in sorted(events)],
        refused=dict(scene.from_side.crowd.refused + scene.to_side.crowd.refused),
        report=report,
    )
