"""The graph: LadybugDB in a process of ours that answers as Neptune does."""

from __future__ import annotations

import sys
from http import HTTPStatus
from urllib.parse import unquote, urlsplit

import aiohttp

from securecart.engines.process import Engine

__all__ = ["Graph"]

ASK_WITHIN_S = 2.0
USER = "securecart"


class Graph(Engine):
    """Who shares what: accounts, devices, cards, addresses, networks."""

    name = "graph"
    url_setting = "graph_url"

    async def start(self) -> None:
        """Start the process on its file in the home folder; it gets its own key and no other secret."""
        command = [sys.executable, "-m", "securecart.graph", "--port", str(self.port), "--data", str(self.home.data(self.name))]
        command += ["--timeout", str(self.settings.graph_timeout_s), "--concurrency", str(self.settings.graph_concurrency)]
        command += ["--memory-mb", str(self.settings.graph_memory_mb)]
        self.spawn(command, {"SECURECART_GRAPH_KEY": self._key()})

    @staticmethod
    async def look(url: str) -> str | None:
        """Ask for its status; a Neptune that wants a signature, which only the shop can give, counts as there."""
        parts = urlsplit(url)
        login = aiohttp.encode_basic_auth(unquote(parts.username or ""), unquote(parts.password)) if parts.password else ""
        headers = {"Authorization": login} if login else {}
        address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}/status"
        timeout = aiohttp.ClientTimeout(total=ASK_WITHIN_S)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(address, headers=headers) as answer:
                if answer.status == HTTPStatus.FORBIDDEN and parts.scheme == "https":
                    return ""
                told = await answer.json(content_type=None) if answer.status == HTTPStatus.OK else {}
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return None
        return str(told.get("dbEngineVersion", "")) if told.get("status") == "healthy" else None

    def connections(self) -> dict[str, str]:
        """Its address with the key."""
        return {self.url_setting: f"http://{USER}:{self._key()}@127.0.0.1:{self.port}"}

    def _key(self) -> str:
        return self.home.secret("graph_secret")
