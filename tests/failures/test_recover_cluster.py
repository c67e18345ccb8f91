"""The whole database put back to a moment, in place of the live one: with a whole shop that sells, cut off, undone, done."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from securecart import checkout, promises, readers
from securecart import settings as settings_table
from securecart.app import Shop, open_shop
from securecart.drills import own_shop
from securecart.engines import Home
from securecart.errors import RecoveryRefused
from securecart.ops.recovery import carrying_out, in_place
from securecart.ops.recovery.in_place import Report, Voice, abandon, recover
from securecart.ops.recovery.sites import site_of
from securecart.ops.recovery.standing import KEY
from securecart.settings import Settings
from securecart.undo.settle import Settling, read_later
from securecart.values import Line
from tests.commands import securecart
from tests.orders_for_tests import a_guest, a_product
from tests.shopping import buy, captured, fill

DEADLINE_S = 60.0
QUIET = Voice(lambda _: None, lambda _: None)


class Killed(BaseException):
    """Stands for the end of the recovery's process: nothing of it is done any more."""


@dataclass
class Scene:
    """A shop that runs, and what the test knows of it."""

    home: Home
    sku: str

    @property
    def settings(self) -> Settings:
        return settings_table.load(str(self.home.path))

    @asynccontextmanager
    async def shop(self) -> AsyncIterator[Shop]:
        async with open_shop(self.settings) as shop:
            yield shop

    async def buy(self, *quantities: int, refund: str = "") -> list[str]:
        """Orders of these many, their numbers; and an earlier one is given back."""
        numbers = []
        async with self.shop() as shop:
            for quantity in quantities:
                shopper = a_guest()
                await fill(shop, shopper, Line(self.sku, quantity))
                numbers.append((await buy(shop, shopper)).number)
            if refund:
                await checkout.refund(shop.till, refund, amount_minor=None, reason="unhappy", key="once")
        return numbers

    async def numbers(self) -> set[str]:
        return {row["number"] for row in await self.sql("SELECT number FROM orders")}

    async def sql(self, statement: str) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.settings.postgres_owner_url, timeout=DEADLINE_S)
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    async def sells(self) -> bool:
        """Whether the shop's door answers that it can sell."""
        async with aiohttp.ClientSession() as http:
            try:
                async with http.get(f"{self.settings.web_url}/readyz", timeout=aiohttp.ClientTimeout(total=2)) as answer:
                    return answer.status == 200
            except (aiohttp.ClientError, TimeoutError):
                return False

    async def back_up(self) -> None:
        """A base backup, once there is log in the archive."""
        headers, deadline = {KEY: self.settings.internal_key}, time.monotonic() + DEADLINE_S
        async with aiohttp.ClientSession(headers=headers) as http:
            while True:
                async with http.post(f"{self.settings.archiver_url}/backup?full") as answer:
                    last = (await answer.text()).splitlines()[-1]
                if "base" in json.loads(last):
                    return
                assert time.monotonic() < deadline, last
                await asyncio.sleep(0.2)

    async def back_to(self, moment: datetime) -> Report:
        return await recover(site_of(self.settings), moment.isoformat(), Settling(self.home), QUIET)

    def folders(self) -> list[str]:
        return sorted(path.name for path in (self.home.path / "data").iterdir() if path.name.startswith(("postgres", "recovery")))


async def now_and_a_little() -> datetime:
    """A moment that everything so far lies before, and everything that follows after."""
    await asyncio.sleep(0.05)
    moment = datetime.now(UTC)
    await asyncio.sleep(0.05)
    return moment


async def test_a_whole_database_goes_back_in_place_of_the_live_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with own_shop(tmp_path / "home", lambda _: None, web_processes=1, sweep_seconds=3600.0):
        home = Home(tmp_path / "home")
        async with open_shop(settings_table.load(str(home.path))) as shop:
            scene = Scene(home, await a_product(shop.database, stock=100))
        await scene.back_up()
        before = await scene.buy(1, 2)
        then = await now_and_a_little()
        later = await scene.buy(3, refund=before[0])
        last = await now_and_a_little()
        await scene.sql(f"DELETE FROM orders WHERE number = '{before[1]}'")  # the accident

        await cut_off_at("start", scene, then, monkeypatch)
        assert not await scene.sells()
        assert [name for name in scene.folders() if "before" in name]
        with pytest.raises(RecoveryRefused, match="recover abandon"):
            await scene.back_to(last)
        await cut_off_at("agree", scene, then, monkeypatch)  # it went on where it was, and runs on the restored database
        assert await scene.numbers() == set(before)
        await abandon(site_of(scene.settings), Settling(home), QUIET)
        assert scene.folders() == ["postgres"]
        assert (await scene.numbers(), await scene.sells()) == ({before[0], *later}, True)
        with pytest.raises(RecoveryRefused, match="none to abandon"):
            await abandon(site_of(scene.settings), Settling(home), QUIET)

        report = await scene.back_to(then)
        await whole(scene, report, before, later)
    # and now with everything down: to the moment right before the accident, which lies on the branch that was left
    done = await asyncio.to_thread(
        securecart, "recover", "cluster", "--at", last.isoformat(), "--yes", "--json", "--home", str(home.path), expect=0
    )
    assert json.loads(done.stdout)["orders_gone"] == 1
    async with own_shop(home.path, lambda _: None, web_processes=1):
        assert await scene.numbers() == {*before, *later}


async def cut_off_at(step: str, scene: Scene, moment: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the recovery end as when its process is killed at the beginning of this step."""

    async def die(*_: object) -> str:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setitem(carrying_out.STEPS, step, die)
        patched.setattr(in_place, "_step_back", die)
        with pytest.raises(Killed):
            await scene.back_to(moment)


async def whole(scene: Scene, report: Report, before: list[str], later: list[str]) -> None:
    """The database is as it was, what came later is told, and the other stores agree."""
    assert await scene.numbers() == set(before)
    assert await scene.sells()
    told = read_later(Path(report.file))
    assert ([order.number for order in told.orders], [one.number for one in told.changed]) == (later, [before[0]])
    assert report.seconds_without_sales < DEADLINE_S
    assert [Path(kept.folder).name for kept in report.kept] == [name for name in scene.folders() if "before" in name]
    # the order was given back later, which the gateway still knows, so it is booked again
    assert [row["status"] for row in await scene.sql(f"SELECT status FROM orders WHERE number = '{before[0]}'")] == ["refunded"]
    fresh = await scene.buy(1)  # the row that it gets is nobody's in the histories
    (number,) = [row["id"] for row in await scene.sql(f"SELECT id FROM orders WHERE number = '{fresh[0]}'")]
    assert number > max(order.id for order in told.orders)
    async with scene.shop() as shop:
        assert await captured(shop, *later)
        found = await promises.check(shop)
        assert found.broken() == {"captures_without_order": 1}, found
        assert found.projections_equal
        await readers.catch_up(shop.stores)
    back = await asyncio.to_thread(securecart, "recover", "captures", "--give-back", "--home", str(scene.home.path), expect=0)
    assert later[0] in back.stdout
    async with scene.shop() as shop:
        assert (await promises.check(shop)).kept
