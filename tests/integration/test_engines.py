"""The engines when all is well: what they are, who may do what, and what `status` tells."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import psutil
import pytest

from securecart.engines import Home, Supervisor, observe
from securecart.engines.elsewhere import Elsewhere
from securecart.engines.graph import Graph
from securecart.engines.valkey import Valkey
from securecart.settings import Settings


def test_status_json_tells_name_version_address_health_pid_and_memory(supervisor: Supervisor, shop_url: str) -> None:
    assert shop_url
    command = [sys.executable, "-m", "securecart", "status", "--json", "--home", str(supervisor.home.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    told = json.loads(done.stdout)
    assert told["home"] == str(supervisor.home.path)
    assert {engine["name"] for engine in told["engines"]} >= {
        "postgres",
        "valkey",
        "dynamodb",
        "graph",
        "gateway",
        "web-1",
        "worker",
    }
    for engine in told["engines"]:
        assert set(engine) == {"name", "version", "address", "healthy", "pid", "memory", "role"}
        assert engine["healthy"], engine
        assert engine["version"], engine
        assert psutil.pid_exists(engine["pid"])
        assert engine["memory"] > 1_000_000
    each = {engine["name"]: engine["memory"] / 2**20 for engine in told["engines"]}
    assert 100 < sum(each.values()) < 900, each  # MiB; in all there is the supervisor too, which is this test's own process
    assert told["memory"] > sum(each.values()) * 2**20


async def test_every_port_listens_on_loopback_only(supervisor: Supervisor, shop_url: str) -> None:
    assert shop_url
    ours = {engine.pid for engine in (await observe(supervisor.home)).engines} | {os.getpid()}  # the shop's own socket is ours
    listening = [one for one in psutil.net_connections("tcp") if one.pid in ours and one.status == psutil.CONN_LISTEN]
    assert len({one.pid for one in listening}) >= 5
    assert {one.laddr.ip for one in listening if one.laddr} <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}


def test_secrets_can_be_read_by_the_owner_only_and_stand_in_no_command_line(shop_home: Path) -> None:
    written = Home(shop_home).settings()
    secrets = [str(value) for name, value in written.items() if name.endswith(("_password", "_secret"))]
    assert len(secrets) >= 5
    for private in ("data", "logs", "run", "settings.json", "run/valkey.conf", "run/pgpass"):
        assert (shop_home / private).stat().st_mode & 0o077 == 0, private
    commands = " ".join(" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"]))
    assert not any(secret in commands for secret in secrets)


def test_engines_are_given_no_secrets_of_the_one_who_starts_them(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    state = supervisor.home.state()
    assert state is not None
    monkeypatch.setenv("SOMEBODYS_TOKEN", "hush")
    known = {"PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"}
    for engine in state.engines:
        given = set(psutil.Process(engine.pid).environ())
        extra = {name for name in given - known if not name.startswith(("SECURECART_", "AWS_", "PROMETHEUS_", "PG"))}
        assert extra == set(), engine.name


async def test_postgres_is_durable_and_of_this_century(engines: Settings) -> None:
    connection = await asyncpg.connect(engines.postgres_url)
    try:
        names = ("fsync", "synchronous_commit", "full_page_writes", "TimeZone", "server_encoding", "password_encryption")
        values = {name: await connection.fetchval("SELECT current_setting($1)", name) for name in names}
        assert values == {
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
            "TimeZone": "UTC",
            "server_encoding": "UTF8",
            "password_encryption": "scram-sha-256",
        }
        assert int(await connection.fetchval("SELECT current_setting('server_version_num')")) >= 160000
        extensions = {row["extname"] for row in await connection.fetch("SELECT extname FROM pg_extension")}
        assert extensions >= {"pg_trgm", "unaccent", "pg_stat_statements"}
    finally:
        await connection.close()


async def test_the_shops_role_changes_rows_but_no_tables(engines: Settings) -> None:
    connection = await asyncpg.connect(engines.postgres_url)
    try:
        assert not await connection.fetchval(
            "SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
        )
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CREATE TABLE public.mine (id int)")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("DROP TABLE product")
        assert await connection.fetchval("SELECT has_table_privilege('product', 'INSERT, UPDATE, DELETE')")
    finally:
        await connection.close()


async def test_the_tables_owner_is_no_superuser(engines: Settings) -> None:
    connection = await asyncpg.connect(engines.postgres_owner_url)
    try:
        assert await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
        assert await connection.fetchval("SELECT tableowner = current_user FROM pg_tables WHERE tablename = 'product'")
    finally:
        await connection.close()


async def test_the_cache_lets_nobody_in_without_its_password(engines: Settings) -> None:
    assert await Valkey.look(engines.valkey_url) is not None
    stranger = "redis://" + engines.valkey_url.rpartition("@")[2]
    assert await Valkey.look(stranger) is None


async def test_the_graph_lets_nobody_in_without_its_key(engines: Settings) -> None:
    assert await Graph.look(engines.graph_url)
    address = engines.graph_url.rpartition("@")[2]
    for stranger in (f"http://{address}", f"http://securecart:guessed@{address}", "http://127.0.0.1:9", "no address"):
        assert await Graph.look(stranger) is None


def test_the_graphs_process_knows_its_own_key_and_no_other_secret(supervisor: Supervisor) -> None:
    state = supervisor.home.state()
    assert state is not None
    (graph,) = state.of_kind("graph")
    given = psutil.Process(graph.pid).environ()
    assert {name for name in given if name.startswith(("SECURECART_", "AWS_", "PG"))} == {"SECURECART_GRAPH_KEY"}


async def test_a_store_that_runs_already_is_used_and_not_started(
    engines: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECURECART_VALKEY_URL", engines.valkey_url)
    home = Home(tmp_path / "other")
    home.prepare()
    lock = home.lock()
    assert lock is not None

    async def nothing() -> None:
        pass

    there = Elsewhere(home, Settings(home=str(home.path)), Valkey)
    other = Supervisor(home, [[there]], prepare=nothing, report=lambda _: None)
    await other.start(lock)
    seen = await observe(home)
    assert [(engine.name, engine.pid, engine.healthy) for engine in seen.engines] == [("valkey", 0, True)]
    assert seen.engines[0].address == engines.valkey_url.rpartition("@")[2].removesuffix("/0")
    assert home.settings()["valkey_url"] == engines.valkey_url
    await other.stop()
    assert await Valkey.look(engines.valkey_url) is not None


def test_a_port_is_kept_for_the_next_start_and_two_engines_never_get_the_same(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    ports = {name: home.port(name) for name in ("a", "b", "c", "d")}
    assert len(set(ports.values())) == 4
    assert {name: Home(home.path).port(name) for name in ports} == ports


def test_a_log_that_grew_too_large_is_begun_anew_and_kept_once(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    log = home.log("talker")
    log.touch()
    os.truncate(log, 17 * 2**20)
    assert home.log("talker") == log
    assert not log.exists()
    assert log.with_suffix(".log.1").stat().st_size == 17 * 2**20
