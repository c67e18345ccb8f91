"""The database on three nodes under bad luck: hand-overs, a crash, a diverged node, a zombie, nodes that come back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from securecart import orders
from securecart import settings as settings_table
from securecart.cli.backup_now import base_at_once
from securecart.engines import Home, Supervisor, plan
from securecart.engines.archiver import Archiver
from securecart.engines.postgres import Postgres
from securecart.errors import OperatorError
from securecart.migrations import apply
from securecart.ops import cluster
from securecart.ops.cluster import Cluster
from securecart.ops.cluster import actions as cluster_actions
from securecart.stores import postgres
from securecart.values import Line
from tests.archiving import Archived
from tests.clusters import Nodes, running_nodes
from tests.commands import command_of, securecart
from tests.orders_for_tests import a_new_order

DEADLINE_S = 180
LEASE_S = 20
# How long after a thaw a zombie would have to betray itself: Patroni looks each second.
ZOMBIE_BETRAYS_ITSELF_WITHIN_S = 4
LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError)


async def run(*arguments: str, home: Path, expect: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    """One of the operator's commands, while the loop of this test goes on and the supervisor watches."""
    return await asyncio.to_thread(securecart, *arguments, "--home", str(home), expect=expect, **environment)


async def write(nodes: Nodes, note: str) -> None:
    """An acknowledged row; the writer is asked for by name, because a driver that tries each host hangs on a frozen one."""
    connection = await asyncpg.connect(nodes.url(await nodes.writer()), timeout=DEADLINE_S)
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS noted (note text PRIMARY KEY)")
        await connection.execute("INSERT INTO noted VALUES ($1)", note)
    finally:
        await connection.close()


async def noted(url: str) -> set[str]:
    """The rows that one node has."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return {row["note"] for row in await connection.fetch("SELECT note FROM noted")}
    finally:
        await connection.close()


async def everywhere(nodes: Nodes, *notes: str) -> None:
    """Until every node has these rows."""
    deadline = time.monotonic() + DEADLINE_S
    for node in (await nodes.all_well()).nodes:
        while not set(notes) <= await noted(nodes.url(node.name)):
            assert time.monotonic() < deadline, f"{node.name} lacks some of {notes}"
            await asyncio.sleep(0.05)


async def both_confirm(nodes: Nodes) -> None:
    """Until all is well and both standbys confirm commits: one that has just come up is a reader at first."""
    await nodes.all_well()
    roles = ["synchronous", "synchronous", "writer"]
    await nodes.until(lambda seen: sorted(node.role for node in seen.nodes) == roles, "both standbys confirm commits")


async def test_status_tells_each_nodes_part_and_how_far_it_is_behind(nodes: Nodes) -> None:
    await both_confirm(nodes)
    seen = json.loads((await run("cluster", "status", "--json", home=nodes.home.path)).stdout)
    assert sorted(node["role"] for node in seen["nodes"]) == ["synchronous", "synchronous", "writer"]
    assert {node["name"] for node in seen["nodes"]} == {"patroni-1", "patroni-2", "patroni-3"}
    for node in seen["nodes"]:
        assert node["serves"], node
        assert node["timeline"] > 0
        assert (node["behind_bytes"] is None) == (node["role"] == "writer")
    said = (await run("cluster", "status", home=nodes.home.path)).stdout
    assert "writer  running" in said
    assert "bytes behind" in said


async def test_status_of_the_home_shows_the_nodes_with_their_part_and_memory(nodes: Nodes) -> None:
    await both_confirm(nodes)
    seen = json.loads((await run("status", "--json", home=nodes.home.path)).stdout)
    parts = sorted(engine["role"].partition(",")[0] for engine in seen["engines"])
    assert parts == ["synchronous standby", "synchronous standby", "writer"]
    for engine in seen["engines"]:
        assert engine["healthy"], engine
        assert engine["memory"] > 30_000_000, "PostgreSQL counts beside its Patroni"


async def test_nothing_is_acknowledged_before_a_second_node_has_it(nodes: Nodes) -> None:
    seen = await nodes.all_well()
    await write(nodes, "confirmed")
    receivers = [
        child
        for node in seen.nodes
        if node.role != "writer"
        for child in nodes.server(node.name).children()
        if "walreceiver" in command_of(child)
    ]
    assert len(receivers) == 2
    for receiver in receivers:
        receiver.suspend()
    writing = asyncio.create_task(write(nodes, "not yet confirmed"))
    done, _ = await asyncio.wait([writing], timeout=1)
    assert not done
    for receiver in receivers:
        receiver.resume()
    await writing
    await everywhere(nodes, "confirmed", "not yet confirmed")


def test_secrets_of_the_nodes_can_be_read_by_the_owner_only_and_stand_in_no_command_line(nodes: Nodes) -> None:
    written = nodes.home.settings()
    secrets = [str(value) for name, value in written.items() if name.endswith(("_password", "_secret"))]
    assert len(secrets) >= 7
    for file in nodes.home.run().iterdir():
        if file.is_file():
            assert any(secret in file.read_text(errors="replace") for secret in secrets) <= (file.stat().st_mode & 0o077 == 0), (
                file
            )
    commands = " ".join(" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"]))
    assert not any(secret in commands for secret in secrets)


async def test_a_switchover_by_command_loses_nothing_and_says_what_it_did(nodes: Nodes) -> None:
    await nodes.all_well()
    before = await nodes.writer()
    await write(nodes, "before the switchover")
    told = json.loads((await run("cluster", "switchover", "--json", home=nodes.home.path)).stdout)
    assert told["writer"] == await nodes.writer() != before
    assert any(f"{before} handed over" in step for step in told["steps"])
    assert any(f"{before} follows {told['writer']}" in step for step in told["steps"])
    await write(nodes, "after the switchover")
    await everywhere(nodes, "before the switchover", "after the switchover")


async def test_a_cluster_whose_processes_are_elsewhere_switches_over_by_patronis_own_interface(
    nodes: Nodes, tmp_path: Path
) -> None:
    await nodes.all_well()
    before = await nodes.writer()
    (tmp_path / "run").mkdir()
    elsewhere = Cluster(nodes.cluster.urls, nodes.cluster.key, Home(tmp_path))
    # which of the standbys confirms commits changes at any moment: chosen from the very look that is decided on
    seen = await nodes.until(lambda seen: seen.synchronous is not None, "a standby confirms commits")
    assert seen.synchronous is not None
    chosen = seen.synchronous.name
    said = [sentence async for sentence in cluster.carry_out(elsewhere, cluster.switchover(seen, chosen))]
    assert said[0].startswith(f"{before} handed over")
    assert await nodes.writer() == chosen
    await nodes.all_well()


async def test_commands_refuse_with_a_sentence_that_says_what_to_do(nodes: Nodes, shop_home: Path, tmp_path: Path) -> None:
    seen = await nodes.all_well()
    assert seen.writer is not None
    writer, home = seen.writer.name, nodes.home.path
    standby = next(node.name for node in seen.nodes if node.name != writer)
    assert "is the writer already" in (await run("cluster", "switchover", "--to", writer, home=home, expect=1)).stderr
    assert "`securecart cluster switchover`" in (await run("cluster", "failover", "--to", standby, home=home, expect=1)).stderr
    assert "nothing to do" in (await run("cluster", "rejoin", standby, home=home, expect=1)).stderr
    assert "There is no node nobody" in (await run("cluster", "rejoin", "nobody", home=home, expect=1)).stderr
    assert "securecart up --profile ha" in (await run("cluster", "status", home=shop_home, expect=1)).stderr
    assert "securecart up" in (await run("cluster", "status", home=tmp_path / "none", expect=1)).stderr


async def test_a_node_with_commits_that_nobody_else_has_is_rewound_and_follows_without_hands(nodes: Nodes) -> None:
    await nodes.all_well()
    before = await nodes.writer()
    await write(nodes, "acknowledged")
    server = nodes.server(before)
    senders = [child for child in server.children() if "walsender" in command_of(child)]
    assert len(senders) == 2
    for sender in senders:
        sender.suspend()
    connection = await asyncpg.connect(nodes.url(before))
    await connection.execute("SET synchronous_commit = local")  # what no client of the shop does: not to wait for a second node
    await connection.execute("INSERT INTO noted VALUES ('only here')")
    connection.terminate()
    nodes.crash(before)
    seen = await nodes.until(lambda seen: seen.writer is not None and seen.writer.name != before, "another node writes")
    assert seen.writer is not None
    await write(nodes, "meanwhile")
    await everywhere(nodes, "acknowledged", "meanwhile")
    for node in seen.nodes:
        assert "only here" not in await noted(nodes.url(node.name)), node.name
    assert "running pg_rewind from" in (nodes.home.path / "logs" / f"{before}.log").read_text(errors="replace")


async def test_a_lost_node_stays_away_until_it_rejoins_and_follows_then(nodes: Nodes) -> None:
    seen = await nodes.all_well()
    standby = next(node.name for node in seen.nodes if node.role != "writer")
    nodes.lose(standby)
    await write(nodes, "while a node is away")
    status = await run("status", "--json", home=nodes.home.path, expect=1)
    await nodes.until(lambda seen: not seen.node(standby).answers and seen.node(standby).held, f"{standby} is away")
    assert any(engine["name"] == standby and not engine["healthy"] for engine in json.loads(status.stdout)["engines"])
    said = await run("cluster", "rejoin", standby, home=nodes.home.path)
    assert f"{standby} is let go" in said.stderr
    assert f"{standby} follows" in said.stderr
    assert standby not in nodes.home.held()
    await everywhere(nodes, "while a node is away")


async def test_a_node_whose_data_are_spoilt_is_copied_anew_by_rejoin_which_says_so(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_actions, "FOLLOWING_WITHIN_S", 3.0)
    seen = await nodes.all_well()
    standby = next(node.name for node in seen.nodes if node.role != "writer")
    await write(nodes, "before the data were spoilt")
    nodes.lose(standby)
    await nodes.until(lambda seen: not seen.node(standby).answers, f"{standby} is away")
    await asyncio.to_thread((nodes.data(standby) / "global" / "pg_filenode.map").unlink)
    steps = cluster.rejoin(await nodes.seen(), standby)
    said = [sentence async for sentence in cluster.carry_out(nodes.cluster, steps)]
    assert any("throws its data away and copies them" in sentence for sentence in said), said
    assert said[-1].startswith(f"{standby} follows")
    await everywhere(nodes, "before the data were spoilt")


async def test_a_zombie_acknowledges_nothing_and_follows_afterwards(nodes: Nodes) -> None:
    await nodes.all_well()
    zombie = await nodes.writer()
    await write(nodes, "before the freeze")
    url = nodes.url(zombie)
    kept = [await asyncpg.connect(url, timeout=10) for _ in range(3)]
    thaw = nodes.freeze(zombie)
    began = time.monotonic()
    try:
        await nodes.until(lambda seen: seen.writer is not None and seen.writer.name != zombie, "another node writes")
        assert time.monotonic() - began > LEASE_S / 2, "nobody takes over from a writer whose lease runs"
        await write(nodes, "while it was frozen")
        # They wait in the frozen node's sockets, and are read the moment it is thawed.
        waiting = [
            asyncio.create_task(connection.execute("INSERT INTO noted VALUES ($1)", f"zombie {number}"))
            for number, connection in enumerate(kept)
        ]
        await asyncio.sleep(0.2)
    finally:
        thaw()
    thawed = time.monotonic()
    acknowledged = 0
    while time.monotonic() - thawed < ZOMBIE_BETRAYS_ITSELF_WITHIN_S:  # newcomers who ask that node and no other
        with contextlib.suppress(*LOST):
            connection = await asyncpg.connect(url, timeout=1)
            try:
                async with asyncio.timeout(1):
                    await connection.execute("INSERT INTO noted VALUES ($1)", f"newcomer {time.monotonic()}")
                    acknowledged += 1
            finally:
                connection.terminate()
        await asyncio.sleep(0.02)
    answers = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), DEADLINE_S)
    assert acknowledged == 0
    assert all(isinstance(answer, BaseException) for answer in answers), answers
    for connection in kept:
        connection.terminate()
    await everywhere(nodes, "before the freeze", "while it was frozen")
    for node in (await nodes.seen()).nodes:
        assert not [note for note in await noted(nodes.url(node.name)) if "zombie" in note or "newcomer" in note], node.name


async def test_a_home_of_one_node_becomes_three_with_all_its_orders_and_keeps_them_through_a_failover(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()

    def loaded() -> settings_table.Settings:
        return settings_table.load(str(home.path))

    async def create() -> None:
        await apply(loaded().postgres_owner_url)

    lock = home.lock()
    assert lock is not None
    single = Supervisor(home, [[Postgres(home, loaded())]], prepare=create, report=lambda _: None)
    await single.start(lock)
    database = await postgres.connect(loaded().postgres_url, pool_size=1)
    new = [a_new_order(Line("T-1", 2)) for _ in range(50)]
    async with database.transaction() as tx:
        await orders.open_all(tx, new)
    await database.close()
    await single.stop()

    async with running_nodes(home.path) as nodes:
        await nodes.all_well()
        assert await numbers(nodes) == {order.number for order in new}
        before = await nodes.writer()
        nodes.crash(before)
        await nodes.until(lambda seen: seen.writer is not None and seen.writer.name != before, "another node writes")
        assert await numbers(nodes) == {order.number for order in new}
        await nodes.all_well()
    with pytest.raises(OperatorError, match="securecart up --profile ha"):
        plan(home, loaded_as(home, profile="single"))


async def test_the_archiver_follows_the_writer_from_node_to_node(nodes: Nodes) -> None:
    await nodes.all_well()
    archiver, archived = Archiver(nodes.home, nodes.settings), Archived(nodes.home)
    archiver.choose_port()
    await archiver.start()
    nodes.home.remember(archiver.connections())
    try:
        await write(nodes, "archived: before the base")
        before = await archived.caught_up()
        base = await base_at_once(nodes.settings, lambda _: None, full=True)
        assert base.source.startswith("standby")
        await write(nodes, "archived: before the crash")
        writer = await nodes.writer()
        nodes.crash(writer)
        await nodes.until(lambda seen: seen.writer is not None and seen.writer.name != writer, "another node writes")
        await write(nodes, "archived: after the crash")
        after = await archived.caught_up()
        assert after.timeline > before.timeline
        assert (await archived.holdings()).gaps == ()
        assert await archived.restored("SELECT count(*) FROM noted WHERE note LIKE 'archived: %'") == [3]
    finally:
        await archiver.stop()


async def numbers(nodes: Nodes) -> set[Any]:
    connection = await asyncpg.connect(nodes.settings.postgres_owner_url, timeout=DEADLINE_S)
    try:
        return {row["number"] for row in await connection.fetch("SELECT number FROM orders")}
    finally:
        await connection.close()


def loaded_as(home: Home, **settings: str) -> settings_table.Settings:
    return settings_table.convert({**home.settings(), **settings, "home": str(home.path)})
