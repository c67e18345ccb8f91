"""The graph's client against the real process: results, parameters, errors, limits, and what kill -9 leaves."""

from __future__ import annotations

import asyncio
import contextlib
import io
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from securecart.errors import StoreAway
from securecart.stores.graph import FORM, Graph, Refused, Statement
from tests.graphs import KEY, Process, running

LEARN = Statement(
    "MERGE (a:Account {id: $account}) ON CREATE SET a.at = $at MERGE (d:Device {id: $device}) ON CREATE SET d.at = $at "
    "MERGE (a)-[link:ON_DEVICE]->(d) ON CREATE SET link.at = $at"
)
MARK = Statement("MERGE (a:Account {id: $id}) ON CREATE SET a.at = $at RETURN a.id AS id")
SLOW = Statement("UNWIND range(1, 100000) AS x UNWIND range(1, 100000) AS y RETURN sum(x + y) AS total")
ONE = Statement("RETURN 1 AS one")


@pytest.fixture(scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Process, Graph]]:
    async with running(tmp_path_factory.mktemp("graph") / "data") as both:
        yield both


@pytest.fixture
def client(pair: tuple[Process, Graph]) -> Graph:
    return pair[1]


async def raw(process: Process, method: str, path: str, *, key: str = KEY, **options: Any) -> tuple[int, dict[str, Any]]:
    url = f"http://127.0.0.1:{process.port}{path}"
    headers = {"Authorization": aiohttp.encode_basic_auth("securecart", key), **options.pop("headers", {})}
    async with aiohttp.ClientSession() as session, session.request(method, url, headers=headers, **options) as answer:
        return answer.status, await answer.json()


async def test_nodes_relationships_and_paths_have_neptunes_shape(client: Graph) -> None:
    await client.write(LEARN, account="shape", device="phone", at=5)
    rows = await client.ask(
        Statement(
            "MATCH p = (a:Account {id: $id})-[link:ON_DEVICE]->(d) RETURN a, link, d.id, p, collect(d) AS every, {k: a.at} AS map"
        ),
        id="shape",
    )
    (row,) = rows
    assert list(row) == ["a", "link", "d.id", "p", "every", "map"]
    node, link = row["a"], row["link"]
    assert node == {"~id": node["~id"], "~entityType": "node", "~labels": ["Account"], "~properties": {"id": "shape", "at": 5}}
    (device,) = row["every"]
    assert link == {
        "~id": link["~id"],
        "~entityType": "relationship",
        "~start": node["~id"],
        "~end": device["~id"],
        "~type": "ON_DEVICE",
        "~properties": {"at": 5},
    }
    assert isinstance(link["~id"], str)
    assert (row["d.id"], row["p"], row["map"]) == ("phone", [node, link, device], {"k": 5})


@pytest.mark.parametrize(
    "value",
    [1, -7, 2**62, 1.5, True, False, None, "", "é ' \" \\ ` $x // ; 🛒", [1, 2], ["a"], [], [[1], [2]], {"k": 1, "t": "x"}],
    ids=repr,
)
async def test_a_parameter_comes_back_as_it_went(client: Graph, value: object) -> None:
    assert await client.ask(Statement("RETURN $value AS value"), value=value) == [{"value": value}]


async def test_many_rows_are_learnt_in_one_statement(client: Graph) -> None:
    rows = [{"id": f"many-{number}", "at": number * 10**9} for number in range(500)]
    learn = Statement("UNWIND $rows AS row MERGE (a:Account {id: row.id}) ON CREATE SET a.at = row.at RETURN count(*) AS n")
    assert await client.write(learn, rows=rows) == [{"n": 500}]
    found = Statement("MATCH (a:Account) WHERE a.id STARTS WITH 'many-' RETURN count(*), sum(a.at) AS total")
    assert await client.ask(found) == [{"count(*)": 500, "total": 124_750 * 10**9}]


async def test_a_large_statement_is_sent_and_one_that_is_too_large_refused(client: Graph) -> None:
    text = "x" * 3 * 2**20
    assert await client.ask(Statement("RETURN size($text) AS size"), text=text) == [{"size": len(text)}]
    with pytest.raises(Refused, match="exceeds max allowed value"):
        await client.ask(Statement("RETURN size($text) AS size"), text=text * 3)


async def test_a_null_can_be_set_and_an_empty_list_finds_nothing(client: Graph) -> None:
    change = Statement("MERGE (a:Account {id: 'nobody'}) SET a.at = $at RETURN a.at AS at")
    assert await client.write(change, at=5) == [{"at": 5}]
    assert await client.write(change, at=None) == [{"at": None}]
    assert await client.ask(Statement("MATCH (a:Account) WHERE a.id IN $ids RETURN a"), ids=[]) == []


async def test_all_labels_and_links_of_the_schema_are_there(client: Graph) -> None:
    order = Statement(
        "MERGE (o:`Order` {id: $id}) SET o.order_id = 7, o.at = 1, o.amount_minor = 999, o.currency = 'EUR', "
        "o.status = 'paid', o.fraud = true, o.fraud_at = 2"
    )
    await client.write(order, id="schema")
    links = {"Device": "ON_DEVICE", "Card": "PAID_WITH", "Address": "SENT_TO", "Email": "REACHED_AT", "Network": "FROM_NETWORK"}
    for label, kind in links.items():
        link = Statement(
            f"MATCH (o:`Order` {{id: 'schema'}}) MERGE (a:Account {{id: 'schema'}}) MERGE (x:{label} {{id: $id}}) SET x.at = 1 "
            f"MERGE (o)-[one:{kind}]->(x) SET one.at = 1 MERGE (a)-[two:{kind}]->(x) SET two.at = 1 "
            "MERGE (a)-[three:PLACED]->(o) SET three.at = 1"
        )
        await client.write(link, id=f"schema-{label}")
    found = await client.ask(Statement("MATCH (:`Order` {id: 'schema'})-[r]->(x) RETURN r, x"))
    assert {row["r"]["~type"]: row["x"]["~labels"] for row in found} == {kind: [label] for label, kind in links.items()}
    (row,) = await client.ask(Statement("MATCH (a:Account)-[:PLACED]->(o:`Order` {id: 'schema'}) RETURN a.id AS id, o"))
    assert row["id"] == "schema"
    assert row["o"]["~properties"]["fraud"] is True


async def test_a_path_takes_no_relationship_twice(client: Graph) -> None:
    for account in ("twin-1", "twin-2"):
        await client.write(LEARN, account=account, device="twins", at=1)
    walk = Statement("MATCH (a:Account {id: 'twin-1'})-[r:ON_DEVICE*1..4]-(b) RETURN b.id AS id, r ORDER BY id")
    found = await client.ask(walk)
    assert [(row["id"], len(row["r"])) for row in found] == [("twin-2", 2), ("twins", 1)]
    both = Statement(
        "MATCH (a:Account {id: 'twin-1'})-[:ON_DEVICE]->(d) MATCH (d)<-[:ON_DEVICE]-(b) RETURN b.id AS id ORDER BY id"
    )
    assert [row["id"] for row in await client.ask(both)] == ["twin-1", "twin-2"]


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("MATCH (a:Account RETURN a", "MalformedQueryException"),
        ("MATCH (a:Nothing) RETURN a", "BadRequestException"),
        ("MATCH (a:Account) RETURN a.nothing", "BadRequestException"),
        ("MATCH (a:Account {id: $missing}) RETURN a", "MissingParameterException"),
        ("RETURN 1 / 0 AS x", "BadRequestException"),
        ("COPY Account FROM '/etc/passwd'", "MalformedQueryException"),
        ("MATCH (a:Account) LOAD FROM '/etc/passwd' RETURN *", "MalformedQueryException"),
        ("CREATE NODE TABLE Mine(id STRING PRIMARY KEY)", "MalformedQueryException"),
        ("RETURN 1 AS one; RETURN 2 AS two", "MalformedQueryException"),
        ("MATCH (a) RETURN id(a)", "MalformedQueryException"),
        ("UNWIND [1, 1] AS x CREATE (:Account {id: 'same'})", "BadRequestException"),
    ],
)
async def test_what_is_refused_is_told_by_neptunes_code(client: Graph, statement: str, code: str) -> None:
    with pytest.raises(Refused) as refused:
        await client.ask(Statement(statement))
    assert refused.value.code == code
    assert await client.ask(ONE) == [{"one": 1}]


async def test_a_parameter_of_no_kind_is_refused(client: Graph) -> None:
    for value in (2**70, [1, "x"]):
        with pytest.raises(Refused) as refused:
            await client.ask(Statement("RETURN $value AS value"), value=value)
        assert refused.value.code == "InvalidParameterException"


async def test_the_door_speaks_as_neptunes(pair: tuple[Process, Graph]) -> None:
    process, _ = pair
    one = (200, {"results": [{"one": 1}]})
    given = {"query": "RETURN $x AS one", "parameters": '{"x": 1}'}
    assert await raw(process, "GET", "/openCypher", params=given) == one
    assert await raw(process, "POST", "/opencypher", data=given) == one
    assert await raw(process, "POST", "/openCypher", json=given) == one
    assert await raw(process, "POST", "/openCypher", json={**given, "parameters": {"x": 1}}) == one
    status, told = await raw(process, "GET", "/status")
    assert (status, told["status"], told["role"], told["dbEngineVersion"]) == (200, "healthy", "writer", "0.22.0")
    assert told["startTime"]
    status, told = await raw(process, "POST", "/openCypher", data={"query": "RETRUN 1"})
    assert status == 400
    assert set(told) == {"requestId", "code", "detailedMessage"}


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "code"),
    [
        ("POST", "/openCypher", {"data": {}}, 400, "MissingParameterException"),
        ("POST", "/openCypher", {"data": b"{", "headers": {"Content-Type": "application/json"}}, 400, "BadRequestException"),
        ("POST", "/openCypher", {"data": {"query": "RETURN 1", "parameters": "[1]"}}, 400, "InvalidParameterException"),
        ("POST", "/openCypher", {"data": io.BytesIO(b"query=" + b"x" * 9 * 2**20), "headers": FORM}, 400, "BadRequestException"),
        (
            "POST",
            "/openCypher",
            {"data": {"query": "RETURN 1", "queryTimeoutMilliseconds": "x"}},
            400,
            "InvalidParameterException",
        ),
        ("DELETE", "/openCypher", {}, 405, "BadRequestException"),
        ("GET", "/gremlin", {}, 404, "BadRequestException"),
        ("GET", "/status", {"key": "another"}, 403, "AccessDeniedException"),
        ("POST", "/openCypher", {"key": "", "data": {"query": "RETURN 1"}}, 403, "AccessDeniedException"),
    ],
)
async def test_a_request_that_is_none_is_told_so(
    pair: tuple[Process, Graph], method: str, path: str, options: dict[str, Any], status: int, code: str
) -> None:
    answered, told = await raw(pair[0], method, path, **options)
    assert (answered, told["code"]) == (status, code)
    assert told["requestId"]
    assert told["detailedMessage"]


async def test_a_statement_that_takes_too_long_is_ended(pair: tuple[Process, Graph]) -> None:
    process, client = pair
    began = time.monotonic()
    form = {"query": SLOW, "queryTimeoutMilliseconds": "300"}
    status, told = await raw(process, "POST", "/openCypher", data=form)
    assert (status, told["code"]) == (500, "TimeLimitExceededException")
    with pytest.raises(StoreAway):
        await client.ask(SLOW, within_s=0.3)
    assert time.monotonic() - began < 5
    assert await client.ask(ONE) == [{"one": 1}]


async def test_too_much_memory_is_told_and_the_process_lives(client: Graph) -> None:
    with pytest.raises(StoreAway):
        await client.ask(Statement("UNWIND range(1, 20000000) AS x RETURN collect(x) AS every"), within_s=20.0)
    assert await client.ask(ONE) == [{"one": 1}]


async def test_what_a_statement_that_failed_had_changed_is_undone(client: Graph) -> None:
    change = Statement("UNWIND $ids AS id CREATE (:Account {id: id})")
    with pytest.raises(Refused):
        await client.write(change, ids=["undone-1", "undone-2", "undone-1"])
    assert await client.ask(Statement("MATCH (a:Account) WHERE a.id STARTS WITH 'undone' RETURN a.id AS id")) == []


async def test_writers_at_the_same_time_wait_for_each_other(client: Graph) -> None:
    mark = Statement("MERGE (a:Account {id: 'counted'}) ON CREATE SET a.at = 1 ON MATCH SET a.at = a.at + 1")
    await asyncio.gather(*(client.write(mark) for _ in range(50)))
    assert await client.ask(Statement("MATCH (a:Account {id: 'counted'}) RETURN a.at AS at")) == [{"at": 50}]


async def test_who_finds_the_line_full_is_told_at_once(tmp_path: Path) -> None:
    async with running(tmp_path / "data", concurrency=1, timeout=3.0) as (process, client):
        form = {"query": SLOW}
        began = time.monotonic()
        waiting = [asyncio.create_task(raw(process, "POST", "/openCypher", data=form)) for _ in range(65)]
        while (await raw(process, "GET", "/status"))[1]["serverStatistics"]["statementsInside"] < 65:
            assert time.monotonic() - began < 2.5
            await asyncio.sleep(0.02)
        status, told = await raw(process, "POST", "/openCypher", data={"query": ONE})
        assert (status, told["code"]) == (429, "TooManyRequestsException")
        assert time.monotonic() - began < 2.9
        answers = await asyncio.gather(*waiting)
        assert {(status, told["code"]) for status, told in answers} == {(500, "TimeLimitExceededException")}
        assert await client.ask(ONE) == [{"one": 1}]


async def test_kill_9_in_the_middle_of_writing_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as (process, client):
        known: list[str] = []

        async def write(writer: int) -> None:
            number = 0
            with contextlib.suppress(StoreAway):
                while True:
                    name = f"{life}-{writer}-{number}"
                    rows = [{"id": name, "at": number}, {"id": f"{name}-too", "at": number}]
                    learn = "UNWIND $rows AS row MERGE (a:Account {id: row.id}) ON CREATE SET a.at = row.at"
                    await client.write(Statement(learn), rows=rows)
                    known.append(name)
                    number += 1

        for life in range(4):
            writers = [asyncio.create_task(write(writer)) for writer in range(4)]
            await asyncio.sleep(0.5 + 0.13 * life)
            await process.end(signal.SIGKILL)
            await asyncio.gather(*writers)
            await process.start()
            while client.breaker.is_open():  # noqa: ASYNC110 - the client looks by itself
                await asyncio.sleep(0.05)
            rows = await client.ask(Statement("MATCH (a:Account) RETURN a.id AS id"))
            found = {row["id"] for row in rows}
            assert {*known, *(f"{name}-too" for name in known)} <= found
            assert {name for name in found if not name.endswith("-too")} == {name[:-4] for name in found if name.endswith("-too")}
        assert len(known) > 50


async def test_a_log_that_ends_in_the_middle_of_an_entry_is_read_up_to_there(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as (process, client):
        for number in range(10):
            await client.write(MARK, id=f"torn-{number}", at=number)
        await process.end(signal.SIGKILL)
        log = next(process.folder.glob("*.wal"))
        log.write_bytes(log.read_bytes()[:-3])
        await process.start()
        every = Statement("MATCH (a:Account) RETURN count(*) AS n")
        assert await client.ask(every) == [{"n": 9}]
        await client.write(MARK, id="after", at=1)
        await process.end(signal.SIGKILL)
        await process.start()
        assert await client.ask(every) == [{"n": 10}]
        assert "is read up to there" in (process.folder / "log").read_text()


async def test_sigterm_ends_it_cleanly_and_all_is_in_the_file(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as (process, client):
        await client.write(MARK, id="kept", at=1)
        slow = asyncio.create_task(client.ask(SLOW, within_s=15.0))
        await asyncio.sleep(0.2)
        began = time.monotonic()
        assert await process.end(signal.SIGTERM) == 0
        assert time.monotonic() - began < 8
        with pytest.raises(StoreAway):
            await slow
        assert [path.name for path in process.folder.glob("*.wal") if path.stat().st_size > 200] == []
        await process.start()
        while client.breaker.is_open():  # noqa: ASYNC110 - the client looks by itself
            await asyncio.sleep(0.05)
        assert await client.ask(Statement("MATCH (a:Account) RETURN a.id AS id")) == [{"id": "kept"}]


async def test_a_frozen_graph_is_left_alone_until_it_answers(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as (process, client):
        assert process.child is not None
        frozen = psutil.Process(process.child.pid)
        frozen.suspend()
        for _ in range(5):
            with pytest.raises(StoreAway):
                await client.ask(ONE, within_s=0.02)
        assert client.breaker.is_open()
        began = time.monotonic()
        with pytest.raises(StoreAway):
            await client.ask(ONE)
        assert time.monotonic() - began < 0.02
        frozen.resume()
        while client.breaker.is_open():
            assert time.monotonic() - began < 10
            await asyncio.sleep(0.05)
        assert await client.ask(ONE, within_s=1.0) == [{"one": 1}]


async def test_neither_many_statements_nor_many_small_changes_fill_its_memory(tmp_path: Path) -> None:
    """Each would keep a little of it for good, or until much later, and then nothing could be read any more."""
    async with running(tmp_path / "data") as (_, client):
        await client.write(MARK, id="full", at=0)
        for number in range(400):
            found = Statement(f"UNWIND $ids AS x MATCH (a:Account {{id: x}}) RETURN a.id AS id{number}, {number} AS number")
            assert await client.ask(found, ids=["full", "é ' \" \\ ` $x // ; \n"]) == [{f"id{number}": "full", "number": number}]
        rows = [{"id": f"full-{number}", "at": 0} for number in range(6_000)]
        await client.write(Statement("UNWIND $rows AS x CREATE (:Card {id: x.id, at: x.at})"), rows=rows)
        change = Statement(
            "UNWIND $rows AS x MATCH (c:Card {id: x.id}) SET c.memo = x.memo, c.frauds = x.frauds, c.accounts = x.frauds"
        )
        for number in range(600):
            places = (number, number + 2_048, number + 4_096)
            rows = [{"id": f"full-{place % 6_000}", "memo": "m" * 300, "frauds": number} for place in places]
            await client.write(change, rows=rows)
        assert await client.ask(ONE) == [{"one": 1}]
