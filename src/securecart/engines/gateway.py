"""The sandbox card gateway: the card network's stand-in, with its own book on disk."""

from __future__ import annotations

import sys

import securecart
from securecart.engines.process import Engine, http_status

__all__ = ["Gateway"]


class Gateway(Engine):
    """Charges test cards; spoken to over HTTP as a real gateway is."""

    name = "gateway"
    url_setting = "gateway_url"

    async def start(self) -> None:
        """Start the gateway on its book in the home folder."""
        self.version = securecart.__version__
        command = [sys.executable, "-m", "securecart.sandbox.gateway"]
        command += ["--port", str(self.port), "--data", str(self.home.data(self.name))]
        self.spawn(command, {"SECURECART_GATEWAY_KEY": self._key()})

    @staticmethod
    async def look(url: str) -> str | None:
        """Ask how it is."""
        return "" if await http_status(f"{url.rstrip('/')}/healthz") == 200 else None  # noqa: PLR2004 - HTTP's own number

    def connections(self) -> dict[str, str]:
        """Its address and the secret key."""
        return {"gateway_url": f"http://127.0.0.1:{self.port}", "gateway_key": self._key()}

    def _key(self) -> str:
        return self.home.secret("gateway_secret")
