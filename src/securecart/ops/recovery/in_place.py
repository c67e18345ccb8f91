"""The whole database back to a moment, in place of the live one: observe, decide, and do step by step.

Whatever can fail is done first, beside the shop that sells on. Each step is written down in HOME/run/recovery.json before it
begins and when it is done, so a recovery that was cut off goes on with the same command, or is taken back by `abandon`. One
that fails before the shop sells on the recovered database is taken back at once, and the shop sells as before.
"""

from __future__ import annotations

import asyncio
import fcntl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from securecart.engines import Home
from securecart.errors import RecoveryRefused
from securecart.ops.recovery import places
from securecart.ops.recovery.carrying_out import Job, Voice, Work, carry_out, report_file
from securecart.ops.recovery.model import Site
from securecart.ops.recovery.planning import (
    ASIDE,
    Note,
    Seen,
    Step,
    Told,
    after,
    is_open,
    may_be_opened,
    put_back,
    stepped_back,
    to_abandon,
    to_recover,
)
from securecart.ops.recovery.running import hands_of
from securecart.ops.recovery.surveying import look, observe, write_note
from securecart.settings import Settings

__all__ = ["Kept", "Report", "Voice", "abandon", "make_ready_for_start", "recover"]


class Kept(Struct, frozen=True):
    """The old data of a node, which nobody removes but you."""

    folder: str
    bytes: int


class Report(Struct, frozen=True):
    """What a recovery did: each step with its seconds, and the seconds in which nobody could buy."""

    moment: str
    steps: tuple[Told, ...]
    seconds: float
    seconds_until_open: float
    seconds_without_sales: float
    kept: tuple[Kept, ...]
    file: str


async def recover(site: Site, asked: str, work: Work, voice: Voice) -> Report:
    """Put the database as it was at the moment in place of the live one, or go on with that; errors say what to do."""
    async with _only_one(site.home):
        began = time.monotonic()
        seen = await observe(site, asked, work.moment)
        steps = to_recover(seen)
        hands = await hands_of(site.home)
        try:
            note = seen.note or _begin(site, seen, up=hands.sells)
            job = Job(site, note, hands, work, voice)
            if steps and steps[0].do == "restore":
                job.write(done=())
            for step in steps:
                await _do(job, step)
            return await _report(job, time.monotonic() - began)
        finally:
            await hands.leave()


async def abandon(site: Site, work: Work, voice: Voice) -> list[str]:
    """Undo a recovery that is under way: the shop as it was before; `RecoveryRefused` where none is, or it sells on it."""
    async with _only_one(site.home):
        seen = await asyncio.to_thread(look, site.home, site.settings)
        steps = to_abandon(seen)
        assert seen.note is not None
        hands, said = await hands_of(site.home), list[str]()
        try:
            job = Job(site, seen.note, hands, work, voice)
            job.write(abandoned=True)
            for step in steps:
                began = time.monotonic()
                said.append(await carry_out(job, step))
                voice.say(f"{said[-1]} ({time.monotonic() - began:.1f} s).")
                if step.do == "reopen":  # cut off from here on, the next one has no more to stop
                    job.write(**msgspec.structs.asdict(stepped_back(job.note)))
        finally:
            await hands.leave()
        return said


async def make_ready_for_start(home: Home, settings: Settings) -> str:
    """Before everything is started: have the old database in its place unless the shop has sold on the recovered one.

    The caller holds the home's lock, and nothing runs. What there is to say of a recovery that is unfinished; else empty.
    """
    seen = await asyncio.to_thread(look, home, settings)
    note = seen.note
    if note is None:
        return ""
    again = f"`securecart recover cluster --at '{note.asked}'`"
    if is_open(note):
        return f"There is an unfinished one: {note.in_words}. The shop starts on the recovered database; finish it with {again}."
    for step in may_be_opened(seen):
        await asyncio.to_thread(places.put_back, home, step.node, note.stamp)
    home.remember({"recovery": note.scope})
    write_note(home, stepped_back(note))
    return (
        f"There is an unfinished one: {note.in_words}. The shop starts on the database that it had before; go on with {again}, "
        "or undo it: `securecart recover abandon`."
    )


@asynccontextmanager
async def _only_one(home: Home) -> AsyncIterator[None]:
    """One recovery in place at a time; `RecoveryRefused` while another process is at it."""
    home.prepare()
    with (home.run() / "recovery.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RecoveryRefused(problem=f"Another process is recovering {home.path} at this moment.") from None
        yield


def _begin(site: Site, seen: Seen, *, up: bool) -> Note:
    assert seen.moment is not None
    now = datetime.now(UTC)
    note = Note(
        stamp=f"{now:%Y%m%d%H%M%S}",
        asked=seen.asked,
        moment=seen.moment,
        profile=site.settings.profile,
        nodes=tuple(place.node for place in seen.places),
        began_at=now,
        was_up=up,
        scope=site.home.recovery(),
    )
    write_note(site.home, note)
    return note


async def _do(job: Job, step: Step) -> None:
    """One step, written down before and after; when it fails everything is as before, as far as that can be."""
    job.write(begun=step.name)
    began = time.monotonic()
    try:
        sentence = await carry_out(job, step)
    except BaseException:
        if not is_open(job.note):
            await _step_back(job, step)
        raise
    seconds = round(time.monotonic() - began, 2)
    job.note = after(job.note, step, Told(step.name, sentence, seconds))
    if step.do != "finish":  # which has removed what was written down
        write_note(job.home, job.note)
    job.voice.say(f"{sentence} ({seconds:.1f} s).")


async def _step_back(job: Job, step: Step) -> None:
    """The shop sells as before; what was restored aside stays for the next try, unless restoring is what failed."""
    if step.do in ASIDE and not job.note.closed_at:
        await carry_out(job, Step("discard"))
        job.voice.say("Nothing was changed.")
        return
    seen = await asyncio.to_thread(look, job.home, job.site.settings)
    for back in put_back(seen):
        job.voice.say(f"{await carry_out(job, back)}.")
    job.note = stepped_back(job.note)
    write_note(job.home, job.note)
    job.voice.say("Repeat the command to go on with what was restored aside, or remove that with `securecart recover abandon`.")


async def _report(job: Job, seconds: float) -> Report:
    note = job.note
    folders = [places.kept_of(job.home, node, note.stamp) for node in note.nodes]
    kept = [Kept(str(folder), await asyncio.to_thread(places.bytes_of, folder)) for folder in folders if folder.exists()]
    opened = note.opened_at or datetime.now(UTC)
    return Report(
        moment=note.moment.in_words,
        steps=note.told,
        seconds=round(seconds, 2),
        seconds_until_open=round((opened - note.began_at).total_seconds(), 2),
        seconds_without_sales=round((opened - note.closed_at).total_seconds(), 2) if note.closed_at else 0.0,
        kept=tuple(kept),
        file=str(report_file(job.site, note)),
    )
