"""`securecart backup now`: the running archiver is asked for a base backup, and what it says is passed on."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import Annotated

import aiohttp
import msgspec
import typer

from securecart import settings
from securecart.cli.engines import HomeOption, JsonOption
from securecart.cli.progress import told
from securecart.cli.screen import out, show_json
from securecart.engines import Home
from securecart.engines.archiver import Archiver
from securecart.engines.process import process_of
from securecart.errors import RecoveryRefused
from securecart.ops.recovery.model import Base
from securecart.ops.recovery.restoring import Tell
from securecart.ops.recovery.sites import OFF
from securecart.ops.recovery.standing import KEY, Said
from securecart.settings import Settings

__all__ = ["base_at_once", "take"]

# While it is copied or packed it says something every second or so; a checkpoint and the log it waits for take longer.
SILENT_S = 180.0
OPENS_WITHIN_S, LOOK_AGAIN_S = 30.0, 0.2
MB = 1_000_000


def take(
    full: Annotated[bool, typer.Option("--full", help="All of the database, not only what changed since the last one.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a base backup at once, beside those of the timetable; returns when it is verified and in the archive.

    The running shop's archiver takes it, [bold]incremental[/bold] where it has one to stand on. You need none to be able to go
    back: the log is archived all the time. It makes going back quicker, because less log is replayed.
    """
    loaded = settings.load(home)
    with told() as tell:
        base = asyncio.run(base_at_once(loaded, tell, full=full))
    if as_json:
        show_json(base)
        return
    size = f"{base.archive_bytes / MB:,.1f} MB for a database of {base.database_bytes / MB:,.1f} MB"
    on = f" on {base.parent}" if base.parent else ""
    out.print(f"{base.label}{on}  {size}  from {base.source}  {base.seconds:.1f} s", soft_wrap=True, markup=False)


async def base_at_once(loaded: Settings, tell: Tell, *, full: bool) -> Base:
    """The base that the running archiver takes when it is asked; `RecoveryRefused` when none runs, or what kept it from it."""
    if loaded.archive == OFF:
        raise RecoveryRefused(problem="No archiver runs, because SECURECART_ARCHIVE is off. Set it, and start the shop again.")
    await _door_opens(Home(loaded.home_path), loaded.archiver_url)
    key = Home(loaded.home_path).settings().get("internal_secret", "")
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=SILENT_S, sock_read=SILENT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(f"{loaded.archiver_url}/backup", params={"full": ""} if full else {}, headers={KEY: key}) as answer,
        ):
            if answer.status != HTTPStatus.OK:
                raise RecoveryRefused(problem=f"The archiver at {loaded.archiver_url} does not take this home's key.")
            async for line in answer.content:
                said = msgspec.json.decode(line, type=Said)
                if said.base is not None:
                    return said.base
                if said.error:
                    raise RecoveryRefused(problem=said.error)
                tell(said.text)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise RecoveryRefused(
            problem=f"No archiver answers for {loaded.home_path}; it runs with the shop. Start it with `securecart up`, or look "
            "at `securecart status` and the home's logs/archiver.log."
        ) from error
    raise RecoveryRefused(problem="The archiver ended before the backup was taken; its log, logs/archiver.log, says why.")


async def _door_opens(home: Home, url: str) -> None:
    """Return once the archiver's door is open; one that was started a moment ago is waited for, one that is not there is not."""
    deadline = time.monotonic() + OPENS_WITHIN_S
    while await Archiver.look(url) is None and time.monotonic() < deadline:
        state = await asyncio.to_thread(home.state)
        if state is None or not any(process_of(engine) for engine in state.of_kind(Archiver.name)):
            return
        await asyncio.sleep(LOOK_AGAIN_S)
