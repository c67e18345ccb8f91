"""One proof: restore the newest backup with its log, read all of it, hold it against the promises, keep the certificate."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import msgspec
from msgspec import Struct

import securecart
from securecart import promises
from securecart.engines.postgres_files import clear_the_way
from securecart.errors import (
    ArchiveDamaged,
    ArchiveLocked,
    ArchiveMissing,
    EngineFailed,
    RecoveryRefused,
    SecureCartError,
    StoreAway,
)
from securecart.ops.recovery import certificates
from securecart.ops.recovery.certificates import Certificate, Flaw
from securecart.ops.recovery.going_back import clear_away, held_on
from securecart.ops.recovery.holdings import base_for, survey
from securecart.ops.recovery.model import Beat, Holdings, Moment, Site
from securecart.ops.recovery.proofs import only_proof
from securecart.ops.recovery.restoring import restore
from securecart.proving.model import Books, missing_in, missing_rows, rows_unchecked
from securecart.proving.reading import books_of, count_rows, read_everything
from securecart.stores import postgres

__all__ = ["prove"]

Tell = Callable[[str], None]

PLACE = "proving"
ARCHIVED_WITHIN_S, LOOK_AGAIN_S = 20.0, 0.5
# PostgreSQL's sessions tell what they have counted within ten seconds of doing nothing.
COUNTED_WITHIN_S = 12.0
LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)
# What a restore fails with when it is the backup's fault, and nobody's who asked.
BROKEN = (ArchiveDamaged, ArchiveLocked, ArchiveMissing, EngineFailed, RecoveryRefused)
ROWS = "how many rows there must be"
NEVER_CHECKED = (
    "what shoppers were told, and the gateway's book: a backup knows of neither",
    "the projections: they are not in the database, and are made anew from it",
    "orders and refunds that nobody finished: that is a matter of time, which stands still in a backup",
)


class Plan(Struct, frozen=True):
    """What is to be proved: which moment, from what the archive holds, and how many rows the living database had before.

    Without a moment there are backups, and none leads anywhere.
    """

    moment: Moment | None
    holdings: Holdings
    books: Books | None
    unchecked: tuple[str, ...]


class Proof(Struct):
    """What is known so far."""

    flaws: list[Flaw]
    unchecked: list[str]
    seconds: dict[str, float]
    found: Certificate


async def prove(site: Site, *, at: Moment | None = None, tell: Tell = lambda _: None) -> Certificate:
    """Prove the newest backup up to the newest moment, or up to `at`; what is wrong with it stands in the certificate.

    `RecoveryRefused` when there is nothing to restore or a proof is under way, `ArchiveAway`, `DiskFull`.
    """
    began_at, began = datetime.now(UTC), time.perf_counter()
    with only_proof(site.home):
        plan = await _plan(site, at, tell)
        proof = Proof(
            missing_in(plan.holdings) if at is None else [],
            [*plan.unchecked, *NEVER_CHECKED],
            {},
            Certificate(certificates.stamp_of(began_at), False, began_at, site.archive.where, securecart=securecart.__version__),
        )
        if plan.moment is not None:
            await _restore_and_check(site, plan, plan.moment, proof, tell)
        elif not proof.flaws:
            raise RecoveryRefused(problem="There is no backup to prove yet: `securecart backup now` takes one.")
        proof.seconds["total"] = round(time.perf_counter() - began, 2)
        certificate = msgspec.structs.replace(
            proof.found,
            good=not proof.flaws,
            flaws=tuple(proof.flaws),
            unchecked=tuple(proof.unchecked),
            seconds=proof.seconds,
        )
        await asyncio.to_thread(certificates.keep, site, certificate)
    return certificate


async def _plan(site: Site, at: Moment | None, tell: Tell) -> Plan:
    """Count the living database, wait until the archive holds that moment, and look at what is there."""
    if at is not None:
        return Plan(at, await asyncio.to_thread(survey, site.archive), None, (f"{ROWS}: that is known of this moment only",))
    books, why = await _books(site, tell)
    holdings = await asyncio.to_thread(survey, site.archive)
    if not holdings.windows:
        return Plan(None, holdings, None, (why,) if why else ())
    newest = holdings.windows[-1].until
    if books is not None and newest < books.counted_at:
        books, why = None, f"{ROWS}: the moment in which they were counted cannot be reached"
    return Plan(Moment(at=newest), holdings, books, (why,) if why else ())


async def _books(site: Site, tell: Tell) -> tuple[Books | None, str]:
    """The living database's rows, once the archive holds their moment; or None and why not."""
    url = site.settings.postgres_owner_url
    if not url:
        return None, f"{ROWS}: no address of the living database is known here"
    tell("Counting the rows of the living database")
    try:
        books = await books_of(url)
    except LOST as error:
        return None, f"{ROWS}: the living database does not answer ({error or type(error).__name__})"
    if await _archived(site, books.counted_at, tell):
        return books, ""
    return None, f"{ROWS}: what is written now does not get into the archive; see `securecart backup list`"


async def _archived(site: Site, moment: datetime, tell: Tell) -> bool:
    """Whether the archive holds everything up to this moment, waited for a while."""
    deadline = time.monotonic() + ARCHIVED_WITHIN_S
    tell("Waiting until the archive holds this moment")
    while time.monotonic() < deadline:
        with contextlib.suppress(ArchiveDamaged, ArchiveLocked, ArchiveMissing, msgspec.MsgspecError):
            beat = msgspec.json.decode(await asyncio.to_thread(site.archive.read, "beat"), type=Beat)
            if beat.at >= moment:
                return True
        await asyncio.sleep(LOOK_AGAIN_S)
    return False


async def _restore_and_check(site: Site, plan: Plan, moment: Moment, proof: Proof, tell: Tell) -> None:
    """Restore, replay, check; what is found goes into the proof, phase by phase. A restore that fails is a flaw."""
    base = base_for(plan.holdings, moment)
    proof.found = msgspec.structs.replace(proof.found, moment=moment.at, bases=(base.label,))
    folder = site.home.data(PLACE) / "data"
    try:
        async with _cleared(folder):
            began = time.perf_counter()
            restored = await restore(site, plan.holdings, moment, folder, tell, verify=True)
            proof.seconds["restore"] = round(time.perf_counter() - began, 2)
            labels = tuple(one.label for one in restored.bases)
            log_bytes = restored.end_lsn - restored.start_lsn
            proof.found = msgspec.structs.replace(proof.found, bases=labels, log_bytes=log_bytes)
            replaying = time.perf_counter()
            async with held_on(site, restored, moment, tell=tell, number=0) as held:
                await held.promote()
                proof.seconds["replay"] = round(time.perf_counter() - replaying, 2)
                checking = time.perf_counter()
                try:
                    await _check(held.url(), site, plan, proof, tell)
                except (*LOST, StoreAway) as error:
                    why = f"The restored server gave up: {error or type(error).__name__}."
                    proof.flaws.append(Flaw("restore", base.label, why))
                proof.seconds["check"] = round(time.perf_counter() - checking, 2)
    except BROKEN as error:
        proof.flaws.append(_flaw_of(error, base.label))


async def _check(url: str, site: Site, plan: Plan, proof: Proof, tell: Tell) -> None:
    """Count, read from end to end, and hold against the promises."""
    tell("Counting the rows of the restored database")
    rows, size = await count_rows(url)
    reading = await read_everything(url, tell)
    proof.flaws += reading.flaws
    proof.unchecked += reading.unchecked
    tell("Holding it against the shop's promises")
    proof.flaws += await _broken_promises(url)
    if plan.books is not None:
        await _compare(site.settings.postgres_owner_url, plan.books, rows, proof, tell)
    proof.found = msgspec.structs.replace(
        proof.found,
        postgres=reading.version,
        database_bytes=size,
        rows=rows,
        tables=reading.tables,
        indexes=reading.indexes,
    )


async def _broken_promises(url: str) -> list[Flaw]:
    database = await postgres.connect(url, pool_size=1)
    try:
        async with database.fresh() as fresh:
            found = await promises.look(fresh)
    finally:
        await database.close()
    return [Flaw("promises", f"{one.promise} {one.key}", one.what) for one in found if one.promise != "left_pending"]


async def _compare(url: str, before: Books, rows: dict[str, int], proof: Proof, tell: Tell) -> None:
    """Rows as they must be. Whatever the servers' sessions have not told of yet is waited for before anything is said."""
    try:
        after = await books_of(url)
        if missing_rows(before, after, rows):
            tell("Waiting for the living database's own counts")
            await asyncio.sleep(COUNTED_WITHIN_S)
            after = await books_of(url)
    except LOST as error:
        proof.unchecked.append(f"{ROWS}: the living database went away ({error or type(error).__name__})")
        return
    proof.flaws += missing_rows(before, after, rows)
    proof.unchecked += rows_unchecked(before, after)


def _flaw_of(error: SecureCartError, label: str) -> Flaw:
    """What made the restore fail, with the name of the piece where it has one."""
    name = str(error.facts.get("name", label))
    part = "log" if name.startswith("wal/") else "base" if name.startswith("base/") else "restore"
    return Flaw(part, name, error.message)


@asynccontextmanager
async def _cleared(folder: Path) -> AsyncIterator[None]:
    """Nothing is left in the place before or after, not even of a proof that was killed."""
    await clear_the_way(folder)
    try:
        yield
    finally:
        await asyncio.to_thread(clear_away, folder)
