"""A store that somebody else runs: the environment points at it, so it is looked at, never started or stopped."""

from __future__ import annotations

from securecart import settings as settings_table
from securecart.engines.home import Home, RunningEngine
from securecart.engines.process import Engine, address_of
from securecart.errors import EngineFailed
from securecart.settings import Settings

__all__ = ["Elsewhere"]


class Elsewhere(Engine):
    """Stands in the plan where the engine of this kind would."""

    name = "elsewhere"

    def __init__(self, home: Home, settings: Settings, kind: type[Engine]) -> None:
        super().__init__(home, settings)
        self.kind = kind
        self.label = kind.name

    def choose_port(self) -> None:
        """Nothing: the port is the other server's."""

    async def start(self) -> None:
        """Nothing: it runs already, and wait_until_ready only asks once."""

    @staticmethod
    async def look(url: str) -> str | None:
        """Nothing is known of a server in general; the kind of engine looks."""
        raise NotImplementedError(url)

    async def wait_until_ready(self) -> None:
        """`EngineFailed` when the server cannot be used now."""
        url = self.connections()[self.kind.url_setting]
        version = await self.kind.look(url)
        if version is None:
            setting = f"{settings_table.PREFIX}{self.kind.url_setting.upper()}"
            why = f"the server at {address_of(url)}, which {setting} names, does not let us in"
            raise EngineFailed(engine=self.label, why=why, log="on that server")
        self.version = version

    def connections(self) -> dict[str, str]:
        """What the environment says about it, kept in the home so that other commands find it too."""
        given = settings_table.from_environment()
        mine = {name: value for name, value in given.items() if name.startswith(self.label) and name.endswith(("_url", "_key"))}
        if "postgres_url" in mine:
            mine.setdefault("postgres_owner_url", mine["postgres_url"])
        return mine

    def running(self) -> RunningEngine | None:
        """It has no process of ours."""
        return RunningEngine(self.label, 0, "", 0, self.version)
