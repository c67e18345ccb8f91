"""The steps of a recovery in place: each is safe to do again, and says in a sentence what became of it.

What a step means for the shop (its tables, its other stores) is done by whoever knows shops: `Work`.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

import aiohttp
import asyncpg
import msgspec
from msgspec import Struct

from securecart import settings as settings_table
from securecart.engines.home import RECOVERY
from securecart.engines.postgres_files import clear_the_way
from securecart.engines.postgres_roles import APP, ARCHIVER, NOT_READY, OWNER, SUPERUSER, Roles
from securecart.errors import ArchiveUnusable, OperatorError, RecoveryRefused, StepFailed
from securecart.ops.recovery import places
from securecart.ops.recovery.going_back import Held, held_on
from securecart.ops.recovery.last_log import ship_last_log
from securecart.ops.recovery.model import Fork, Moment, Site
from securecart.ops.recovery.planning import Note, Step
from securecart.ops.recovery.programs import programs_for, run_program
from securecart.ops.recovery.restoring import Restored, Tell, newest_survey, restore
from securecart.ops.recovery.running import Hands, timeline_of
from securecart.ops.recovery.segments import history_of
from securecart.ops.recovery.standing import KEY
from securecart.ops.recovery.surveying import forget_note, write_note

__all__ = ["Job", "Voice", "Work", "carry_out", "report_file"]

MB = 1_000_000
ASK_WITHIN_S = 10.0


class Work(Protocol):
    """What the shop has to do about its database going back; each is safe to repeat and answers a part of a sentence."""

    async def moment(self, asked: str) -> Moment:
        """The moment that a person means by this; `BadInput`, `RecoveryRefused`."""

    async def prepare(self, owner_url: str) -> str:
        """Bring the restored database to the shape this version needs, and see that it is a shop's."""

    async def note(self, old_url: str, since: datetime, file: Path) -> str:
        """Write down what the old database has that may have come since; without an address, that nobody could be asked."""

    async def agree(self, file: Path) -> str:
        """Before anybody buys: have what was given out since not be given out again, and forget what is no more."""

    async def catch_up(self, file: Path, voice: Voice) -> str:
        """While the shop sells again: the rest of what follows."""


class Voice(Struct, frozen=True):
    """Where it is told what is being done (`tell`, of which only the newest matters) and what was done (`say`)."""

    tell: Tell
    say: Tell


class Job:
    """A recovery under way: where, how far, and with whose help."""

    def __init__(self, site: Site, note: Note, hands: Hands, work: Work, voice: Voice) -> None:
        self.site = site
        self.home = site.home
        self.note = note
        self.hands = hands
        self.work = work
        self.voice = voice

    @property
    def first(self) -> Path:
        """Where the restored database is made; the other nodes get copies of it."""
        return places.aside_of(self.home, self.note.nodes[0], self.note.stamp)

    @property
    def file(self) -> Path:
        """Where it is told what came after the moment."""
        return report_file(self.site, self.note)

    def write(self, **changes: object) -> None:
        """Note a change, in the file first of all."""
        self.note = msgspec.structs.replace(self.note, **changes)
        write_note(self.home, self.note)


def report_file(site: Site, note: Note) -> Path:
    """Where a recovery leaves what a person may have to look at."""
    return site.home.path / "logs" / f"recovery-{note.stamp}.json"


async def carry_out(job: Job, step: Step) -> str:
    """Do it; the sentence says what became of it. Errors are let through, and it can be done again."""
    return await STEPS[step.do](job, step.node)


async def _restore(job: Job, _: str) -> str:
    """The database as it was at the moment, aside: promoted, checked, stopped, on the disk."""
    note, folder = job.note, job.first
    await clear_the_way(folder)  # a server that a killed run left at work
    await asyncio.to_thread(shutil.rmtree, places.below(job.home, note.stamp), ignore_errors=True)
    holdings = await newest_survey(job.site, note.moment)
    restored = await restore(job.site, holdings, note.moment, folder, job.voice.tell, verify=True, up_to=note.moment.at)
    await asyncio.to_thread(_know_live_timelines, job, restored)
    async with held_on(job.site, restored, note.moment, tell=job.voice.tell, durable=True) as held:
        committed, timeline = held.reached.at, await held.promote()
        found = await _make_ours(job, held)
    history = (folder / "pg_wal" / f"{timeline:08X}.history").read_text(encoding="utf-8")
    parent, lsn = list(history_of(history).items())[-1]
    assert all(end <= lsn for end in history_of(history).values()), history
    await asyncio.to_thread(places.fit, folder, job.site.settings)
    await _to_disk(job, folder)
    await asyncio.to_thread(shutil.rmtree, restored.log)
    since = committed or note.moment.at or restored.bases[-1].ended_at
    job.write(timeline=timeline, parent=parent, lsn=lsn, reached_at=since)
    fetched = f"{restored.bases[-1].label} and the log, {restored.archive_bytes / MB:,.0f} MB"
    return f"Restored aside from {fetched}: {found}, as of {note.moment.in_words}"


async def _copy(job: Job, _: str) -> str:
    """The other nodes get the same, so that none has to be copied while nobody sells."""
    note = job.note
    await asyncio.to_thread(places.copy, job.home, note.nodes[0], note.nodes[1:], note.stamp)
    for node in note.nodes[1:]:
        await _to_disk(job, places.aside_of(job.home, node, note.stamp))
    return f"{len(note.nodes) - 1} copies are made for the other nodes"


async def _close(job: Job, _: str) -> str:
    await job.hands.close()
    if job.note.closed_at is None:
        job.write(closed_at=datetime.now(UTC))
    return "The shop is closed: nobody sells from here on" if job.hands.sells else "Nothing runs, so nobody sells"


async def _note(job: Job, _: str) -> str:
    """Ask the old database what came after the moment, as long as it can be asked."""
    note = job.note
    assert note.reached_at is not None
    url = await _old_url(job)
    if not url:
        return await job.work.note("", note.reached_at, job.file)
    if (live := await timeline_of(url)) >= note.timeline:
        job.write(done=())
        raise StepFailed(
            problem=f"A node has taken over from another meanwhile, on timeline {live}, which the restored database has too. "
            "Repeat the command: it is restored anew."
        )
    return await job.work.note(url, note.reached_at, job.file)


async def _stop(job: Job, _: str) -> str:
    await job.hands.stop()
    return "The database and the archiver are stopped"


async def _archive(job: Job, _: str) -> str:
    """The very last log, so that the moment before the recovery can be gone back to as well."""
    folders = [folder for node in job.note.nodes if (folder := places.live_of(job.home, node)).exists()]
    try:
        return await ship_last_log(job.site, folders)
    except (ArchiveUnusable, RecoveryRefused, OSError) as why:
        return f"The last of the old log is not in the archive, only in the data that are kept ({why})"


async def _exchange(job: Job, node: str) -> str:
    await asyncio.to_thread(places.exchange, job.home, node, job.note.stamp)
    kept = places.kept_of(job.home, node, job.note.stamp)
    return f"{node}: the restored database is in place; the old one is kept in {kept}"


async def _start(job: Job, _: str) -> str:
    """Start on what is in place: the restored database, or after an undo the old one."""
    moved = any(places.kept_of(job.home, node, job.note.stamp).exists() for node in job.note.nodes)
    # Under another name the nodes do not find what they had agreed on about the other database.
    await asyncio.to_thread(job.home.remember, {RECOVERY: job.note.stamp if moved else job.note.scope})
    await job.hands.start()
    return "The database takes writes" + (", and another node confirms them" if job.note.nodes[1:] else "")


async def _agree(job: Job, _: str) -> str:
    await job.hands.url()
    return await job.work.agree(job.file)


async def _mark(job: Job, _: str) -> str:
    """Tell later recoveries that this timeline was begun by a person: before it, the old one is followed."""
    note = job.note
    fork = Fork(note.timeline, note.parent, note.lsn, resumed_at=datetime.now(UTC))
    await asyncio.to_thread(job.site.archive.put, _mark_of(note), msgspec.json.encode(fork))
    return f"The archive knows that timeline {note.timeline} goes on from {note.moment.in_words}"


async def _open(job: Job, _: str) -> str:
    await job.hands.open()
    now, note = datetime.now(UTC), job.note
    job.write(opened_at=now)
    if not job.hands.sells:
        return "The shop was down and is left down; `securecart up` starts it"
    whole, closed = (now - note.began_at).total_seconds(), (now - (note.closed_at or now)).total_seconds()
    return f"The shop sells again, {whole:.1f} s after the recovery was begun and {closed:.1f} s after it closed"


async def _settle(job: Job, _: str) -> str:
    await job.hands.open()
    return await job.work.catch_up(job.file, job.voice)


async def _finish(job: Job, _: str) -> str:
    """Forget that a recovery was under way, and ask for a base backup, which makes the next recoveries quick."""
    await asyncio.to_thread(shutil.rmtree, places.below(job.home, job.note.stamp), ignore_errors=True)
    forget_note(job.home)
    return await _ask_for_base(job)


async def _ask_for_base(job: Job) -> str:
    """Have the archiver take a full base at once; it does so whether we wait or not."""
    settings = settings_table.load(str(job.home.path))
    by_hand = "Take a full backup soon: `securecart backup now --full`"
    if not job.hands.sells:
        return by_hand
    try:
        timeout, headers = aiohttp.ClientTimeout(total=ASK_WITHIN_S), {KEY: settings.internal_key}
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as http,
            http.post(f"{settings.archiver_url.rstrip('/')}/backup?full") as answer,
        ):
            return "A full backup is being taken" if answer.status == HTTPStatus.OK else by_hand
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        return by_hand


async def _put_back(job: Job, node: str) -> str:
    if {"mark"} & {job.note.begun, *job.note.done}:
        with contextlib.suppress(ArchiveUnusable):
            await asyncio.to_thread(job.site.archive.remove, [_mark_of(job.note)])
    await asyncio.to_thread(places.put_back, job.home, node, job.note.stamp)
    await asyncio.to_thread(job.home.remember, {RECOVERY: job.note.scope})
    return f"{node}: the old database is in its place again"


async def _reopen(job: Job, _: str) -> str:
    await job.hands.open()
    return "The shop sells as before" if job.hands.sells else "The shop is down as before"


async def _discard(job: Job, _: str) -> str:
    await clear_the_way(job.first)
    await asyncio.to_thread(shutil.rmtree, places.below(job.home, job.note.stamp), ignore_errors=True)
    job.file.unlink(missing_ok=True)
    forget_note(job.home)
    return "What was restored aside is removed"


STEPS: dict[str, Callable[[Job, str], Awaitable[str]]] = {
    "restore": _restore,
    "copy": _copy,
    "close": _close,
    "note": _note,
    "stop": _stop,
    "archive": _archive,
    "exchange": _exchange,
    "start": _start,
    "agree": _agree,
    "mark": _mark,
    "open": _open,
    "settle": _settle,
    "finish": _finish,
    "put back": _put_back,
    "reopen": _reopen,
    "discard": _discard,
}


def _mark_of(note: Note) -> str:
    return f"forks/{note.timeline:08X}"


def _know_live_timelines(job: Job, restored: Restored) -> None:
    """Lay the live database's histories beside those of the archive: the restored one begins a timeline that nobody has."""
    for node in job.note.nodes:
        for history in (places.live_of(job.home, node) / "pg_wal").glob("*.history"):
            if not (restored.log / history.name).exists():
                with contextlib.suppress(FileNotFoundError):
                    shutil.copyfile(history, restored.log / history.name)


async def _make_ours(job: Job, held: Held) -> str:
    """Give the restored database what this home expects of its own, and see that it is a shop's; what is in it, in words."""
    roles = Roles(job.home)
    try:
        connection = await held.connect()
    except asyncpg.InvalidCatalogNameError as error:
        raise RecoveryRefused(problem=f"At {job.note.moment.in_words} there was no shop yet.") from error
    try:
        # The log of its timeline is kept from its beginning, for the archiver, which asks for it once this is the live one.
        await connection.execute(f"SELECT pg_create_physical_replication_slot('{ARCHIVER}', true)")
        for role in (SUPERUSER, OWNER, APP):
            await connection.execute(f"ALTER ROLE {role} WITH LOGIN PASSWORD '{roles.password(role)}'")
        for statement in roles.to_replicate():
            await connection.execute(statement)
    finally:
        await connection.close()
    return await job.work.prepare(held.url().replace(f"//{SUPERUSER}@", f"//{OWNER}@"))


async def _to_disk(job: Job, folder: Path) -> None:
    """Have everything in the folder written, as what is to outlive a power cut."""
    await run_program([programs_for(job.site) / "initdb", "--sync-only", "-D", folder], what="writing it to disk")


async def _old_url(job: Job) -> str:
    """The old database, running; empty when there is none, or it does not start."""
    if not all(places.place_of(job.home, node, job.note.stamp).live for node in job.note.nodes):
        return ""
    try:
        return await job.hands.url()
    except (OperatorError, *NOT_READY) as why:
        job.voice.say(f"The old database cannot be asked what came after the moment ({why})")
        return ""
