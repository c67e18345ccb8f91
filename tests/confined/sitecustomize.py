"""Python reads this before a program begins, when its folder is on PYTHONPATH: it keeps localstripe to itself.

localstripe would listen on every interface and write all it knows to a file in /tmp at each change.
"""

from __future__ import annotations

import builtins
import os
import socket
from typing import Any

_open = builtins.open


class Socket(socket.socket):
    def bind(self, address: Any) -> None:
        host, *rest = address
        super().bind(({"::": "::1", "0.0.0.0": "127.0.0.1"}.get(host, host), *rest))


def open_elsewhere(file: Any, *rest: Any, **options: Any) -> Any:
    return _open(os.devnull if file == "/tmp/localstripe.pickle" else file, *rest, **options)


socket.socket = Socket  # type: ignore[misc]
builtins.open = open_elsewhere
