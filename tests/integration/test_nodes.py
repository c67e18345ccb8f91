"""Several PostgreSQL servers as one database: who writes is found out, replicas are read, and a frozen server holds up nobody."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator

import asyncpg
import msgspec
import pytest

from securecart.errors import StoreAway
from securecart.patience import POSTGRES
from securecart.stores.postgres import NEWEST, Database, connect
from securecart.stores.postgres import database as store
from securecart.stores.postgres.choosing import Seen
from securecart.stores.postgres.node import Node, addresses_of
from securecart.stores.postgres.watch import Watch
from tests.replicas import DEADLINE_S, Cluster, Server, a_cluster, until

WHERE = "SELECT inet_server_port()"


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """For tests that leave every server as they found it."""
    async with a_cluster(tmp_path_factory.mktemp("nodes")) as made:
        yield made


@pytest.fixture
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """For tests that kill and promote."""
    async with a_cluster(tmp_path_factory.mktemp("nodes")) as made:
        yield made


async def opened(cluster: Cluster, *, readers: int = 2, patience_s: float = 8.0) -> Database:
    database = await connect(cluster.url(), pool_size=4, patience_s=patience_s)
    await until(lambda: len(database._routes.view.readers) == readers)  # type: ignore[union-attr]
    return database


async def where(database: Database) -> int:
    async with database.read() as read:
        return int(await read.fetchval(WHERE))


async def write(database: Database, code: str) -> int:
    """A row, and the port of the server that took it."""
    async with database.transaction() as tx:
        await tx.execute("INSERT INTO location (code, name) VALUES ($1, $1)", code)
        return int(await tx.fetchval(WHERE))


async def has(server: Server, code: str) -> bool:
    return bool(await server.ask("SELECT EXISTS (SELECT FROM location WHERE code = $1)", code))


def test_a_url_of_several_hosts_is_one_of_each() -> None:
    assert addresses_of("postgresql://u:p%40@a:1,b:2/db?sslmode=require&target_session_attrs=read-write") == [
        "postgresql://u:p%40@a:1/db?sslmode=require",
        "postgresql://u:p%40@b:2/db?sslmode=require",
    ]
    assert addresses_of("postgresql://u:p@a:1/db") == ["postgresql://u:p@a:1/db"]


async def test_reads_go_to_the_replicas_and_writes_to_the_writer(shared: Cluster) -> None:
    database = await opened(shared)
    try:
        assert await write(database, "here") == shared.primary.port
        assert {await where(database) for _ in range(20)} == {one.port for one in shared.replicas}
        async with database.fresh() as fresh:
            assert await fresh.fetchval(WHERE) == shared.primary.port
        states = {state.name: state for state in database.nodes()}
        assert [states[f"127.0.0.1:{one.port}"].role for one in shared.servers] == ["writer", "replica", "replica"]
        assert all(state.serves for state in states.values())
    finally:
        await database.close()


async def test_a_read_sees_what_was_written_before_its_position(shared: Cluster) -> None:
    """Replay stands still: what is read `after` the write comes from the writer, everything else from the replica."""
    database = await opened(shared)
    try:
        for replica in shared.replicas:
            await replica.ask("SELECT pg_wal_replay_pause()")
        await write(database, "unseen")
        after = await database.position()
        count = "SELECT count(*) FROM location WHERE code = 'unseen'"
        async with database.read(after) as read:
            assert (await read.fetchval(WHERE), await read.fetchval(count)) == (shared.primary.port, 1)
        async with database.read() as read:
            assert (await read.fetchval(WHERE) != shared.primary.port, await read.fetchval(count)) == (True, 0)
        for replica in shared.replicas:
            await replica.ask("SELECT pg_wal_replay_resume()")

        async def replica_has_it() -> bool:
            async with database.read(after) as read:
                assert await read.fetchval(count) == 1
                return bool(await read.fetchval(WHERE) != shared.primary.port)

        await until(replica_has_it)
    finally:
        await database.close()


async def test_a_replica_too_far_behind_is_left_out_and_comes_back_by_itself(shared: Cluster) -> None:
    database = await connect(shared.url(), pool_size=4, lag_seconds=1.0)
    slow, quick = shared.replicas
    try:
        await until(lambda: len(database.nodes()) == 3 and all(state.serves for state in database.nodes()))
        await slow.ask("SELECT pg_wal_replay_pause()")
        await write(database, "late")
        await shared.primary.ask("SELECT pg_switch_wal()")

        def state() -> tuple[bool, int]:
            (found,) = [one for one in database.nodes() if one.name.endswith(f":{slow.port}")]
            return found.serves, found.lag_bytes or 0

        await until(lambda: not state()[0])
        assert state()[1] > 0
        assert {await where(database) for _ in range(10)} == {quick.port}
        await slow.ask("SELECT pg_wal_replay_resume()")
        await until(lambda: state() == (True, 0))
    finally:
        await database.close()


async def test_the_new_writer_is_found_when_the_old_one_is_killed(cluster: Cluster) -> None:
    database = await opened(cluster)
    try:
        await write(database, "before")
        await cluster.all_replayed()
        await cluster.primary.kill()
        waiting = asyncio.create_task(write(database, "after"))
        promoted = cluster.replicas[0]
        await until(lambda: where(database))  # reads go on
        await promoted.ask("SELECT pg_promote()")
        assert await asyncio.wait_for(waiting, 20) == promoted.port
        assert await has(promoted, "before")
    finally:
        await database.close()


async def test_nobody_waits_longer_than_patience_for_a_writer(cluster: Cluster) -> None:
    database = await opened(cluster, patience_s=0.5)
    try:
        await cluster.primary.kill()
        began = time.monotonic()
        with pytest.raises(StoreAway):
            await write(database, "never")
        assert time.monotonic() - began < 5
    finally:
        await database.close()


async def test_a_frozen_writer_holds_up_nobody_and_is_not_believed_when_it_thaws(cluster: Cluster) -> None:
    database = await opened(cluster)
    old, new = cluster.primary, cluster.replicas[0]
    try:
        caught = asyncio.Event()

        async def in_flight() -> None:
            async with database.transaction() as tx:
                await tx.execute("INSERT INTO location (code, name) VALUES ('caught', 'caught')")
                caught.set()
                await tx.fetchval("SELECT pg_sleep(60)")

        hanging = asyncio.create_task(in_flight())
        await caught.wait()
        await write(database, "before")
        await cluster.all_replayed()
        old.signal(signal.SIGSTOP)
        with pytest.raises(StoreAway):
            await asyncio.wait_for(hanging, 8)  # far less than its 60 s, or the driver's own 10
        await new.ask("SELECT pg_promote()")
        assert await write(database, "after") == new.port
        old.signal(signal.SIGCONT)

        def thawed() -> bool:
            return any(state.role == "outdated writer" for state in database.nodes())

        await until(thawed)
        assert await write(database, "still") == new.port
        assert not await has(new, "caught")
    finally:
        await database.close()


async def test_an_old_writer_with_log_of_its_own_is_never_read(cluster: Cluster) -> None:
    """It comes back as a standby, and all that the new writer sends it is the end of the timeline that both had.

    Its position is then past that of the new writer's commits, and one process of it receives, on and on.
    """
    old, new, other = cluster.primary, *cluster.replicas
    await other.stop()
    await new.ask("ALTER SYSTEM SET primary_conninfo = ''")  # so that what comes now is on the old writer only
    await new.ask("SELECT pg_reload_conf()")
    await until(lambda: has_no_receiver(new))
    for number in range(50):
        await old.ask("INSERT INTO location (code, name) VALUES ($1, $1)", f"nobody else has {number}")
    await old.ask("CHECKPOINT")
    await old.end()
    await new.ask("SELECT pg_promote()")
    (old.folder / "standby.signal").touch()
    await old.start(f"primary_conninfo=host=127.0.0.1 port={new.port} user=postgres")
    database = await connect(cluster.url(), pool_size=4)
    try:
        await write(database, "after the failover")
        after = await database.position()
        assert await old.ask("SELECT pg_last_wal_replay_lsn() - '0/0'::pg_lsn >= $1", after), "its position tells nothing"
        receivers = [await old.ask("SELECT pid FROM pg_stat_wal_receiver") for _ in range(2)]
        assert receivers[0] is not None
        assert receivers[0] == receivers[1], "nor does that it receives"
        for _ in range(60):  # three seconds, a dozen looks
            async with database.read(after) as read:
                assert await read.fetchval(WHERE) == new.port
            await asyncio.sleep(0.05)
    finally:
        await database.close()


async def test_who_followed_one_timeline_has_to_show_that_it_receives_the_next_also_of_the_same_node() -> None:
    """A watch that was not looking for a moment may find the writer where it was, two timelines later."""
    watch = Watch([Node("postgresql://127.0.0.1:9/nobody", pool_size=1) for _ in range(2)], limit_s=2.0)
    watch.close()

    def writes(timeline: int, position: int, at: float) -> Seen:
        return Seen(False, timeline, position, None, None, at, at)

    def receives(timeline: int, position: int, at: float) -> Seen:
        return Seen(True, 0, position, 0.1, None, at, at, position, timeline)

    watch._note(0, writes(7, 500, 1.0))
    watch._note(1, receives(7, 500, 1.1))
    assert list(watch.view.readers) == [1]
    watch._note(0, writes(9, 510, 1.2))
    assert not list(watch.view.readers)
    watch._note(1, receives(7, 510, 1.3))
    assert not list(watch.view.readers), "the end of the old timeline is no proof"
    watch._note(1, receives(9, 510, 1.4))
    assert list(watch.view.readers) == [1]


async def has_no_receiver(server: Server) -> bool:
    return not await server.ask("SELECT count(*) FROM pg_stat_wal_receiver")


async def test_a_frozen_replica_is_passed_over(shared: Cluster) -> None:
    database = await opened(shared)
    frozen, other = shared.replicas
    try:
        for _ in range(8):
            await where(database)  # each has an open connection now
        frozen.signal(signal.SIGSTOP)
        found = await asyncio.gather(*(asyncio.wait_for(where(database), 8) for _ in range(8)), return_exceptions=True)
        assert all(isinstance(one, StoreAway) or one == other.port for one in found)
        assert {await where(database) for _ in range(6)} == {other.port}
        frozen.signal(signal.SIGCONT)
        await until(lambda: len(database._routes.view.readers) == 2)  # type: ignore[union-attr]
    finally:
        frozen.signal(signal.SIGCONT)
        await database.close()


async def test_it_opens_with_any_node_down_and_writes_once_there_is_a_writer(cluster: Cluster) -> None:
    away, other = cluster.replicas
    await away.kill()
    database = await opened(cluster, readers=1)
    try:
        assert await where(database) == other.port
        await away.start()
        await until(lambda: len(database._routes.view.readers) == 2)  # type: ignore[union-attr]
    finally:
        await database.close()
    await cluster.primary.kill()
    database = await connect(cluster.url(), patience_s=0.3)
    try:
        with pytest.raises(StoreAway):
            async with database.fresh():
                pass
        await other.ask("SELECT pg_promote()")
        async with database.fresh(within_s=DEADLINE_S) as fresh:
            assert await fresh.fetchval("SELECT NOT pg_is_in_recovery()")
    finally:
        await database.close()


async def test_it_does_not_open_with_every_node_down(cluster: Cluster) -> None:
    for server in (*cluster.replicas, cluster.primary):
        await server.kill()
    with pytest.raises(StoreAway):
        await connect(cluster.url(), patience_s=0.3)


@pytest.mark.parametrize("how", ["cancelled", "too long"])
async def test_a_commit_is_never_cancelled(shared: Cluster, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The synchronous standby is nobody: the commit waits for ever, and its row must not be seen however we give up."""
    database = await opened(shared)
    code, primary = how.replace(" ", "-"), shared.primary
    await primary.hold_commits()
    try:
        if how == "too long":
            monkeypatch.setattr(store, "POSTGRES", msgspec.structs.replace(POSTGRES, answer_s=0.5))
        held = await primary.held_commits()
        waiting = asyncio.create_task(write(database, code))

        async def one_more() -> bool:
            return await primary.held_commits() > held

        await until(one_more)
        if how == "cancelled":
            waiting.cancel()
        with pytest.raises((asyncio.CancelledError, StoreAway)):
            await waiting
        await asyncio.sleep(0.5)  # a request to cancel would have arrived by now
        assert not await has(primary, code)
        assert await primary.held_commits() > held
        await primary.let_commits_go()
        assert await has(primary, code)
    finally:
        await primary.let_commits_go()
        await database.close()


async def test_the_drivers_own_way_would_show_the_row(shared: Cluster) -> None:
    """Why: cancelled as the driver does it, the commit becomes visible on the one node that has it."""
    await shared.primary.hold_commits()
    connection = await asyncpg.connect(shared.primary.url())
    try:
        await connection.execute("BEGIN")
        await connection.execute("INSERT INTO location (code, name) VALUES ('seen', 'seen')")
        with pytest.raises(TimeoutError):
            await connection.execute("COMMIT", timeout=0.5)
        await until(lambda: has(shared.primary, "seen"))
    finally:
        connection.terminate()
        await shared.primary.let_commits_go()


REFUSED = ("pg_current_wal_lsn()", "pg_last_wal_replay_lsn()", "pg_walfile_name(pg_lsn)", "pg_last_xact_replay_timestamp()")


@pytest.mark.parametrize("aurora", [True, False], ids=["as Aurora", "nobody tells"])
async def test_where_positions_cannot_be_asked_reads_after_a_write_go_to_the_writer(shared: Cluster, *, aurora: bool) -> None:
    """A managed service without PostgreSQL's own functions; Aurora has others, of which these here are stand-ins."""
    primary = shared.primary
    for function in REFUSED:
        await primary.ask(f"REVOKE EXECUTE ON FUNCTION {function} FROM public")
    if aurora:
        for statement in AURORA.format(port=primary.port).split(";\n")[:-1]:
            await primary.ask(statement)
    await shared.all_replayed()
    database = await opened(shared)
    try:
        assert await write(database, f"managed-{aurora}") == primary.port
        after = await database.position()
        assert after == NEWEST
        async with database.read(after) as read:
            assert await read.fetchval(WHERE) == primary.port
        assert await where(database) != primary.port
        lags = {state.lag_seconds for state in database.nodes() if state.role == "replica"}
        assert lags == ({0.02} if aurora else {None})
    finally:
        await database.close()
        for function in REFUSED:
            await primary.ask(f"GRANT EXECUTE ON FUNCTION {function} TO public")
        await primary.ask("DROP FUNCTION IF EXISTS aurora_replica_status(), aurora_db_instance_identifier()")


AURORA = """
    CREATE FUNCTION aurora_db_instance_identifier() RETURNS text LANGUAGE sql AS 'SELECT inet_server_port()::text';
    CREATE FUNCTION aurora_replica_status() RETURNS TABLE
        (server_id text, session_id text, durable_lsn bigint, replica_lag_in_msec double precision) LANGUAGE sql AS $$
        SELECT inet_server_port()::text, CASE WHEN inet_server_port() = {port} THEN 'MASTER_SESSION_ID' ELSE 'a reader' END,
            1000::bigint, CASE WHEN inet_server_port() <> {port} THEN 20::float8 END
    $$;
"""
