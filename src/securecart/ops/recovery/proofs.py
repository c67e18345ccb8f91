"""When the next proof is due, and the process of lowest rank that carries it out.

The proof itself needs the shop's promises, which nothing in here knows: it is a program of its own (`securecart.proving`).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import aiohttp
import msgspec
from msgspec import Struct

from securecart.engines import Home
from securecart.engines.process import clean_environment, shop_environment
from securecart.errors import RecoveryRefused
from securecart.ops.recovery import certificates
from securecart.settings import FIRST_REGIONS, Settings
from securecart.telemetry import log

__all__ = ["FIRST_AFTER_S", "LOOK_EVERY_S", "PROGRAM", "Proofs", "is_due", "is_proving", "only_proof"]

PROGRAM = "securecart.proving"
LOOK_EVERY_S = 30.0
# A shop that has just been started has other work, and one that is tried out for five minutes needs no proof.
FIRST_AFTER_S = 600.0
AGAIN_AFTER_S = 900.0
STOPS_WITHIN_S = 8.0
ASK_WITHIN_S = 2.0
WAITED_FOR_S = 3_600.0
LOCK = "proving.lock"


def is_due(last: datetime | None, *, now: datetime, hours: float, started_at: datetime, tried_at: datetime | None = None) -> bool:
    """Whether it is time for a proof: `last` is the newest certificate's, good or not; `tried_at` left none behind."""
    if hours <= 0 or now - started_at < timedelta(seconds=FIRST_AFTER_S):
        return False
    if tried_at is not None and now - tried_at < timedelta(seconds=AGAIN_AFTER_S):
        return False
    return last is None or now - last >= timedelta(hours=hours)


async def is_taking_base(settings: Settings) -> bool:
    """Whether the archiver is taking a base backup at this moment; one that does not answer is not."""
    if not settings.archiver_url:
        return False
    timeout = aiohttp.ClientTimeout(total=ASK_WITHIN_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{settings.archiver_url}/status") as answer:
            return bool(msgspec.json.decode(await answer.read(), type=Doing).doing)
    except (aiohttp.ClientError, OSError, TimeoutError, msgspec.MsgspecError):
        return False


@contextmanager
def only_proof(home: Home) -> Iterator[None]:
    """The turn to prove, which ends with its process at the latest; `RecoveryRefused` while somebody else has it."""
    home.prepare()
    with (home.run() / LOCK).open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RecoveryRefused(problem="A proof of the newest backup is under way already; wait until it is done.") from None
        os.utime(lock.fileno())
        yield


def is_proving(home: Home) -> bool:
    """Whether a base backup that is only due should wait for a proof: for one that began within the last hour.

    Of lowest rank it may take for ever on a machine that never rests, and no base must wait so long.
    """
    try:
        with (home.run() / LOCK).open("rb") as lock:
            if time.time() - os.fstat(lock.fileno()).st_mtime > WAITED_FOR_S:
                return False
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


class Doing(Struct, frozen=True):
    """Of what the archiver says of itself: what it is doing beside receiving the log."""

    doing: str = ""


class Proofs:
    """At most one proof at a time, begun when one is due; whoever owns this ends it with `close`."""

    def __init__(self, home: Home, settings: Settings) -> None:
        self._home = home
        self._settings = settings
        self._started_at = datetime.now(UTC)
        self._tried_at: datetime | None = None
        self._child: asyncio.subprocess.Process | None = None

    @property
    def wanted(self) -> bool:
        """Whether this process has proofs to begin at all: there is an archive, and in regions this is the first."""
        chosen = self._settings
        return chosen.prove_hours > 0 and chosen.archive != "off" and chosen.region in FIRST_REGIONS

    async def look(self) -> None:
        """Begin a proof if one is due; returns at once."""
        if not self.wanted or self.is_under_way:
            return
        last = await asyncio.to_thread(certificates.newest, self._home)
        due = is_due(
            last.began_at if last is not None else None,
            now=datetime.now(UTC),
            hours=self._settings.prove_hours,
            started_at=self._started_at,
            tried_at=self._tried_at,
        )
        if due and not await is_taking_base(self._settings):
            await self._begin()

    async def close(self) -> None:
        """End a proof that is under way, with everything that it started."""
        child = self._child
        if child is None or child.returncode is not None:
            return
        child.terminate()
        try:
            await asyncio.wait_for(child.wait(), STOPS_WITHIN_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()

    @property
    def is_under_way(self) -> bool:
        """Whether a proof runs that this process began."""
        return self._child is not None and self._child.returncode is None

    async def _begin(self) -> None:
        self._tried_at = datetime.now(UTC)
        with self._home.log("proving").open("ab") as said:
            self._child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", PROGRAM),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd=self._home.run(),
                env=_environment(self._home),
                start_new_session=True,
            )
        log.info("began to prove the newest backup", pid=self._child.pid)


def _environment(home: Home) -> dict[str, str]:
    """As the shop's own processes have it, but for the counters' folder: this one counts nothing."""
    given = {**clean_environment(), **shop_environment(home)}
    return {name: value for name, value in given.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
