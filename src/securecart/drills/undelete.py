"""The undelete drill: an operator's mistake while shoppers buy, and the recovery of just what it took, by the very command.

Two mistakes: orders are deleted with all that hangs on them, and every price becomes nothing. Before each, the drill writes
down what will be lost; after the recovery every row of it must be there byte by byte, and nothing else changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
from asyncpg.connect_utils import SessionAttribute
from msgspec import Struct

from securecart import readers
from securecart.app import Shop, open_shop
from securecart.demo.client import Client, connect
from securecart.drills.aftermath import LOOK_AGAIN_S, first_of, take_stock
from securecart.drills.crowd import FIRST_HOUSEHOLD, Crowd, Habits
from securecart.drills.goods import Goods
from securecart.drills.kills import wait_until_well
from securecart.drills.mishaps import Deletion, Mishap, PricesLost, strike
from securecart.drills.shown import Shown
from securecart.drills.timeline import Timeline
from securecart.drills.undelete_model import Judged, UndeletePlan, UndeleteVerdict, Undone, p99_ms
from securecart.engines import Home
from securecart.errors import DrillFailed, NotRunning
from securecart.settings import Settings
from securecart.stores.postgres import statements_of

__all__ = ["drill_undelete"]

SQL = statements_of(__package__)
SESSIONS_FILE = "drill-sessions.txt"
# Those who fill the shop come back to buy nothing afterwards: what they bought, nobody has in hand any more.
FIRST_FILLER, FILLERS, EACH_BUYS = FIRST_HOUSEHOLD + 10_000, 16, 10
SPARED_SHARE, SPARED_LEAST = 0.2, 10
CARDS = (("tok_visa", 80), ("tok_mastercard", 15), ("tok_declined", 5))
FILLED_WITHIN_S, DECIDED_WITHIN_S = 900.0, 90.0
TELL_EVERY_S = 5.0
SETTLES_S, NOTICED_AFTER_S, GOES_ON_S = 1.5, 3.0, 1.5
A_FEW_SECONDS = timedelta(seconds=2)
PAGES = 20
READ_WITHIN_S, LATE_S = 60.0, 15.0
WORDS_MAX = 600
PROGRAM = (sys.executable, "-m", "securecart")


class Moments(Struct, frozen=True):
    """Moments of `time.monotonic`: calm from `calm` to `struck`; the command from `began` to `ended`; all there at `whole`."""

    calm: float
    struck: float
    began: float
    ended: float
    whole: float


class Scene(Struct, frozen=True):
    """What a drill works with. `owner` is the operator's connection."""

    home: Home
    plan: UndeletePlan
    shop: Shop
    owner: asyncpg.Connection
    client: Client
    goods: Goods
    crowd: Crowd
    fillers: Crowd
    dice: random.Random
    tell: Callable[[str], None]


async def drill_undelete(loaded: Settings, plan: UndeletePlan, *, tell: Callable[[str], None]) -> UndeleteVerdict:
    """Drill the shop that runs from `loaded.home`; `tell` hears each event as a sentence.

    `DrillFailed` when a command fails or the shop answers what it should not; `NotRunning`.
    """
    if not loaded.web_url or not loaded.postgres_owner_url:
        raise NotRunning(home=loaded.home)
    began, goods, count = time.monotonic(), Goods(), min(FILLERS, -(-plan.orders // EACH_BUYS))
    async with (
        open_shop(loaded) as shop,
        connect(
            loaded.web_url,
            loaded.internal_key,
            tokens=Path(loaded.home) / SESSIONS_FILE,
            connections=plan.shoppers + count,
        ) as client,
    ):
        await goods.put_on_sale(shop)
        crowd = Crowd(client, goods, shoppers=plan.shoppers, seed=plan.seed, habits=Habits(cards=CARDS))
        fillers = Crowd(client, goods, shoppers=count, seed=plan.seed, first=FIRST_FILLER, habits=Habits((0.0, 0.0), CARDS))
        owner = await asyncpg.connect(loaded.postgres_owner_url, target_session_attrs=SessionAttribute.read_write)
        try:
            dice = random.Random(plan.seed)  # noqa: S311 - a seed makes a drill repeatable
            scene = Scene(Home(loaded.home_path), plan, shop, owner, client, goods, crowd, fillers, dice, tell)
            forms = await _play(scene)
        finally:
            await owner.close()
        report = await take_stock(shop, crowd, goods, last=True, also=fillers.told)
    return UndeleteVerdict.of(plan.seed, forms, report, dict(crowd.refused), seconds=time.monotonic() - began)


async def _play(scene: Scene) -> list[Undone]:
    """A base backup, a shop full of orders, and one mishap after the other while shoppers buy."""
    await wait_until_well(scene.home)
    scene.tell("taking a base backup")
    await _run(scene.home, "backup", "now")
    ids = await _fill(scene)
    await scene.crowd.sign_in()
    try:
        async with asyncio.TaskGroup() as group:
            buying = group.create_task(scene.crowd.run())
            scene.crowd.open_doors()
            await asyncio.sleep(SETTLES_S)
            forms = []
            for form in scene.plan.forms:
                count = min(scene.plan.orders, len(ids))
                deletion = form == "orders"
                mishap = Deletion(scene.owner, ids, count, scene.dice) if deletion else PricesLost(scene.owner, ids, scene.dice)
                forms.append(await _undo(scene, mishap))
            await scene.crowd.close_doors()
            buying.cancel()
    except BaseExceptionGroup as several:
        raise first_of(several) from several
    return forms


async def _fill(scene: Scene) -> list[int]:
    """Orders in the shop, bought through its doors as fast as it goes; the ids of those that nobody has in hand any more."""
    wanted = scene.plan.orders + max(SPARED_LEAST, round(scene.plan.orders * SPARED_SHARE))
    fillers, said = scene.fillers, time.monotonic()
    deadline = said + FILLED_WITHIN_S
    await fillers.sign_in()
    buying = asyncio.create_task(fillers.run())
    fillers.open_doors()
    try:
        while len(fillers.told) < wanted:
            await asyncio.wait([buying], timeout=LOOK_AGAIN_S)
            if buying.done():
                await buying
            if time.monotonic() > deadline:
                raise DrillFailed(why=f"only {len(fillers.told):,} of {wanted:,} orders were placed in {FILLED_WITHIN_S:.0f} s")
            if time.monotonic() > said + TELL_EVERY_S:
                said = time.monotonic()
                scene.tell(f"{len(fillers.told):,} of {wanted:,} orders are placed")
        await fillers.close_doors()
    finally:
        buying.cancel()
        await asyncio.gather(buying, return_exceptions=True)
    ids = await _decided(scene, [one.number for one in fillers.told], scene.plan.orders)
    scene.tell(f"{len(ids):,} orders are there, of which nobody has one in hand")
    return ids


async def _decided(scene: Scene, numbers: Sequence[str], least: int) -> list[int]:
    deadline = time.monotonic() + DECIDED_WITHIN_S
    while True:
        ids = [row["id"] for row in await scene.owner.fetch(SQL["decided"], numbers)]
        if len(ids) == len(numbers) or (len(ids) >= least and time.monotonic() > deadline):
            return ids
        if time.monotonic() > deadline:
            raise DrillFailed(why=f"only {len(ids):,} of {len(numbers):,} orders were decided in {DECIDED_WITHIN_S:.0f} s")
        await asyncio.sleep(LOOK_AGAIN_S)


async def _undo(scene: Scene, mishap: Mishap) -> Undone:
    """A calm while, the mishap, a while until somebody notices, the recovery, and what there is to say of it."""
    calm = time.monotonic()
    await asyncio.sleep(scene.plan.calm_s)
    shown = Shown(scene.shop, scene.client, [sku.lower() for sku in scene.goods.plenty[:PAGES]])
    await shown.look(mishap)
    await mishap.write_down()
    struck = time.monotonic()
    at = await strike(scene.owner, mishap)
    scene.tell(f"{mishap.says}, at {at:%H:%M:%S.%f}"[:-3])
    await shown.let_it_show()
    await asyncio.sleep(NOTICED_AFTER_S)
    on_purpose = await mishap.change_on_purpose()
    before = at - A_FEW_SECONDS
    arguments = ("recover", "rows", "--at", f"{before:%Y-%m-%d %H:%M:%S.%f}", "--yes")
    command = shlex.join(("securecart", *arguments))
    scene.tell(command)
    began = time.monotonic()
    await _run(scene.home, *arguments)
    ended = time.monotonic()
    judged, wrong, whole = await _wait_until_whole(scene, mishap, shown, ended)
    moments = Moments(calm, struck, began, ended, whole)
    scene.tell(f"{judged.rows_recovered:,} of {judged.rows_lost:,} rows are back after {moments.whole - began:.1f} s")
    sold = await _sold_at_zero(scene, at)
    whole_at = await scene.owner.fetchval(SQL["clock"])
    await asyncio.sleep(GOES_ON_S)
    return _undone(
        scene.crowd.timeline,
        mishap,
        judged,
        moments,
        command=command,
        on_purpose=on_purpose,
        on_purpose_kept=await mishap.on_purpose_kept(),
        misshown=wrong,
        sold_at_zero=sold,
        sold_at_zero_after=await _sold_at_zero(scene, whole_at),
    )


async def _wait_until_whole(scene: Scene, mishap: Mishap, shown: Shown, ended: float) -> tuple[Judged, int, float]:
    """What there is to say once every row is there and the shop shows them, or once that has taken too long; and since when.

    The looking itself costs shoppers more than the last steps of a recovery, and is not counted among them.
    """
    with contextlib.suppress(TimeoutError):  # what is shown wrong for that is counted below
        await readers.catch_up(scene.shop.stores, within_s=READ_WITHIN_S)
    while True:
        looked = time.monotonic()
        judged, wrong = await mishap.judge(), await shown.wrong()
        is_whole = judged.rows_recovered == judged.rows_lost and not wrong
        if is_whole or time.monotonic() > ended + LATE_S:
            return judged, wrong, looked
        await asyncio.sleep(LOOK_AGAIN_S)


async def _sold_at_zero(scene: Scene, since: datetime) -> int:
    return int(await scene.owner.fetchval(SQL["sold_at_zero"], since))


async def _run(home: Home, *arguments: str) -> None:
    """Run a command as the operator would, from a session of their own; `DrillFailed` with what it complained of."""
    child = await asyncio.create_subprocess_exec(
        *(*PROGRAM, *arguments, "--home", str(home.path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _, complaint = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        why = " ".join(complaint.decode(errors="replace").split())[-WORDS_MAX:]
        raise DrillFailed(why=f"`securecart {shlex.join(arguments)}` ended with {child.returncode}: {why}")


def _undone(line: Timeline, mishap: Mishap, judged: Judged, moments: Moments, **figures: Any) -> Undone:
    before, during = (
        p99_ms(line.waits("checkout", since=since, until=until))
        for since, until in ((moments.calm, moments.struck), (moments.began, moments.whole))
    )
    return Undone(
        form=mishap.form,
        rows_lost=judged.rows_lost,
        rows_recovered=judged.rows_recovered,
        rows_wrongly_touched=judged.rows_wrongly_touched,
        seconds_of_command=round(moments.ended - moments.began, 2),
        seconds_to_whole=round(moments.whole - moments.began, 2),
        checkouts_during=line.successes("checkout", since=moments.began, until=moments.whole),
        p99_ms_before=before,
        p99_ms_during=during,
        p99_ratio=round(during / before, 2) if before else 0.0,
        examples=judged.examples,
        **figures,
    )
