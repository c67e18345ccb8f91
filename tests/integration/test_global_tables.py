"""Global tables between two real DynamoDB engines: whatever shoppers do, and whatever breaks, both end with the newest write."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from securecart import carts, sessions
from securecart.cli import app
from securecart.errors import CartChanged, NotCaughtUp, StoreAway
from securecart.ops import global_tables
from securecart.stores.dynamodb.wire import Refused
from securecart.values import Line
from tests.two_regions import CARTS, TABLES, TwoRegions, two_regions

DAYS = 30
REGIONS = ("a", "b")
VERBS = ("replace", "add", "set", "take_out", "merge", "put", "update", "delete", "transact", "begin", "end")
MISHAPS = ("cut", "mend", "kill", "pause")
WRITES = st.tuples(st.sampled_from(VERBS), st.sampled_from(REGIONS), st.integers(0, 4))
STORIES = st.lists(
    st.one_of(WRITES, WRITES, WRITES, WRITES, st.tuples(st.sampled_from(MISHAPS), st.just(""), st.integers(0, 4))),
    min_size=12,
    max_size=40,
)
# What a shopper may hear when two write at once, or when an engine is slow; what came of it, the streams tell.
HEARD = (CartChanged, StoreAway, Refused)


@pytest.fixture(scope="module")
async def regions() -> AsyncIterator[TwoRegions]:
    async with two_regions() as running:
        yield running


class Story:
    """Shoppers in both regions at once, each with the rooms' own verbs or straight at the engine."""

    def __init__(self, regions: TwoRegions, number: int) -> None:
        self.regions = regions
        self.number = number
        self.tokens: list[str] = []
        self.content = 0

    async def play(self, steps: list[tuple[str, str, int]]) -> None:
        writes: list[asyncio.Task[None]] = []
        for what, region, number in steps:
            if what in MISHAPS:
                await self._mishap(what, number)
            else:
                writes.append(asyncio.create_task(self._write(what, region, number)))
                await asyncio.sleep(0)
        await asyncio.gather(*writes)
        self.regions.link.mend()

    async def _mishap(self, what: str, number: int) -> None:
        if what == "cut":
            self.regions.link.cut()
        elif what == "mend":
            self.regions.link.mend()
        elif what == "kill":
            await self.regions.kill()
        await asyncio.sleep(number / 20)

    async def _write(self, what: str, region: str, number: int) -> None:
        with contextlib.suppress(*HEARD):
            await getattr(self, f"_{what}")(region, self._shopper(number))

    def _shopper(self, number: int) -> str:
        return f"{self.number}-{number}"

    def _item(self, shopper: str) -> dict[str, Any]:
        self.content += 1
        return {"shopper_id": {"S": shopper}, "content": {"N": str(self.content)}, **_lives()}

    async def _replace(self, region: str, shopper: str) -> None:
        await carts.replace(self.regions.tables[region], shopper, [Line("A", 1), Line("B", 2)], days=DAYS)

    async def _add(self, region: str, shopper: str) -> None:
        await carts.add(self.regions.tables[region], shopper, Line("C", 1), days=DAYS)

    async def _set(self, region: str, shopper: str) -> None:
        await carts.set_quantity(self.regions.tables[region], shopper, "C", 3, days=DAYS)

    async def _take_out(self, region: str, shopper: str) -> None:
        cart = await carts.load(self.regions.tables[region], shopper)
        await carts.take_out(self.regions.tables[region], shopper, cart)

    async def _merge(self, region: str, shopper: str) -> None:
        await carts.merge(self.regions.tables[region], shopper, self._shopper(0), days=DAYS)

    async def _put(self, region: str, shopper: str) -> None:
        await self.regions.direct[region].call("PutItem", TableName=CARTS.name, Item=_cart(self._item(shopper)))

    async def _update(self, region: str, shopper: str) -> None:
        self.content += 1
        await self.regions.direct[region].call(
            "UpdateItem",
            TableName=CARTS.name,
            Key={"shopper_id": {"S": shopper}},
            UpdateExpression="SET content = :content, note = :content",
            ConditionExpression="attribute_exists(shopper_id)",
            ExpressionAttributeValues={":content": {"N": str(self.content)}},
        )

    async def _delete(self, region: str, shopper: str) -> None:
        await self.regions.direct[region].call("DeleteItem", TableName=CARTS.name, Key={"shopper_id": {"S": shopper}})

    async def _transact(self, region: str, shopper: str) -> None:
        put = {"TableName": CARTS.name, "Item": _cart(self._item(shopper))}
        delete = {"TableName": CARTS.name, "Key": {"shopper_id": {"S": self._shopper(4)}}}
        steps = [{"Put": put}] if shopper == self._shopper(4) else [{"Put": put}, {"Delete": delete}]
        await self.regions.direct[region].call("TransactWriteItems", TransactItems=steps)

    async def _begin(self, region: str, _: str) -> None:
        self.tokens.append((await sessions.start_guest(self.regions.tables[region], days=DAYS)).token)

    async def _end(self, region: str, _: str) -> None:
        if self.tokens:
            await sessions.end(self.regions.tables[region], self.tokens[-1])


async def test_whatever_happens_both_regions_end_with_the_newest_write(regions: TwoRegions) -> None:
    loop, told = asyncio.get_running_loop(), 0

    async def tell(steps: list[tuple[str, str, int]]) -> None:
        nonlocal told
        told += 1
        await Story(regions, told).play(steps)
        await regions.quiet()
        for table in TABLES:
            held, newest = await regions.items(table), await regions.winners(table)
            assert held["a"] == held["b"]
            assert held["a"] == newest

    @settings(max_examples=6, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck), derandomize=True)
    @given(STORIES)
    def stories(steps: list[tuple[str, str, int]]) -> None:
        asyncio.run_coroutine_threadsafe(tell(steps), loop).result()

    await asyncio.to_thread(stories)
    assert await global_tables.compare_urls(regions.urls, TABLES) == []


async def test_a_shopper_is_known_in_both_regions_and_keeps_the_cart(regions: TwoRegions) -> None:
    here, there = regions.tables["a"], regions.tables["b"]
    session = await sessions.start_guest(here, days=DAYS)
    await carts.add(here, session.shopper_id, Line("TEA", 2), days=DAYS)
    await regions.quiet()
    assert (found := await sessions.find(there, session.token)) is not None
    assert found.shopper_id == session.shopper_id
    cart = await carts.add(there, session.shopper_id, Line("MILK", 1), days=DAYS)
    await regions.quiet()
    assert await carts.load(here, session.shopper_id) == cart
    assert cart.lines == (Line("TEA", 2), Line("MILK", 1))
    await sessions.end(there, session.token)
    await carts.take_out(here, session.shopper_id, cart)
    await regions.quiet()
    assert await sessions.find(here, session.token) is None
    assert (await carts.load(there, session.shopper_id)).version == 0


async def test_during_a_cut_the_lag_grows_and_afterwards_nothing_is_missing(regions: TwoRegions) -> None:
    await regions.quiet()
    regions.link.cut()
    for number in range(30):
        await carts.replace(regions.tables["a"], f"cut-{number}", [Line("A", number + 1)], days=DAYS)
    await asyncio.sleep(0.5)
    with pytest.raises(NotCaughtUp):
        await global_tables.caught_up(regions.url, sources=("a",), within_s=0.5)
    standing = await global_tables.ask(regions.url)
    lags = [way.lag_seconds for way in standing.ways if way.source == "a" and way.table == CARTS.name]
    assert lags[0] is not None
    assert lags[0] >= 0.9
    regions.link.mend()
    await regions.quiet()
    assert [(await carts.load(regions.tables["b"], f"cut-{number}")).lines[0].quantity for number in (0, 29)] == [1, 30]


async def test_the_end_of_a_life_counts_from_when_it_was_due(regions: TwoRegions) -> None:
    await regions.direct["a"].call(
        "PutItem", TableName=CARTS.name, Item={"shopper_id": {"S": "over"}, "expires_at": {"N": str(int(time.time()) - 60)}}
    )
    await regions.direct["a"].call("DeleteItem", TableName=CARTS.name, Key={"shopper_id": {"S": "over"}})
    removed = [one for one in (await regions.records(CARTS))["a"] if one.key.item() == {"shopper_id": {"S": "over"}}][-1]
    assert removed.new is None
    assert removed.time_us < (time.time() - 50) * 1_000_000
    await regions.quiet()


async def test_both_write_the_same_cart_and_the_conflict_is_counted(regions: TwoRegions) -> None:
    await regions.quiet()
    before = (await global_tables.ask(regions.url)).conflicts
    regions.link.cut()
    for region in REGIONS:
        await carts.replace(regions.tables[region], "both", [Line(region, 1)], days=DAYS)
    regions.link.mend()
    await regions.quiet()
    assert [(await carts.load(regions.tables[region], "both")).lines for region in REGIONS] == [(Line("b", 1),)] * 2
    assert (await global_tables.ask(regions.url)).conflicts == before + 1
    async with aiohttp.ClientSession() as session, session.get(f"{regions.url}/metrics") as answer:
        metrics = await answer.text()
    assert 'securecart_global_tables_lag_seconds{source="a",table="two-carts",target="b"}' in metrics
    assert "securecart_global_tables_conflicts_total" in metrics


async def test_without_checkpoints_both_regions_are_compared_and_the_newest_is_kept(regions: TwoRegions) -> None:
    await regions.quiet()
    await regions.replicator.stop()
    here, there = regions.tables["a"], regions.tables["b"]
    await carts.replace(here, "forgotten", [Line("OLD", 1)], days=DAYS)
    await carts.replace(there, "forgotten", [Line("NEW", 1)], days=DAYS)
    await carts.replace(there, "only-there", [Line("B", 1)], days=DAYS)
    session = await sessions.start_guest(here, days=DAYS)
    checkpoints = regions.homes["a"].data("replicator") / "checkpoints.json"
    assert checkpoints.exists()
    checkpoints.unlink()
    await regions.begin()
    await regions.quiet()
    assert await global_tables.compare_urls(regions.urls, TABLES) == []
    assert (await carts.load(here, "forgotten")).lines == (Line("NEW", 1),)
    assert (await carts.load(here, "only-there")).lines == (Line("B", 1),)
    assert await sessions.find(there, session.token) is not None


async def test_a_region_that_comes_back_empty_is_filled_again(regions: TwoRegions) -> None:
    await carts.replace(regions.tables["a"], "kept", [Line("A", 1)], days=DAYS)
    session = await sessions.start_guest(regions.tables["b"], days=DAYS)
    await regions.quiet()
    held = [await regions.items(table) for table in TABLES]
    engine = regions.engines["a"]
    await engine.stop()
    shutil.rmtree(regions.homes["a"].data("dynamodb"))
    await engine.start()
    await engine.wait_until_ready()
    await regions.quiet()
    assert held == [await regions.items(table) for table in TABLES]
    assert await sessions.find(regions.tables["a"], session.token) is not None


async def test_a_copy_makes_one_region_exactly_like_the_other_and_replication_goes_on(regions: TwoRegions) -> None:
    await regions.quiet()
    await regions.replicator.stop()
    here, there = regions.tables["a"], regions.tables["b"]
    await carts.replace(here, "copied", [Line("A", 1)], days=DAYS)
    await carts.replace(there, "too-much", [Line("B", 1)], days=DAYS)
    folder = regions.homes["a"].data("replicator")
    assert await global_tables.copy_urls(regions.urls, TABLES, source="a", folder=folder) >= 2
    assert await global_tables.compare_urls(regions.urls, TABLES) == []
    assert (await carts.load(there, "too-much")).version == 0
    await carts.replace(here, "copied", [Line("A", 2)], days=DAYS)
    await regions.begin()
    await regions.quiet()
    assert (await carts.load(there, "copied")).lines == (Line("A", 2),)


async def test_the_command_tells_how_it_stands(regions: TwoRegions) -> None:
    await regions.quiet()
    home = str(regions.homes["a"].path)
    shown = await asyncio.to_thread(CliRunner().invoke, app, ["tables", "status", "--home", home])
    assert shown.exit_code == 0, shown.output
    assert "two-carts a → b" in shown.output
    same = await asyncio.to_thread(CliRunner().invoke, app, ["tables", "compare", "--home", home])
    assert (same.exit_code, same.output) == (0, "Both regions hold the same.\n")
    await regions.replicator.stop()
    await carts.replace(regions.tables["b"], "alone", [Line("B", 1)], days=DAYS)
    await regions.begin()
    await regions.quiet()
    assert (await carts.load(regions.tables["a"], "alone")).lines == (Line("B", 1),)


async def test_a_stream_tells_the_millisecond_and_its_records_are_found_by_an_index(regions: TwoRegions) -> None:
    before = time.time()
    await carts.replace(regions.tables["a"], "timed", [Line("A", 1)], days=DAYS)
    after = time.time()
    record = [one for one in (await regions.records(CARTS))["a"] if one.key.item() == {"shopper_id": {"S": "timed"}}][-1]
    assert before - 0.002 <= record.time_us / 1_000_000 <= after + 0.002
    file = regions.homes["a"].path / "data" / "dynamodb" / "shared-local-instance.db"
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as opened:
        indexes = {name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    assert {"us_by_shard", "us_by_stream", "us_by_time"} <= indexes


def _lives() -> dict[str, Any]:
    return {"expires_at": {"N": str(int(time.time()) + 86_400)}}


def _cart(item: dict[str, Any]) -> dict[str, Any]:
    """An item that the carts' own verbs can read too."""
    return {**item, "lines": {"L": []}, "version": {"N": "7"}, "trail": {"L": [{"S": ""}, {"S": "x"}]}}
