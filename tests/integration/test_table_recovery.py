"""DynamoDB tables go back to any moment, on the real engine: whole into a new table, whole in place, one item."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from moto.server import ThreadedMotoServer
from typer.testing import CliRunner

from securecart import carts
from securecart.app import TABLES
from securecart.cli import app
from securecart.errors import RecoveryRefused
from securecart.ops import table_recovery
from securecart.ops.table_recovery import Plan, journal
from securecart.patience import TABLE_RECOVERY
from securecart.stores import dynamodb
from securecart.stores.dynamodb import shape
from securecart.stores.dynamodb.items import Table
from securecart.stores.dynamodb.wire import aws_region
from tests.tables_for_tests import Tables, item, running_tables

OWNERS = [f"o{number}" for number in range(12)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes on about once a second goes on more often."""
    monkeypatch.setattr("securecart.ops.table_recovery.keeping.ROUND_S", 0.1)
    monkeypatch.setattr("securecart.ops.table_recovery.keeping.DUE_EVERY_S", 0.1)


@pytest.fixture(scope="module")
async def tables(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tables]:
    async with running_tables(tmp_path_factory.mktemp("tables")) as running:
        yield running


async def as_of(tables: Tables, table: Table, at: datetime) -> table_recovery.FromArchive:
    return await table_recovery.from_archive(tables.archive, table_recovery.folder_of(table.name, ""), table, at)


async def state(past: table_recovery.Past) -> dict[str, Any]:
    found: dict[str, Any] = {}
    async for page in past.pages():
        for entry in page:
            held = msgspec.json.decode(entry.image)
            assert held["owner"]["S"] not in found
            found[held["owner"]["S"]] = held
    return found


def quiet(words: str) -> None:
    del words


async def pause() -> datetime:
    """A moment with nothing in the same millisecond."""
    await asyncio.sleep(0.005)
    now = datetime.now(UTC)
    await asyncio.sleep(0.005)
    return now


async def test_every_moment_is_what_it_was_also_when_the_keeper_is_killed(tables: Tables) -> None:
    table = await tables.make("kept-killed")
    for owner in OWNERS[:6]:
        await tables.put(table, owner, content=0)
    model = {owner: item(owner, content=0) for owner in OWNERS[:6]}
    moments: list[tuple[datetime, dict[str, Any]]] = []
    chance = random.Random(7)
    keeper = tables.keeper(table)
    try:
        await tables.covered(table)
        for number in range(50):
            for owner in chance.sample(OWNERS, 3):
                if chance.random() < 0.3:
                    await tables.delete(table, owner)
                    model.pop(owner, None)
                else:
                    await tables.put(table, owner, content=number)
                    model[owner] = item(owner, content=number)
            moments.append((await pause(), dict(model)))
            await asyncio.sleep(0.03)
            if number in {15, 35}:
                keeper.kill()
                keeper.wait()
                keeper = tables.keeper(table)
        await tables.covered(table)
    finally:
        keeper.kill()
        keeper.wait()
    assert len(await tables.windows(table)) == 1  # neither death left a gap
    for at, held in moments:
        assert await state(await as_of(tables, table, at)) == held


async def test_a_snapshot_scanned_while_shoppers_write_leads_to_what_was(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scan takes one item at a time here, so most of what it finds is of different moments."""
    monkeypatch.setattr("securecart.ops.table_recovery.snapshots.PAGE_ITEMS", 1)
    monkeypatch.setattr("securecart.ops.table_recovery.snapshots.PART_BYTES", 200)
    monkeypatch.setattr(journal, "MERGE_PIECES", 2)
    table = await tables.make("kept-fuzzy")
    model = {}
    for owner in OWNERS:
        await tables.put(table, owner, content=0)
        model[owner] = item(owner, content=0)
    moments: list[tuple[datetime, dict[str, Any]]] = []
    chance, number = random.Random(3), 0
    async with tables.kept(table):
        while not await tables.windows(table) or number < 60:
            number += 1
            owner = chance.choice(OWNERS)
            if chance.random() < 0.4:
                await tables.delete(table, owner)
                model.pop(owner, None)
            else:
                await tables.put(table, owner, content=number)
                model[owner] = item(owner, content=number)
            moments.append((await pause(), dict(model)))
        await tables.covered(table)
    (window,) = await tables.windows(table)
    found = await asyncio.to_thread(table_recovery.survey, tables.archive, "tables/kept-fuzzy")
    assert any(piece.last > piece.first for piece in found.eras[0].pieces)  # some were merged
    assert found.eras[0].snapshots[0].parts > 2
    reached = [(at, held) for at, held in moments if at >= window.since]
    assert reached
    for at, held in reached:
        assert await state(await as_of(tables, table, at)) == held


async def test_a_table_is_made_new_as_it_was_with_its_indexes_and_expiry(tables: Tables) -> None:
    table = await tables.make("kept-new", expires="until", index=True)
    late = int(time.time()) + 9_000
    async with tables.kept(table):
        await tables.covered(table)
        for number in range(130):
            await tables.put(table, f"o{number}", colour="red", until=late)
        at = await pause()
        await tables.put(table, "o1", colour="blue", until=late)
        await tables.delete(table, "o2")
        past = await as_of(tables, table, at)
        done = await table_recovery.restore(past, tables.region, "restored-new", quiet)
    assert (done.table, done.items) == ("restored-new", 130)
    assert (await tables.held("restored-new"))["o1"] == item("o1", colour="red", until=late)
    red = await tables.region.call(
        "Query",
        TableName="restored-new",
        IndexName="by_colour",
        KeyConditionExpression="colour = :red",
        ExpressionAttributeValues={":red": {"S": "red"}},
    )
    expiry = await tables.region.call("DescribeTimeToLive", TableName="restored-new")
    assert (red["Count"], expiry["TimeToLiveDescription"]["AttributeName"]) == (130, "until")
    with pytest.raises(RecoveryRefused, match="There is a table restored-new already"):
        await table_recovery.restore(past, tables.region, "restored-new", quiet)
    with pytest.raises(RecoveryRefused, match="somebody else writes there too"):
        await table_recovery.restore(Twice(past), tables.region, "restored-twice", quiet)
    assert await shape.described(tables.region, "restored-twice") is None  # half a table is taken away


class Twice(table_recovery.FromArchive):
    """A past that tells an item twice, so that the count at the end does not agree."""

    def __init__(self, past: table_recovery.FromArchive) -> None:
        self.__dict__.update(past.__dict__)

    async def pages(self) -> AsyncIterator[list[Any]]:
        async for page in super().pages():
            for half in (page, page[:1]):
                yield half


async def test_a_live_table_becomes_what_it_was_and_what_somebody_changes_meanwhile_is_left(tables: Tables) -> None:
    table = await tables.make("kept-live", expires="until")
    now = int(time.time())
    async with tables.kept(table):
        await tables.covered(table)
        for owner in OWNERS:
            await tables.put(table, owner, content=1, until=now + 9_000)
        await tables.put(table, "soon over", content=1, until=now + 1)
        at = await pause()
        before = await tables.held(table.name)
        await tables.delete(table, "o0")
        await tables.delete(table, "o1")
        await tables.put(table, "o2", content=2, until=now + 9_000)
        await tables.put(table, "o3", content=2, until=now + 9_000)
        await tables.put(table, "new", content=2)
        await tables.put(table, "newer", content=2)
        past = await as_of(tables, table, at)
        await asyncio.sleep(max(0.0, now + 1.1 - time.time()))
        await tables.put(table, "soon over", content=2, until=now + 9_000)
        found = await table_recovery.compare(past, tables.region, quiet)
    assert (len(found.missing), len(found.changed), len(found.added), found.same, found.over) == (2, 2, 2, 8, 1)
    await tables.put(table, "o1", content=3)
    await tables.put(table, "o3", content=3)
    await tables.put(table, "newer", content=3)
    done = await table_recovery.carry_out(past, tables.region, found, quiet)
    assert (done.put_back, done.removed, len(done.left)) == (2, 1, 3)
    after = await tables.held(table.name)
    expected = {**before, "o1": item("o1", content=3), "o3": item("o3", content=3), "newer": item("newer", content=3)}
    assert after == {**expected, "soon over": item("soon over", content=2, until=now + 9_000)}
    again = (await table_recovery.compare(past, tables.region, quiet)).only_missing()
    assert (again.missing, again.changed, again.added) == (set(), {}, {})


async def test_one_item_is_put_back_only_if_it_is_what_was_shown(tables: Tables) -> None:
    table = await tables.make("kept-one", sort="number")
    key = {"owner": {"S": "o"}, "number": {"N": "7"}}
    async with tables.kept(table):
        await tables.covered(table)
        await tables.put(table, "o", number=7, content=1)
        at = await pause()
        await tables.put(table, "o", number=7, content=2)
        past = await as_of(tables, table, at)
        found = table_recovery.key_from(past, ["o", "7.0"])
        shown = await table_recovery.look(past, tables.region, found)
    assert (shown.then, shown.now) == (item("o", number=7, content=1), item("o", number=7, content=2))
    await tables.put(table, "o", number=7, content=3)
    assert not await table_recovery.put_back(past, tables.region, shown)
    assert await tables.region.get(table.name, key) == item("o", number=7, content=3)
    shown = await table_recovery.look(past, tables.region, found)
    assert await table_recovery.put_back(past, tables.region, shown)
    assert await tables.region.get(table.name, key) == item("o", number=7, content=1)
    never = await table_recovery.look(past, tables.region, table_recovery.key_from(past, ["o", "8"]))
    assert (never.then, never.now, never.is_same) == (None, None, True)


async def test_a_lost_stream_is_a_gap_that_is_told_and_a_new_snapshot(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "LOOK_EVERY_S", 0.2)
    table = await tables.make("kept-gap")
    await tables.put(table, "o", content=1)
    async with tables.kept(table):
        await tables.covered(table)
        early = await pause()
        await tables.covered(table)
        await tables.region.call("UpdateTable", TableName=table.name, StreamSpecification={"StreamEnabled": False})
        await asyncio.sleep(1.2)  # the name of a stream is its second
        await tables.put(table, "o", content=2)
        await tables.region.call("UpdateTable", TableName=table.name, StreamSpecification=shape.STREAM)
        await tables.covered(table)
    first, second = await tables.windows(table)
    assert await state(await as_of(tables, table, early)) == {"o": item("o", content=1)}
    assert await state(await as_of(tables, table, second.since)) == {"o": item("o", content=2)}
    with pytest.raises(RecoveryRefused, match=r"cannot be had as of .* In between: the table's stream no longer has"):
        await as_of(tables, table, first.until + (second.since - first.until) / 2)


async def test_a_place_that_is_gone_with_a_days_records_is_no_gap(tables: Tables) -> None:
    table = await tables.make("kept-quiet")
    await tables.put(table, "o", content=1)
    async with tables.kept(table):
        await tables.covered(table)
    beat = msgspec.json.decode(await asyncio.to_thread(tables.archive.read, "tables/beat"))
    beat["tables"]["tables/kept-quiet"]["place"]["sequence"] = "0" * 21  # no record of this stream, as one long removed
    await asyncio.to_thread(tables.archive.put, "tables/beat", msgspec.json.encode(beat))
    async with tables.kept(table):
        await tables.put(table, "o", content=2)
        await tables.covered(table)
        at = await pause()
        await tables.covered(table)
    assert len(await tables.windows(table)) == 1
    assert await state(await as_of(tables, table, at)) == {"o": item("o", content=2)}


async def test_without_a_journal_there_are_snapshots(tables: Tables) -> None:
    table = await tables.make("kept-scans")
    await tables.put(table, "o", content=1)
    async with tables.kept(table, plan=Plan(journal=False, snapshot_hours=24.0, days=14.0)), asyncio.timeout(10):
        while not await tables.windows(table):  # noqa: ASYNC110 - it is asked
            await asyncio.sleep(0.1)
    (window,) = await tables.windows(table)
    assert window.until - window.since == timedelta(seconds=1)
    assert await state(await as_of(tables, table, window.since)) == {"o": item("o", content=1)}
    with pytest.raises(RecoveryRefused, match="it can as of"):
        await as_of(tables, table, window.since - timedelta(minutes=1))
    async with tables.kept(table):  # the journal is turned on
        await tables.covered(table)
        await tables.put(table, "o", content=2)
        later = await pause() + timedelta(seconds=1)
        await tables.covered(table)
        await asyncio.sleep(1)
        assert await state(await as_of(tables, table, later)) == {"o": item("o", content=2)}


async def has_stream(tables: Tables, table: Table) -> bool:
    described = await shape.described(tables.region, table.name)
    assert described is not None
    return bool(described.get("StreamSpecification", {}).get("StreamEnabled"))


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words))
    return result.exit_code, result.output if result.exception is None or result.exit_code == 0 else str(result.exception)


async def test_the_command_line_recovers_the_shops_tables(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECURECART_HOME", str(tables.home.path))
    home = {"postgres_url": "postgresql://nobody@127.0.0.1:1/none"}
    tables.home.remember(home)
    store = await dynamodb.connect(tables.engine.url(), region="us-east-1", prefix="kept-")
    async with contextlib.aclosing(_Closing(store)):
        await store.create_tables(TABLES)
        assert [await has_stream(tables, spec.in_full("kept-")) for spec in TABLES] == [False] * 3
        for wanted in (True, False, True, True):  # those that are there are switched too
            await store.create_tables(TABLES, streams=wanted)
            assert [await has_stream(tables, spec.in_full("kept-")) for spec in TABLES] == [wanted] * 3
            await asyncio.sleep(1.1 * (not wanted))  # the name of a stream is its second
    specs = [spec.in_full("kept-") for spec in TABLES]
    cart = {"shopper_id": {"S": "anna"}, "version": {"N": "1"}}
    order = {"shopper_id": {"S": "anna"}, "order_id": {"N": "12"}, "number": {"S": "A-12"}}
    async with tables.kept(*specs):
        for table in specs:
            await tables.covered(table)
        await tables.region.call("PutItem", TableName="kept-carts", Item=cart)
        await tables.region.call("PutItem", TableName="kept-order-history", Item=order)
        at = f"{await pause():%Y-%m-%d %H:%M:%S.%f}"
        await tables.region.call("PutItem", TableName="kept-carts", Item={**cart, "version": {"N": "2"}})
        await tables.region.call("DeleteItem", TableName="kept-order-history", Key={name: order[name] for name in specs[2].keys})
        said = [
            await asyncio.to_thread(run, "recover", *words.split(), "--at", at)
            for words in ("item carts anna", "item carts anna --yes", "item order-history anna 12 --yes", "table kept-carts")
        ]
        assert [code for code, _ in said] == [0, 0, 0, 0], said
        assert "version = 1" in said[0][1]
        assert "--yes makes it what it was then" in said[0][1]
        assert "It is what it was then again." in said[1][1]
        assert await tables.region.get("kept-carts", {"shopper_id": {"S": "anna"}}) == cart
        made = f"kept-carts-{datetime.fromisoformat(at):%Y%m%dT%H%M%S}"
        assert f"is in the table {made}: 1 items" in said[3][1]
        await tables.region.call("DeleteItem", TableName="kept-carts", Key={"shopper_id": {"S": "anna"}})
        words = ("recover", "table", "carts", "--in-place", "--from", made)
        dry = await asyncio.to_thread(run, *words)
        assert "1 are gone, to be put back" in dry[1]
        assert "shopper_id anna" in dry[1]
        done = msgspec.json.decode((await asyncio.to_thread(run, *words, "--yes", "--json"))[1])
        assert (done["missing"], done["put_back"], done["left"]) == (1, 1, [])
    second = at.replace(" ", "T")
    refusals: dict[str, str] = {
        "table cart --at now": "There is no table 'cart' here; there are sessions, carts, order-history.",
        "table carts": "Say to which moment",
        "table carts --at 2020-01-01": "cannot be had as of 2020-01-01 00:00:00",
        "table carts --at before:7": "is no time",
        "table carts --at now --into x": "is no name for a table",
        "table carts --at now --yes": "belong to --in-place",
        "table carts --at now --in-place --into xxx": "not both",
        f"table carts --in-place --from {made} --at now": "takes the place of --at",
        "table carts --in-place --from kept-sessions": "The key of kept-sessions is token_hash",
        "table carts --in-place --from nothing": "There is no table nothing",
        f"item order-history anna --at {second}": "named by shopper_id (text) and order_id (a number)",
        f"item order-history anna twelve --at {second}": "order_id of kept-order-history is a number",
    }
    for asked, why in refusals.items():
        code, problem = await asyncio.to_thread(run, "recover", *asked.split())
        assert (code, why in problem) == (1, True), (asked, problem)


class _Closing:
    def __init__(self, store: dynamodb.DynamoDB) -> None:
        self.aclose = store.close


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    yield
    server.stop()


@pytest.mark.usefixtures("aws")
async def test_on_aws_it_is_aws_that_restores_and_what_it_leaves_out_is_set() -> None:
    table = carts.TABLE.in_full("kept-")
    region = aws_region("us-east-1", patience=TABLE_RECOVERY)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(region.close)
        like = {
            "KeySchema": [{"AttributeName": "shopper_id", "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": "shopper_id", "AttributeType": "S"}],
        }
        await shape.create_like(region, table.name, like, expires="expires_at", streams=True)
        described = await shape.described(region, table.name)
        assert described is not None
        tags = [{"Key": "team", "Value": "shop"}]
        await region.call("TagResource", ResourceArn=described["TableArn"], Tags=tags)
        await region.call("PutItem", TableName=table.name, Item={"shopper_id": {"S": "anna"}})
        with pytest.raises(RecoveryRefused, match="continuous backups of kept-carts are off"):
            await table_recovery.window_of(region, table.name)
        await table_recovery.keep_on_aws("us-east-1", [table])
        window = await table_recovery.window_of(region, table.name)
        with pytest.raises(RecoveryRefused, match="AWS can restore it as of"):
            await table_recovery.restore_natively(region, table.name, window.since - timedelta(days=1), "kept-old", quiet)
        done = await table_recovery.restore_natively(region, table.name, window.until, "kept-old", quiet)
        restored = await shape.described(region, "kept-old")
        assert restored is not None
        expiry = (await region.call("DescribeTimeToLive", TableName="kept-old"))["TimeToLiveDescription"]
        found = await region.call("ListTagsOfResource", ResourceArn=restored["TableArn"])
        assert (done.table, expiry["AttributeName"], found["Tags"]) == ("kept-old", "expires_at", tags)
        assert restored["StreamSpecification"]["StreamEnabled"]
        assert await table_recovery.window_of(region, "kept-old")
        await region.call("DeleteItem", TableName=table.name, Key={"shopper_id": {"S": "anna"}})
        past = await table_recovery.from_table(region, table, "kept-old")
        put = await table_recovery.carry_out(past, region, await table_recovery.compare(past, region, quiet), quiet)
        assert (put.put_back, put.left) == (1, [])
