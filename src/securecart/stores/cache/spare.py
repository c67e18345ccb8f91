"""What this process has just read, kept for a moment while the cache is away, so that its loss is not the database's."""

from __future__ import annotations

import time
from collections.abc import Iterable

__all__ = ["Spare"]

SECONDS = 2.0
ENTRIES_MAX = 500


class Spare:
    """A few hundred entries for two seconds each; the oldest makes room for the newest."""

    def __init__(self) -> None:
        self._entries: dict[str | bytes, tuple[float, bytes]] = {}

    def get(self, key: str) -> bytes | None:
        """The bytes kept under `key`, or None when there are none any more."""
        until, content = self._entries.get(key, (0.0, b""))
        return content if until > time.monotonic() else None

    def put(self, key: str, content: bytes, *, seconds: float) -> None:
        """Keep `content` for at most `seconds`, and for no more than two."""
        self._entries.pop(key, None)
        if len(self._entries) >= ENTRIES_MAX:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = (time.monotonic() + min(seconds, SECONDS), content)

    def drop(self, keys: Iterable[str | bytes]) -> None:
        """Forget these keys."""
        for key in keys:
            self._entries.pop(key, None)
