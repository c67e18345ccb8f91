"""A connection goes back to the pool clean, and without sending a word."""

from __future__ import annotations

import secrets

import pytest

from securecart.settings import Settings
from securecart.stores import postgres


async def test_what_a_reader_left_open_is_rolled_back_before_the_next_caller(engines: Settings) -> None:
    database = await postgres.connect(engines.postgres_url, pool_size=1)
    code = f"test-{secrets.token_hex(4)}"
    async with database.read() as read:
        await read.execute("BEGIN")
        await read.execute("INSERT INTO location (code, name) VALUES ($1, 'Left open')", code)
    async with database.read() as read:
        assert not read.is_in_transaction()
        assert await read.fetchval("SELECT count(*) FROM location WHERE code = $1", code) == 0
    await database.close()


async def test_a_transaction_that_fails_leaves_a_connection_that_works(engines: Settings) -> None:
    database = await postgres.connect(engines.postgres_url, pool_size=1)

    async def fail() -> None:
        async with database.transaction() as tx:
            await tx.execute("SELECT 1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with database.transaction() as tx:
        assert await tx.fetchval("SELECT 1") == 1
    await database.close()


async def test_a_read_sends_its_own_statement_and_no_other(engines: Settings) -> None:
    database = await postgres.connect(engines.postgres_url, pool_size=1)
    counted = "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements WHERE query ~ '^(CLOSE ALL|RESET ALL|UNLISTEN)'"
    async with database.read() as read:
        before = await read.fetchval(counted)
    for _ in range(10):
        async with database.read() as read:
            await read.fetchval("SELECT true")
    async with database.read() as read:
        assert await read.fetchval(counted) == before
    await database.close()
