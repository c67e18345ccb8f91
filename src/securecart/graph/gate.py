"""Who reads may do so with others, and who commits or brings the log into the file is alone.

LadybugDB promises readers beside a writer. But a look-up by key, in the moment in which new keys become part of the file, failed
("DiskArray ... may be corrupted"): 39 of 3,500 while 27,000 orders were taught. The file was sound, and the next look-up found
everything. With this gate none of 2,400 failed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Gate"]


class Gate:
    """Whoever wants to be alone lets nobody new in, and waits for those who are inside."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._wanted = 0

    @contextmanager
    def together(self) -> Iterator[None]:
        """Inside with others."""
        with self._changed:
            self._changed.wait_for(lambda: not self._wanted)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside, and nobody else is; only one may ask for that at a time."""
        with self._changed:
            self._wanted += 1
            self._changed.wait_for(lambda: not self._inside)
        try:
            yield
        finally:
            with self._changed:
                self._wanted -= 1
                self._changed.notify_all()
