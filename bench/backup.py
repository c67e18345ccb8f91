"""What backups cost and what they are worth: checkouts beside one, the archive's size, the ways back in seconds, what is lost.

On a shop of its own, which is killed, filled with orders, restored and put back to a moment, and is gone afterwards. First,
while it is small, its database is killed again and again, and commits are measured with and without waiting for the
archiver; then it is filled through its doors, and everything else is measured on it as it is then.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
from msgspec import Struct

from bench import harness, survival
from bench.crowd import Book, Crowd
from bench.goods import Goods, some_goods, stock_up
from bench.harness import Goal, Result, RunningShop
from bench.journeys import draw
from bench.lag import catch_up
from bench.load import Load
from bench.own import command, filled_shelves, shop_in
from bench.placing import place_plan
from bench.prepared import Pile, tables_of
from bench.rounds import CARTS_PER_S
from bench.survival import Loss
from bench.watch import disk_mb
from securecart.ops.recovery.holdings import survey
from securecart.ops.recovery.sites import site_of
from securecart.stores import postgres

__all__ = ["Options", "Seen", "judged", "run"]

SQL = postgres.statements_of("bench")
PRODUCTS = 2_000
UNITS = 1_000_000
MIB = 2**20
# a base backup that was only just asked for has other things to do than to read
UNDER_WAY_S = 1.0
SHARE_WISHED, SIZE_WISHED, LOSS_WISHED_S, PREVIEW_WISHED_S, BACK_WISHED_S = 0.9, 1.5, 1.0, 60.0, 90.0
FIRST_BASE_WITHIN_S = 120.0
A_SECOND = timedelta(seconds=1)


class Options(harness.Options, frozen=True, kw_only=True):
    """How many orders the shop is filled with, how often its database is killed, how many moments are looked at."""

    seconds: float = 6.0
    rounds: int = 2
    orders: int = 200_000
    kills: int = 5
    moments: int = 3

    @property
    def given(self) -> dict[str, float]:
        """What repeats it."""
        return {**super().given, "orders": self.orders, "kills": self.kills}


class Seen(Struct):
    """What was measured: loads by name, deaths without and with waiting for the archiver, and figures."""

    loads: dict[str, list[Load]]
    deaths: list[Loss]
    deaths_waited_for: list[Loss]
    figures: dict[str, float]

    def rate(self, name: str) -> float:
        """The median round's checkouts a second."""
        return harness.median_rate(self.loads[name], "place")


class Scene(Struct, frozen=True):
    """A running shop with what can be bought in it."""

    shop: RunningShop
    options: Options
    goods: list[Goods]
    pile: Pile
    seen: Seen


async def run(options: Options) -> Result:
    """Measure all of it on a shop in a folder of its own."""
    seen = Seen({}, [], [], {})
    with tempfile.TemporaryDirectory(prefix="securecart-bench-") as folder:
        home = Path(folder) / "home"
        for turn in range(1, options.rounds + 1):
            for waits in (True, False):
                async with _open(home, options, seen, archive_synchronous=waits) as scene:
                    await _buy(scene, "commits_waited_for" if waits else "commits")
                    if turn == options.rounds:
                        await _die(scene, waits=waits)
            options.say(
                f"round {turn} of {options.rounds}: {harness.median_rate(seen.loads['commits'][-1:], 'place'):,.0f} checkouts/s, "
                f"with the archiver waited for {harness.median_rate(seen.loads['commits_waited_for'][-1:], 'place'):,.0f}/s"
            )
        async with _open(home, options, seen) as scene:
            began_at = datetime.now(UTC)
            await _fill(scene)
            await _preview(scene, "preview_longest_log", datetime.now(UTC) - A_SECOND)
            await _back_up(scene)
            await _weigh(scene)
            await _slow_down(scene)
            await _look_back(scene, began_at)
            await _prove(scene)
            await _go_back(scene)
    return judged(options, seen)


@contextlib.asynccontextmanager
async def _open(home: Path, options: Options, seen: Seen, **settings: Any) -> Any:
    """The shop, stocked and archived."""
    async with shop_in(home, **{"archive_synchronous": False, **settings}) as shop, tables_of(shop) as tables:
        await filled_shelves(shop, PRODUCTS)
        goods, chance = await some_goods(shop, PRODUCTS), random.Random(options.seed)
        await stock_up(shop, [one.sku for one in goods], units=UNITS)
        await _until_archived(shop)
        yield Scene(shop, options, goods, Pile(tables, lambda: draw(goods, chance)), seen)


async def _until_archived(shop: RunningShop) -> None:
    """Return once there is a base backup and the archive follows."""
    site = site_of(shop.settings)
    async with asyncio.timeout(FIRST_BASE_WITHIN_S):
        began_at = datetime.now(UTC)
        while True:
            windows = (await asyncio.to_thread(survey, site.archive)).windows
            if windows and windows[-1].until > began_at:
                return
            await asyncio.sleep(0.2)


async def _buy(scene: Scene, name: str) -> None:
    """Buy prepared carts for the measured seconds."""
    options, pile = scene.options, scene.pile
    await pile.top_up(round(CARTS_PER_S * (options.warm_up_s + options.seconds)))
    load = await harness.generate(place_plan(scene.shop, options, list(pile.filled), connections=options.connections))
    pile.settle({note[0] for note in load.notes})
    scene.seen.loads.setdefault(name, []).append(load)
    database = await postgres.connect(scene.shop.settings.postgres_url, pool_size=1)
    try:
        await catch_up(database)
    finally:
        await database.close()


async def _die(scene: Scene, *, waits: bool) -> None:
    """Kill the database under load, and see what the archive has."""
    scene.options.say("killing the database" + (", with the archiver waited for" if waits else ""))
    skus = [one.sku for one in scene.goods]
    deaths = await survival.losses(scene.shop, scene.options, skus, scene.options.kills, waits=waits)
    (scene.seen.deaths_waited_for if waits else scene.seen.deaths).extend(deaths)


async def _fill(scene: Scene) -> None:
    """Place the orders through the shop's doors."""
    options = scene.options
    with tempfile.TemporaryFile("w+", encoding="ascii") as told:
        book = Book(options.orders, told)
        telling = asyncio.create_task(_tell(options, book))
        try:
            await Crowd(scene.shop, scene.pile, book).buy_all(options.connections)
        finally:
            telling.cancel()
        scene.seen.figures["orders"] = book.count
        scene.seen.figures["orders_filled_per_s"] = round(book.count / book.elapsed_s, 1)


async def _tell(options: Options, book: Book) -> None:
    while True:
        await asyncio.sleep(10)
        options.say(f"{book.count:,} of {book.wanted:,} orders are placed")


async def _back_up(scene: Scene) -> None:
    """A full and an incremental base backup, with nothing else to do."""
    for kind, flags in (("full", ("--full",)), ("incremental", ())):
        if kind == "incremental":
            await _buy(scene, "between")
        seconds, base = await command(scene.shop, "backup", "now", *flags)
        scene.seen.figures[f"{kind}_backup_s"] = round(seconds, 2)
        scene.seen.figures[f"{kind}_backup_mb"] = round(base["archive_bytes"] / MIB, 1)
        scene.options.say(f"{kind} backup: {seconds:.1f} s, {base['archive_bytes'] / MIB:,.0f} MiB")


async def _weigh(scene: Scene) -> None:
    """The archive beside the database and all log that it ever wrote."""
    site, figures = site_of(scene.shop.settings), scene.seen.figures
    connection = await asyncpg.connect(scene.shop.settings.postgres_owner_url)
    try:
        sizes = await connection.fetchrow(SQL["sizes"])
    finally:
        await connection.close()
    assert sizes is not None, "it has one row"
    database, log = sizes
    holdings = await asyncio.to_thread(survey, site.archive)
    figures["database_mb"], figures["log_mb"] = round(database / MIB, 1), round(log / MIB, 1)
    figures["archive_mb"] = round(holdings.bytes / MIB, 1)
    figures["archive_of_database_and_log"] = harness.ratio(holdings.bytes, database + log)
    figures["disk_postgres_mb"] = disk_mb(scene.shop.settings.home_path / "data").get("postgres", 0.0)


async def _slow_down(scene: Scene) -> None:
    """Checkouts with and without a full base backup beside them, in turns."""
    for turn in range(1, scene.options.rounds + 1):
        await _buy(scene, "alone")
        backup = asyncio.create_task(command(scene.shop, "backup", "now", "--full"))
        await asyncio.sleep(UNDER_WAY_S)
        await _buy(scene, "beside_backup")
        await backup
        alone, beside = (harness.median_rate(scene.seen.loads[name][-1:], "place") for name in ("alone", "beside_backup"))
        scene.options.say(f"round {turn}: {alone:,.0f} checkouts/s alone, {beside:,.0f}/s beside a base backup")


async def _look_back(scene: Scene, began_at: datetime) -> None:
    """Preview the database at random moments since it was begun to be filled."""
    dice = random.Random(scene.options.seed)
    for _ in range(scene.options.moments):
        span = datetime.now(UTC) - A_SECOND - began_at
        await _preview(scene, "preview", began_at + span * dice.random())


async def _preview(scene: Scene, name: str, at: datetime) -> None:
    seconds, _ = await command(scene.shop, "recover", "preview", "--at", f"{at:%Y-%m-%d %H:%M:%S.%f}")
    scene.seen.figures[f"{name}_s"] = round(max(seconds, scene.seen.figures.get(f"{name}_s", 0.0)), 2)
    scene.options.say(f"preview of {at:%H:%M:%S}: {seconds:.1f} s")


async def _prove(scene: Scene) -> None:
    seconds, found = await command(scene.shop, "backup", "prove", expect=(0, 1))
    figures = scene.seen.figures
    figures["proof_s"] = round(seconds, 2)
    figures |= {f"proof_{name}_s": took for name, took in found["seconds"].items() if name != "total"}
    figures["proof_flaws"] = len(found["flaws"])
    scene.options.say(f"proof: {seconds:.1f} s, {len(found['flaws'])} flaws")


async def _go_back(scene: Scene) -> None:
    """The whole database a little back, from the command until the shop is open again."""
    at = datetime.now(UTC) - A_SECOND
    seconds, found = await command(scene.shop, "recover", "cluster", "--at", f"{at:%Y-%m-%d %H:%M:%S.%f}", "--yes")
    scene.seen.figures["recover_cluster_s"] = round(seconds, 2)
    scene.seen.figures["recover_cluster_until_open_s"] = round(found["seconds_until_open"], 2)
    scene.seen.figures["recover_cluster_closed_s"] = round(found["seconds_without_sales"], 2)
    scene.options.say(f"recover cluster: open after {found['seconds_until_open']:.1f} s")


def judged(options: Options, seen: Seen) -> Result:
    """Figures, ratios and goals."""
    figures = dict(seen.figures)
    size = figures.pop("archive_of_database_and_log")
    for name in ("commits", "commits_waited_for", "alone", "beside_backup"):
        figures[f"{name}_per_s"] = seen.rate(name)
        figures |= harness.latency_figures(seen.loads[name], "place", prefix=f"{name}_")
    for name, deaths in (("", seen.deaths), ("waited_for_", seen.deaths_waited_for)):
        figures[f"{name}deaths"] = len(deaths)
        figures[f"{name}told_before_deaths"] = sum(one.told for one in deaths)
        figures[f"{name}lost_s_max"] = max((one.seconds for one in deaths), default=0.0)
        figures[f"{name}lost_orders"] = sum(one.lost for one in deaths)
        figures[f"{name}restored_s"] = round(statistics.median(one.restored_s for one in deaths), 2) if deaths else 0.0
    ratios = {
        "checkouts_beside_backup_of_alone": harness.ratio(seen.rate("beside_backup"), seen.rate("alone")),
        "archive_of_database_and_log": size,
        "commits_waited_for_of_commits": harness.ratio(seen.rate("commits_waited_for"), seen.rate("commits")),
    }
    return harness.result(
        "backup",
        options,
        chosen={"products": PRODUCTS, "moments": options.moments},
        figures=figures,
        baselines={},
        ratios=ratios,
        goals=_goals(figures, ratios),
    )


def _goals(figures: dict[str, float], ratios: dict[str, float]) -> list[Goal]:
    return [
        harness.at_least("checkouts_beside_backup_of_alone", ratios["checkouts_beside_backup_of_alone"], SHARE_WISHED),
        harness.at_most("archive_of_database_and_log", ratios["archive_of_database_and_log"], SIZE_WISHED),
        harness.at_most("lost_s_max", figures["lost_s_max"], LOSS_WISHED_S),
        harness.at_most("waited_for_lost_orders", figures["waited_for_lost_orders"], 0),
        harness.at_most("preview_s", figures["preview_s"], PREVIEW_WISHED_S),
        harness.at_most("recover_cluster_until_open_s", figures["recover_cluster_until_open_s"], BACK_WISHED_S),
        harness.at_most("proof_flaws", figures["proof_flaws"], 0),
    ]
