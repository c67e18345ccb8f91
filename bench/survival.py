"""How much of what was acknowledged the archive lacks when the database dies: kill -9 under load, again and again.

In the moment of each death the archive is copied as it is (its files are linked, which takes milliseconds). What is
restored from that copy is held against everything that shoppers had been told of by then.

Where commits wait for the archiver, they wait until it has their log on its own disk. What it has there is added to the copy
then, and all log is replayed.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

import asyncpg
import msgspec
from msgspec import Struct

from bench.harness import BenchFailed, Options, RunningShop
from securecart.checkout import PlaceOrder
from securecart.demo.client import Client, connect, email_of
from securecart.drills.crowd import FIRST_HOUSEHOLD, card_of, home_of
from securecart.drills.kills import kill_one, wait_until_well
from securecart.engines import Home
from securecart.ops.recovery.going_back import held_at
from securecart.ops.recovery.holdings import survey
from securecart.ops.recovery.model import Beat, Moment, Site
from securecart.ops.recovery.sites import site_of
from securecart.stores.archive import Archive, open_archive
from securecart.values import Line

__all__ = ["Loss", "losses", "lost"]

BUYERS = 16
BUY_S = 3.0
# the supervisor leaves down what dies five times within a minute
PAUSE_S = 15.0


class Loss(Struct, frozen=True):
    """What one death cost: of so many orders told of, those that the archive lacked, and the seconds that they span."""

    told: int
    lost: int
    seconds: float
    restored_s: float


class Heard(Struct, frozen=True):
    """An order that a shopper was told is paid, and when (`time.time`)."""

    number: str
    at: float


class Placed(Struct, frozen=True):
    """The part of an order's answer that is remembered."""

    number: str
    status: str


async def losses(shop: RunningShop, options: Options, skus: Sequence[str], kills: int, *, waits: bool) -> list[Loss]:
    """Kill the database so many times; the shop is well again afterwards. `waits`: commits wait for the archiver."""
    home, found, killed_at = Home(shop.settings.home_path), list[Loss](), 0.0
    tokens = home.path / "bench-sessions.txt"
    async with connect(shop.url, shop.settings.internal_key, tokens=tokens, connections=BUYERS) as client:
        for number in range(1, kills + 1):
            await asyncio.sleep(max(0.0, killed_at + PAUSE_S - time.monotonic()))
            await wait_until_well(home)
            killed_at = time.monotonic()
            loss = await _one(shop, client, home, skus, random.Random(options.seed + number), waits=waits)
            found.append(loss)
            options.say(
                f"death {number} of {kills}: {loss.lost} of {loss.told:,} orders told are not in the archive "
                f"({loss.seconds:.3f} s); restored in {loss.restored_s:.1f} s"
            )
    return found


def lost(told: Sequence[Heard], there: set[str]) -> tuple[int, float]:
    """How many of the orders are not there, and the seconds from the oldest of them to the newest order told of."""
    missing = [one.at for one in told if one.number not in there]
    return len(missing), max(one.at for one in told) - min(missing) if missing else 0.0


async def _one(shop: RunningShop, client: Client, home: Home, skus: Sequence[str], dice: random.Random, *, waits: bool) -> Loss:
    heard: list[Heard] = []
    copy, site = home.path / "archive-at-death", site_of(shop.settings)
    buying = [asyncio.create_task(_buy_on(client, FIRST_HOUSEHOLD + number, skus, dice, heard)) for number in range(BUYERS)]
    try:
        await asyncio.sleep(BUY_S + dice.random())
        home.hold("postgres")
        kill_one(home, "postgres", dice, session=False)
        await asyncio.to_thread(_link, Path(site.archive.where), copy)
        told = list(heard)
    finally:
        home.release("postgres")
        for task in buying:
            task.cancel()
        await asyncio.gather(*buying, return_exceptions=True)
    if not told:
        raise BenchFailed(problem="nobody bought anything before the database was killed.")
    began = time.perf_counter()
    copied = Site(site.home, site.settings, open_archive(str(copy), shop.settings.archive_key))
    if waits:
        await asyncio.to_thread(_add_received, home, copied.archive)
    count, seconds = lost(told, await _numbers_in(copied))
    await asyncio.to_thread(_remove, copy)
    return Loss(len(told), count, round(seconds, 3), round(time.perf_counter() - began, 2))


def _add_received(home: Home, archive: Archive) -> None:
    """Put the log that the archiver has on its own disk into the archive, and have the newest moment be its end.

    A dead database tells no time for it, and nothing came later. The file is filled up with zeros; records begin at eights.
    """
    for file in (home.data("archiver") / "receiving").iterdir():
        segment, content = file.name.removesuffix(".partial"), file.read_bytes()
        if segment != file.name:
            end = -(-len(content.rstrip(bytes(1))) // 8) * 8
            archive.put(f"wal/{segment[:8]}/{segment}.0000000-{end:07X}", content[:end])
    newest = max(survey(archive).pieces, key=lambda piece: (piece.timeline, piece.end))
    archive.put("beat", msgspec.json.encode(Beat(datetime.now(UTC), newest.timeline, newest.end)))


async def _numbers_in(site: Site) -> set[str]:
    """The orders at the newest moment that the archive can show."""
    windows = (await asyncio.to_thread(survey, site.archive)).windows
    if not windows:
        raise BenchFailed(problem="there is no base backup yet that could be restored.")
    async with held_at(site, Moment(at=windows[-1].until)) as held:
        connection: asyncpg.Connection = await held.connect()
        try:
            return {row["number"] for row in await connection.fetch("SELECT number FROM orders WHERE status = 'paid'")}
        finally:
            await connection.close()


async def _buy_on(client: Client, household: int, skus: Sequence[str], dice: random.Random, heard: list[Heard]) -> None:
    wish = msgspec.json.encode(PlaceOrder(email_of(household), home_of(household), "standard", card_of("tok_visa", household)))
    while True:
        lines = msgspec.json.encode({"lines": [Line(dice.choice(skus), 1)]})
        await client.ask(household, "PUT", "/api/cart", lines)
        key = {"Idempotency-Key": secrets.token_hex(16)}
        answer = await client.ask(household, "POST", "/api/checkout", wish, key)
        if answer.status == HTTPStatus.CREATED:
            placed = msgspec.json.decode(answer.body, type=Placed)
            if placed.status == "paid":
                heard.append(Heard(placed.number, time.time()))


def _link(folder: Path, copy: Path) -> None:
    """The same files under another folder; a file of the archive is never changed, only another put in its place.

    What was listed and is gone was a piece of log whose whole segment has come: another look finds that.
    """
    whole = False
    while not whole:
        whole = True
        for where, _, files in os.walk(folder):
            to = copy / Path(where).relative_to(folder)
            to.mkdir(parents=True, exist_ok=True)
            for name in files:
                try:
                    (to / name).hardlink_to(Path(where) / name)
                except FileExistsError:
                    continue
                except FileNotFoundError:
                    whole = False


def _remove(folder: Path) -> None:
    for where, _, files in os.walk(folder, topdown=False):
        for name in files:
            (Path(where) / name).unlink()
        Path(where).rmdir()
