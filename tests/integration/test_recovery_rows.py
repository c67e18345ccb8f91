"""Two databases compared by buckets, and rows brought from one into the other: whatever they are made of, as they were."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from msgspec import Struct

from securecart.engines import Home
from securecart.errors import RecoveryRefused
from securecart.ops.recovery.bringing_back import Return
from securecart.ops.recovery.comparing import BUCKETS_MIN, Comparison, Key, compare
from securecart.ops.recovery.deciding import Plan, Policy, Wish
from securecart.ops.recovery.lost_rows import Lost
from securecart.ops.recovery.schema import SESSION, read_shape
from securecart.settings import Settings
from securecart.stores import postgres

POLICY = Policy(counters={"tally": ("seen",)}, first=("tally",))

# columns of every kind that a row may be made of, names that need quoting, keys of several columns, parts of a table
TABLES = """
    CREATE TABLE thing (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, price numeric(12, 3), data jsonb, plain json,
        raw bytea, tags text[] NOT NULL DEFAULT '{}', at timestamptz NOT NULL DEFAULT now(), span interval, real float8,
        doubled numeric GENERATED ALWAYS AS (price * 2) STORED
    );
    CREATE UNIQUE INDEX thing_name ON thing (lower(name)) WHERE name <> '';
    CREATE TABLE part (
        thing_id bigint NOT NULL REFERENCES thing ON DELETE CASCADE, place smallint, words text, PRIMARY KEY (place, thing_id)
    );
    CREATE TABLE "Odd ""one" ("Its key" text PRIMARY KEY, "a,b" text);
    CREATE TABLE tally (word text PRIMARY KEY, seen integer NOT NULL CHECK (seen <= 100), note text);
    CREATE TABLE told (at date, id int, words text, PRIMARY KEY (at, id)) PARTITION BY RANGE (at);
    CREATE TABLE told_1 PARTITION OF told FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
    CREATE TABLE told_2 PARTITION OF told FOR VALUES FROM ('2026-07-01') TO ('2027-01-01');
    CREATE TABLE keyless (words text);
    CREATE TABLE dropped (id int PRIMARY KEY);
    INSERT INTO thing (name, price, data, plain, raw, tags, span, real) SELECT
        'Thing ' || n, n / 7.0, (CASE n % 3 WHEN 0 THEN 'null' WHEN 1 THEN '{"a": [1, "\\"\\n\\t"]}' END)::jsonb,
        '{"b": 1,  "a": 2, "a": 3}',
        '\\x00ff5c0a', ARRAY['a b', NULL, '"\\', E'tab\\there'], make_interval(mins => n), 1 / n::float8
    FROM generate_series(1, 2000) AS n;
    INSERT INTO part SELECT id, place, E'\\\\N and\\ttab' FROM thing, generate_series(1, 2) AS place;
    INSERT INTO "Odd ""one" VALUES ('a''b', 'x'), ('c", d', 'y'), ('', '');
    INSERT INTO tally VALUES ('red', 10, 'r'), ('green', 20, 'g'), ('blue', 30, 'b'), ('grey', 40, 'y');
    INSERT INTO told SELECT '2026-01-01'::date + n, n, 'told' FROM generate_series(1, 300) AS n;
    INSERT INTO keyless VALUES ('a'), ('b');
    INSERT INTO dropped VALUES (1);
"""
ACCIDENT = """
    DELETE FROM thing WHERE id IN (7, 8, 9, 1998);
    UPDATE thing SET name = '', price = 0, data = NULL, tags = '{}' WHERE id BETWEEN 20 AND 29;
    DELETE FROM "Odd ""one";
    DELETE FROM told WHERE id % 100 = 0;
    UPDATE tally SET seen = 0, note = 'oops';
    DELETE FROM tally WHERE word = 'blue';
"""
SINCE = """
    UPDATE thing SET price = 99 WHERE id = 25;
    DELETE FROM thing WHERE id = 26;
    INSERT INTO thing (name) VALUES ('THING 8');
    UPDATE tally SET seen = seen + 3 WHERE word IN ('red', 'grey');
    UPDATE tally SET note = 'mine' WHERE word = 'green';
    UPDATE tally SET seen = 70 WHERE word = 'grey';
    INSERT INTO tally VALUES ('blue', 5, 'new');
    UPDATE thing SET name = 'Renamed' WHERE id = 100;
    ALTER TABLE thing ADD COLUMN colour text NOT NULL DEFAULT 'white';
    CREATE TABLE fresh (id int PRIMARY KEY);
    INSERT INTO keyless VALUES ('c');
    DROP TABLE dropped;
"""


class Three(Struct, frozen=True):
    """The addresses of a database before an accident, after it, and now."""

    before: str
    after: str
    now: str


@pytest.fixture
async def three(engines: Settings) -> AsyncIterator[Three]:
    password = Home(Path(engines.home)).secret("postgres_superuser_password")
    server = re.sub(r"//[^@]*@", f"//postgres:{password}@", engines.postgres_owner_url)
    admin = await asyncpg.connect(server)
    names = ("rows_before", "rows_after", "rows_now")
    urls = [f"{server.rpartition('/')[0]}/{name}" for name in names]
    try:
        await admin.execute("CREATE DATABASE rows_before")
        await run(urls[0], TABLES)
        await admin.execute("CREATE DATABASE rows_after TEMPLATE rows_before")
        await run(urls[1], ACCIDENT)
        await admin.execute("CREATE DATABASE rows_now TEMPLATE rows_after")
        yield Three(*urls)
    finally:
        for name in names:
            await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await admin.close()


async def run(url: str, statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statements)
    finally:
        await connection.close()


@asynccontextmanager
async def opened(*urls: str) -> AsyncIterator[list[asyncpg.Connection]]:
    async with AsyncExitStack() as stack:
        connections = [await asyncpg.connect(url, server_settings=SESSION) for url in urls]
        for connection in connections:
            stack.push_async_callback(connection.close)
        yield connections


async def compared(three: Three) -> Comparison:
    async with opened(three.before, three.now) as (before, now):
        return await compare(before, now, lambda shape: shape.tables)


def by_kind(found: Comparison, table: str) -> tuple[set[Key], set[Key], set[Key]]:
    one = found.differences[table]
    return set(one.deleted), set(one.changed), set(one.added)


async def brought_back(three: Three, wish: Wish, *, meanwhile: str = "", carry_out: bool = True) -> Plan:
    """Bring rows back; `meanwhile` happens after all was looked at and before anything is written."""
    async with opened(three.before, three.after, three.now) as (before, after, now):
        comparison = await compare(before, now, lambda shape: shape.tables)
        database = await postgres.connect(three.now, pool_size=1)
        try:
            with Lost(comparison, POLICY, Path("/tmp")) as lost:
                await lost.read(before, now)
                facts = await lost.facts(after)
                async with database.transaction() as tx:
                    back = Return(tx, lost, facts, POLICY, wish)
                    await back.prepare()
                    if meanwhile:
                        await now.execute(meanwhile)
                    return await back.carry_out() if carry_out else back.plan
        finally:
            await database.close()


async def rows_of(url: str, query: str) -> list[Any]:
    async with opened(url) as (connection,):
        return [row[0] for row in await connection.fetch(query)]


async def test_every_row_that_differs_is_found(three: Three) -> None:
    await run(three.now, SINCE)
    found = await compared(three)
    changed = {(str(number),) for number in range(20, 30) if number != 26}
    assert by_kind(found, "thing") == ({("7",), ("8",), ("9",), ("1998",), ("26",)}, {*changed, ("100",)}, {("2001",)})
    assert by_kind(found, "part")[0] == {(place, thing) for place in "12" for thing in ("7", "8", "9", "1998", "26")}
    assert by_kind(found, 'Odd "one') == ({("a'b",), ('c", d',), ("",)}, set(), set())
    assert by_kind(found, "told") == ({("2026-04-11", "100"), ("2026-07-20", "200"), ("2026-10-28", "300")}, set(), set())
    assert (found.differences["thing"].rows_before, found.differences["thing"].rows_now) == (2000, 1996)
    notes = {name: one.note for name, one in found.differences.items() if one.note}
    assert notes["thing"] == "columns that came since are left out: colour"
    assert "doubled" not in found.differences["thing"].columns
    assert notes["keyless"] == "no primary key: rows were only counted"
    assert (found.differences["keyless"].rows_before, found.differences["keyless"].rows_now) == (2, 3)
    assert notes["fresh"] == "is new since"
    assert notes["dropped"].startswith("was dropped since")
    assert set(notes) == {"thing", "keyless", "fresh", "dropped"}
    assert "told_1" not in found.differences
    assert BUCKETS_MIN < 2000 / 32  # this table is looked at through more than the fewest buckets


async def test_rows_are_what_they_were_again_and_what_was_done_since_stays(three: Three) -> None:
    await run(three.now, SINCE)
    plan = await brought_back(three, Wish())
    things = "SELECT concat_ws('|', id, name, price, data, plain, raw, tags, at, span, real, doubled) FROM thing ORDER BY id"
    before, now = await rows_of(three.before, things), await rows_of(three.now, things)
    whole = {row.partition("|")[0]: row for row in now}
    conflicts = {(one.table, one.key): one.why for one in plan.conflicts}
    assert {row for row in before if whole.get(row.partition("|")[0]) != row} == {
        row for row in before if row.partition("|")[0] in {"8", "25", "26", "100"}
    }
    assert conflicts["thing", ("8",)] == "its lower(name) belongs to thing 2001 by now"
    assert conflicts["thing", ("25",)].startswith("it was changed since")
    assert conflicts["thing", ("26",)].startswith("it was deleted since")
    assert conflicts["part", ("1", "8")].startswith("it hangs on thing 8, which stays as it is: its lower(name)")
    assert whole["100"].split("|")[1] == "Renamed"
    for query in (
        'SELECT t::text FROM "Odd ""one" AS t ORDER BY 1',
        "SELECT told::text FROM told ORDER BY 1",
    ):
        assert await rows_of(three.now, query) == await rows_of(three.before, query)
    assert await rows_of(three.now, "SELECT concat_ws('|', word, seen, note) FROM tally ORDER BY word") == [
        "blue|35|new",  # deleted, counted anew since
        "green|0|mine",  # another column was changed since
        "grey|70|oops",  # 40 and the 70 of since would be more than the table allows
        "red|13|r",  # 10, and the 3 of since
    ]
    assert conflicts["tally", ("green",)].startswith("it was changed since")
    assert "would break (seen <= 100)" in conflicts["tally", ("grey",)]
    assert await rows_of(three.now, "SELECT colour FROM thing WHERE id = 7") == ["white"]
    async with opened(three.now) as (connection,):
        assert await connection.fetchval("INSERT INTO thing (name) VALUES ('next') RETURNING id") == 2002


async def test_only_what_is_asked_for(three: Three) -> None:
    plan = await brought_back(three, Wish(("part",), frozenset({("1", "9")})))
    assert plan.write == {"part": [("1", "9"), ("2", "9")], "thing": [("9",)]}
    assert (plan.put_back, plan.correct, plan.conflicts) == ({}, {}, [])
    assert await rows_of(three.now, "SELECT count(*) FROM thing") == [1997]


async def test_what_changes_in_the_last_moment_is_left_with_all_that_hangs_on_it(three: Three) -> None:
    meanwhile = """
        INSERT INTO thing (name) VALUES ('Thing 9');
        UPDATE thing SET price = 5 WHERE id = 21;
        UPDATE tally SET seen = seen + 7 WHERE word = 'red';
    """
    plan = await brought_back(three, Wish(("thing", "tally")), meanwhile=meanwhile)
    conflicts = {(one.table, one.key): one.why for one in plan.conflicts}
    assert conflicts["thing", ("9",)] == "its place was taken in this very moment"
    assert conflicts["part", ("2", "9")].startswith("it hangs on thing 9")
    assert conflicts["thing", ("21",)] == "it was changed in this very moment"
    assert set(conflicts) == {("thing", ("9",)), ("thing", ("21",)), ("part", ("1", "9")), ("part", ("2", "9"))}
    assert await rows_of(three.now, "SELECT price::text FROM thing WHERE id IN (20, 21) ORDER BY id") == ["2.857", "5.000"]
    assert await rows_of(three.now, "SELECT seen FROM tally WHERE word = 'red'") == [17]
    assert len(await rows_of(three.now, "SELECT 1 FROM part WHERE thing_id IN (7, 8, 9, 1998)")) == 6


async def test_what_the_database_does_not_take_changes_nothing(three: Three) -> None:
    await run(three.now, "ALTER TABLE thing ADD CONSTRAINT cheap CHECK (price < 250) NOT VALID")
    with pytest.raises(RecoveryRefused, match=r"cheap.*Nothing was changed"):
        await brought_back(three, Wish())
    trigger = """
        ALTER TABLE thing DROP CONSTRAINT cheap;
        CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN new.name := new.name || '!'; RETURN new; END $$;
        CREATE TRIGGER meddles BEFORE INSERT ON thing FOR EACH ROW EXECUTE FUNCTION meddle();
    """
    await run(three.now, trigger)
    with pytest.raises(RecoveryRefused, match="would not be what they were"):
        await brought_back(three, Wish(("thing",)))
    assert await rows_of(three.now, "SELECT count(*) FROM thing") == [1996]
    assert (await brought_back(three, Wish(("thing",)), carry_out=False)).rows == 22


async def test_cut_off_before_the_end_it_has_changed_nothing(three: Three, monkeypatch: pytest.MonkeyPatch) -> None:
    check, checked = Return._check, list[str]()

    async def cut_off(self: Return, table: str) -> None:
        await check(self, table)
        checked.append(table)
        if table == "told":
            raise asyncio.CancelledError

    monkeypatch.setattr(Return, "_check", cut_off)
    with pytest.raises(asyncio.CancelledError):
        await brought_back(three, Wish())
    assert {"tally", "thing", "part", "told"} <= set(checked)
    after = (await compared(Three(three.after, three.after, three.now))).differences
    assert not any(one.differing for one in after.values())


async def test_the_shape_of_a_database_is_read_from_its_catalogue(three: Three) -> None:
    async with opened(three.before) as (connection,):
        shape = await read_shape(connection)
    assert shape.tables["part"].key == ("place", "thing_id")
    assert [column.name for column in shape.tables["thing"].columns if column.generated] == ["doubled"]
    assert [column.name for column in shape.tables["thing"].columns if column.identity] == ["id"]
    (link,) = shape.parents_of("part")
    assert (link.parent, link.columns, link.parent_columns) == ("thing", ("thing_id",), ("id",))
    assert shape.children_of("thing") == [link]
    assert {(one.parts, one.condition) for one in shape.uniques_of("thing")} == {
        (("id",), ""),
        (("lower(name)",), "(name <> ''::text)"),
    }
    assert shape.tables["told"].bytes > 0
