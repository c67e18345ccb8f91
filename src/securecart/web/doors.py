"""The server around the application: several processes take connections from one socket, each when it has time.

A socket of its own for each process (SO_REUSEPORT) would lose, with a killed process, the connections that the kernel had
lined up for it. This one belongs to the supervisor: what is lined up waits for whoever takes it, and also while none is
there. A process takes a few at a time and no more, so that a busy one leaves them to the others.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import uvicorn

from securecart.telemetry import log

__all__ = ["Doors", "listen_alone"]

AT_ONCE = 2
BACKLOG = 1024


class Doors(uvicorn.Server):
    """Serves what it takes from `listener`; `opened` is called once it does."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket, *, opened: Callable[[], None]) -> None:
        super().__init__(config)
        self._listener = listener
        self._opened = opened
        self._taken: set[asyncio.Task[object]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the application's stores, then the doors."""
        del sockets
        await super().startup(sockets=[])
        self._listener.setblocking(False)
        asyncio.get_running_loop().add_reader(self._listener.fileno(), self._take)
        self._opened()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take nobody in any more, and finish what is in hand."""
        del sockets
        asyncio.get_running_loop().remove_reader(self._listener.fileno())
        self._listener.close()
        await super().shutdown(sockets=[])

    def _take(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(AT_ONCE):
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return  # another process was quicker
            except OSError as error:  # out of descriptors, or the caller is gone already
                log.warning("a connection could not be taken", reason=str(error))
                return
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task: asyncio.Task[object] = loop.create_task(loop.connect_accepted_socket(self._protocol, connection))
            self._taken.add(task)
            task.add_done_callback(self._taken.discard)

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            _loop=asyncio.get_running_loop(),
        )


def listen_alone(port: int) -> socket.socket:
    """A socket of this process's own at the port, which others may share: for a process that no supervisor started."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(BACKLOG)
    return listener
