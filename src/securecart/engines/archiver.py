"""The archiver: receives the database's log and ships it into the archive, and takes base backups."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import psutil

import securecart
from securecart import settings as settings_table
from securecart.engines.home import Home
from securecart.engines.process import Engine, gone, http_status, shop_environment, stop_process
from securecart.settings import Settings

__all__ = ["Archiver", "archiver_of", "end_children"]

OK = 200
ASK_WITHIN_S = 2.0
CHILDREN = ("pg_receivewal", "pg_basebackup", "pg_verifybackup")
CHILD_ENDS_WITHIN_S = 5.0


class Archiver(Engine):
    """One process for the whole shop, beside its first region; it follows the writer wherever that is."""

    name = "archiver"
    url_setting = "archiver_url"
    stop_within_s = 15

    def choose_port(self) -> None:
        """Settle the port that tells how it is."""
        self.port = self.home.port(self.name, settable=False)

    async def start(self) -> None:
        """Start the process; it reads addresses and secrets from the home folder, and waits for the database by itself."""
        self.version = securecart.__version__
        await end_children(self.home)
        self.home.data(self.name)
        command = [sys.executable, "-m", "securecart.archiver", "--port", str(self.port)]
        self.spawn(command, shop_environment(self.home))

    async def answers(self) -> bool:
        """Whether it runs; where commits wait for it, whether it receives the log."""
        waited_for = self.settings.archive_synchronous and self.settings.profile == "single"
        return await super().answers() if waited_for else not self.died()

    @staticmethod
    async def look(url: str) -> str | None:
        """Ask how it is."""
        return "" if await http_status(f"{url.rstrip('/')}/healthz") == OK else None

    @classmethod
    async def describe(cls, url: str) -> str:
        """How far the archive is behind the database, or what is wrong with it."""
        timeout = aiohttp.ClientTimeout(total=ASK_WITHIN_S)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{url.rstrip('/')}/words") as answer:
                return await answer.text() if answer.status == OK else ""
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return ""

    @classmethod
    async def clear(cls, home: Home, label: str) -> None:
        """End the programs that a killed archiver left at work: the log is received by one at a time."""
        del label
        await end_children(home)

    def connections(self) -> dict[str, str]:
        """Where it tells how it is."""
        return {self.url_setting: f"http://127.0.0.1:{self.port}"}

    async def stop(self) -> None:
        """End the process, which ships first what it has received."""
        await super().stop()
        await end_children(self.home)


def archiver_of(home: Home, settings: Settings) -> list[Engine]:
    """The archiver, where the database is ours and its archive is not turned off."""
    given = settings_table.from_environment()
    return [] if settings.archive == "off" or given.get("postgres_url") else [Archiver(home, settings)]


async def end_children(home: Home) -> None:
    """End the PostgreSQL programs that work in the archiver's folder."""
    folder = str(home.data(Archiver.name))
    for process in psutil.process_iter(["name", "cmdline"]):
        named: Mapping[str, Any] = process.info
        if named["name"] in CHILDREN and any(_is_in(word, folder) for word in named["cmdline"] or ()) and not gone(process):
            await stop_process(process, Engine.stop_signal, CHILD_ENDS_WITHIN_S)


def _is_in(word: str, folder: str) -> bool:
    return Path(word).is_relative_to(folder)
