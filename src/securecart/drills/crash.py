"""The crash drill: kill one process a round while shoppers buy, let the shop recover, and check every promise."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict, deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from securecart.app import Shop, open_shop
from securecart.demo.client import connect
from securecart.drills.aftermath import BACK_WITHIN_S, first_of, take_stock
from securecart.drills.crowd import Crowd
from securecart.drills.goods import Goods
from securecart.drills.kills import kill_one, wait_until_well
from securecart.drills.model import CrashPlan, Round, Verdict, kinds_in_turn
from securecart.engines import Home
from securecart.errors import DrillFailed, NotRunning
from securecart.promises import Report
from securecart.settings import Settings

__all__ = ["drill_crash"]

SESSIONS_FILE = "drill-sessions.txt"
CALM_S = 0.3
GOES_ON_S = 0.7
KILLS_A_MINUTE_MAX, MINUTE_S = 4, 60.0


class Scene(Struct, frozen=True):
    """What every round of a drill works with."""

    shop: Shop
    home: Home
    plan: CrashPlan
    goods: Goods
    crowd: Crowd
    dice: random.Random


async def drill_crash(loaded: Settings, plan: CrashPlan, *, tell: Callable[[Round], None]) -> Verdict:
    """Drill the shop that runs from `loaded.home`; `tell` hears of each round. It ends with the first broken promise.

    `DrillFailed` when the shop does not come back or answers what it should not; `NotRunning`.
    """
    if not loaded.web_url:
        raise NotRunning(home=loaded.home)
    goods = Goods()
    tokens = Path(loaded.home) / SESSIONS_FILE
    async with (
        open_shop(loaded) as shop,
        connect(loaded.web_url, loaded.internal_key, tokens=tokens, connections=plan.shoppers) as client,
    ):
        await goods.put_on_sale(shop)
        crowd = Crowd(client, goods, shoppers=plan.shoppers, seed=plan.seed)
        dice = random.Random(plan.seed)  # noqa: S311 - a seed makes a drill repeatable
        scene = Scene(shop, Home(loaded.home_path), plan, goods, crowd, dice)
        try:
            async with asyncio.TaskGroup() as group:
                shopping = group.create_task(crowd.run())
                details, report = await _play(scene, tell)
                shopping.cancel()
        except BaseExceptionGroup as several:
            raise first_of(several) from several
    return Verdict.of(plan.seed, details, report, dict(crowd.refused))


async def _play(scene: Scene, tell: Callable[[Round], None]) -> tuple[list[Round], Report]:
    """Round after round, and the last check."""
    plan, details = scene.plan, list[Round]()
    kinds = kinds_in_turn(plan.kinds, scene.dice)
    killed_at: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=KILLS_A_MINUTE_MAX))
    for number in range(1, plan.rounds + 1):
        kind = next(kinds)
        await _pace(killed_at[kind])
        began = time.monotonic()
        session = ((number - 1) // len(plan.kinds) + plan.seed) % 2 == 1
        killed, back_s = await _break_something(scene, kind, session=session)
        report = await take_stock(scene.shop, scene.crowd, scene.goods, last=number == plan.rounds)
        waited_s, waited_for = scene.crowd.forget_longest_wait()
        seconds = round(time.monotonic() - began, 1)
        details.append(Round(number, killed, back_s, waited_s, waited_for, report.acknowledged, report.kept, seconds))
        tell(details[-1])
        if not report.kept:
            break
        await scene.goods.receive_more(scene.shop, scene.dice)
    return details, report


async def _pace(killed_at: deque[float]) -> None:
    """Wait until one more death of this kind is not the fifth within a minute, after which supervisors give up."""
    if len(killed_at) == KILLS_A_MINUTE_MAX:
        await asyncio.sleep(max(killed_at[0] + MINUTE_S - time.monotonic(), 0))
    killed_at.append(time.monotonic())


async def _break_something(scene: Scene, kind: str, *, session: bool) -> tuple[str, float]:
    """Let shoppers in, kill a process, wait until all is well and somebody can buy again, close the doors."""
    scene.crowd.open_doors()
    await asyncio.sleep(CALM_S + scene.dice.uniform(0, scene.plan.seconds))
    began = time.monotonic()
    killed = kill_one(scene.home, kind, scene.dice, session=session)
    await wait_until_well(scene.home)
    await asyncio.sleep(GOES_ON_S)
    try:
        await asyncio.wait_for(scene.crowd.wait_for_sale(opened_after=datetime.now(UTC)), BACK_WITHIN_S)
    except TimeoutError:
        raise DrillFailed(why=f"{BACK_WITHIN_S:.0f} s after {killed} was killed nobody could buy anything") from None
    back_s = round(scene.crowd.timeline.longest_without("checkout", since=began, until=time.monotonic()), 2)
    await scene.crowd.close_doors()
    return killed, back_s
