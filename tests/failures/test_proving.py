"""Proofs of a real backup: a good one, and ones in which something is wrong; whatever is wrong is called by its name."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from securecart import inventory, migrations
from securecart.checkout import together
from securecart.checkout.model import Opening, Settlement
from securecart.engines import Home
from securecart.errors import RecoveryRefused
from securecart.inventory import Receipt
from securecart.ops.recovery import certificates, proofs
from securecart.ops.recovery.certificates import Certificate, certificates_in
from securecart.ops.recovery.model import Base, Site, segment_name
from securecart.ops.recovery.proofs import Proofs, is_proving, only_proof
from securecart.orders import Opened
from securecart.payments import Charge
from securecart.proving import prove
from securecart.stores import postgres
from securecart.values import Line
from tests.archived_servers import ArchivedServer, archived_server
from tests.commands import securecart
from tests.orders_for_tests import a_new_order

SKU = "PROVED-1"
LATER_MARGIN = 16 * 1024 * 1024


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ArchivedServer]:
    """A server with the shop's tables, whose log is archived for as long as the tests run."""
    async with archived_server(tmp_path_factory.mktemp("proving") / "home") as running:
        running.home.remember(running.connections())
        await migrations.apply(running.connections()["postgres_owner_url"])
        archiving = asyncio.create_task(keep_archiving(running))
        yield running
        archiving.cancel()
        await asyncio.gather(archiving, return_exceptions=True)


@pytest.fixture(scope="module")
def site(server: ArchivedServer) -> Site:
    chosen = msgspec.structs.replace(server.site.settings, **server.connections())
    return msgspec.structs.replace(server.site, settings=chosen)


async def keep_archiving(server: ArchivedServer) -> None:
    while True:
        await server.ship()
        await asyncio.sleep(0.3)


async def buy(site: Site, count: int) -> None:
    """Orders of one piece each, opened and paid as the shop does it."""
    database = await postgres.connect(site.settings.postgres_url, pool_size=1)
    try:
        async with database.transaction() as tx:
            await inventory.receive(tx, [Receipt(SKU, count)])
        wanted = [a_new_order(Line(SKU, 1)) for _ in range(count)]
        opened = [
            one for one in await together.open_all(database, "test", [Opening(one) for one in wanted]) if isinstance(one, Opened)
        ]
        await together.settle_all(database, "", [Settlement(one.id, Charge(status="captured", id="test")) for one in opened])
    finally:
        await database.close()


async def flaws_of(site: Site) -> list[tuple[str, str]]:
    """What a proof finds, as part and name; its certificate is kept in both places."""
    found = await prove(site)
    assert found.good is (not found.flaws)
    assert certificates.newest(site.home) == found == next(certificates_in(site.archive))
    assert not any((site.home.path / "data" / "proving").iterdir())
    return [(flaw.part, flaw.name) for flaw in found.flaws]


async def test_without_a_backup_there_is_nothing_to_prove(site: Site) -> None:
    with pytest.raises(RecoveryRefused, match="`securecart backup now` takes one"):
        await prove(site)


async def test_all_that_was_committed_until_then_is_restored_and_read(server: ArchivedServer, site: Site) -> None:
    base = await server.back_up()
    await buy(site, 30)
    assert await flaws_of(site) == []
    found = certificates.newest(site.home, good=True)
    assert found is not None
    assert found.bases == (base.label,)
    assert (found.rows["orders"], found.rows["payment"], found.rows["stock"]) == (30, 30, 1)
    assert found.moment is not None
    assert found.moment > base.ended_at
    assert found.tables > 50
    assert found.indexes > 100
    assert found.postgres.startswith("18.")
    assert set(found.seconds) == {"restore", "replay", "check", "total"}
    assert any("gateway's book" in what for what in found.unchecked)
    assert not any("how many rows" in what for what in found.unchecked)


async def test_the_worker_begins_one_proof_at_a_time_and_ends_it_with_itself(
    server: ArchivedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    turns = Proofs(home, server.settings)
    monkeypatch.setattr(proofs, "PROGRAM", "http.server")  # one that goes on until it is ended
    await turns.look()
    assert not turns.is_under_way, "a shop that was just started has other work"
    monkeypatch.setattr(proofs, "FIRST_AFTER_S", 0.0)
    await turns.look()
    begun = turns._child
    assert begun is not None
    await turns.look()
    assert turns._child is begun
    await turns.close()
    assert begun.returncode == -signal.SIGTERM
    await turns.look()
    assert turns._child is begun, "one that left no certificate is tried again, but not at once"


def test_a_base_backup_that_is_due_waits_for_a_proof_but_not_for_ever(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    assert not is_proving(home)
    with only_proof(home):
        assert is_proving(home)
        with pytest.raises(RecoveryRefused, match="under way already"), only_proof(home):
            pass
        os.utime(home.run() / proofs.LOCK, (0, 0))
        assert not is_proving(home)
    assert not is_proving(home)


async def test_a_broken_promise_and_an_index_without_its_rows_are_found(server: ArchivedServer, site: Site) -> None:
    admin = await server.connect()
    await admin.execute("CREATE TABLE proved (n integer)")
    await admin.execute("CREATE INDEX proved_n ON proved (n)")
    await admin.execute("UPDATE pg_index SET indisready = false WHERE indexrelid = 'proved_n'::regclass")
    await admin.execute("INSERT INTO proved VALUES (1)")
    await admin.execute("UPDATE pg_index SET indisready = true WHERE indexrelid = 'proved_n'::regclass")
    await admin.execute("UPDATE stock SET taken = taken - 1")
    assert await flaws_of(site) == [("pages", "proved_n"), ("promises", f"stock_odd {SKU} at 1")]
    await admin.execute("DROP TABLE proved")
    await admin.execute("UPDATE stock SET taken = taken + 1")
    await admin.close()


async def test_log_that_is_not_there_is_named(server: ArchivedServer, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    base = await server.back_up()
    missing = f"wal/00000001/{segment_name(1, base.stop_lsn + LATER_MARGIN)}"
    put_file = site.archive.put_file
    monkeypatch.setattr(site.archive, "put_file", lambda name, content: 0 if name == missing else put_file(name, content))
    admin = await server.connect()
    await admin.execute("CREATE TABLE filling AS SELECT repeat(md5(n::text), 60) FROM generate_series(1, 20000) AS n")
    await admin.execute("DROP TABLE filling")
    await admin.close()
    assert await flaws_of(site) == [("log", missing)]
    monkeypatch.undo()
    await server.ship()


async def test_a_flipped_byte_in_a_base_is_found_and_named(server: ArchivedServer, site: Site) -> None:
    base: Base = await server.back_up()
    name = f"base/{base.label}/data"
    file = next(path for path in (Path(site.archive.where) / "base" / base.label).iterdir() if path.name.startswith("data"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x10
    file.write_bytes(content)
    done = await asyncio.to_thread(securecart, "backup", "prove", "--home", str(site.home.path), "--json")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    found = msgspec.json.decode(done.stdout, type=Certificate)
    assert [(flaw.part, flaw.name) for flaw in found.flaws] == [("base", name)]
    good = certificates.newest(site.home, good=True)
    assert good is not None
    assert good.bases != (base.label,)


async def test_without_the_living_database_its_rows_are_unchecked(site: Site) -> None:
    away = msgspec.structs.replace(
        site, settings=msgspec.structs.replace(site.settings, postgres_owner_url="postgresql://nobody@127.0.0.1:1/nothing")
    )
    found = await prove(away)
    assert any("the living database does not answer" in what for what in found.unchecked)
