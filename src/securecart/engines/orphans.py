"""PostgreSQL servers whose parent has left: adopted, and buried the moment they end.

A Patroni starts its PostgreSQL as pg_ctl does, so that the server outlives it and belongs to process 1. Some containers
have a process 1 that takes seconds to notice a death, and for so long Patroni believes that its PostgreSQL still runs.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
import time

import psutil

__all__ = ["adopt_orphans"]

PR_SET_CHILD_SUBREAPER = 36
LOOK_EVERY_S = 0.05
# the supervisor looks at its own children five times a second
WAITED_FOR_WITHIN_S = 3.0

_adopted_by: set[int] = set()
_dead_since: dict[int, float] = {}


def adopt_orphans() -> None:
    """Have orphans below this process become its children from now on; elsewhere than on Linux nothing happens."""
    if sys.platform != "linux" or os.getpid() in _adopted_by:
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _adopted_by.add(os.getpid())
    threading.Thread(target=_bury_for_ever, name="orphans", daemon=True).start()


def _bury_for_ever() -> None:
    while True:
        time.sleep(LOOK_EVERY_S)
        with contextlib.suppress(ChildProcessError):  # there are no children at all
            if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                _bury()


def _bury() -> None:
    """Bury dead PostgreSQL processes, but not our own children, whose end somebody waits for.

    Those lead their sessions, and so do the sessions of a server that was killed: what nobody has waited for by now is theirs.
    """
    now, dead = time.monotonic(), list[int]()
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error, OSError):
            if child.status() == psutil.STATUS_ZOMBIE and child.name() == "postgres":
                dead.append(child.pid)
                if os.getsid(child.pid) != child.pid or now - _dead_since.setdefault(child.pid, now) > WAITED_FOR_WITHIN_S:
                    os.waitpid(child.pid, os.WNOHANG)
    for pid in _dead_since.keys() - dead:
        del _dead_since[pid]
