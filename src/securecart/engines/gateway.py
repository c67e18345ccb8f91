"""The sandbox card gateway: the card network's stand-in, with its own book on disk."""

from __future__ import annotations

import sys

import securecart
from securecart.engines.process import Engine, http_answers

__all__ = ["Gateway"]


class Gateway(Engine):
    """Charges test cards; spoken to over HTTP as a real gateway is."""

    name = "gateway"

    async def start(self) -> None:
        """Start the gateway on its book in the home folder."""
        self.version = securecart.__version__
        self.port = self.home.port(self.name, self.settings.gateway_port)
        command = [sys.executable, "-m", "securecart.sandbox.gateway"]
        command += ["--port", str(self.port), "--data", str(self.home.data(self.name))]
        self.spawn(command, {"SECURECART_GATEWAY_KEY": self._key()})

    async def answers(self) -> bool:
        """Whether it is healthy."""
        return await http_answers(self.port, "/healthz")

    def connections(self) -> dict[str, str]:
        """Its address and the secret key."""
        return {"gateway_url": f"http://127.0.0.1:{self.port}", "gateway_key": self._key()}

    def _key(self) -> str:
        return self.home.secret("gateway_secret")
