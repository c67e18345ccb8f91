"""A table as it was: a snapshot that was scanned while writes went on, and the changes since its beginning laid over it. Pure.

The changes are read backwards: the first that is heard of a key is its last word, and a key of which nothing is heard did not
change after the scan began, so what the scan found of it holds. A few bytes a changed key are in memory, and no item.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from securecart.ops.table_recovery.model import Change, Entry

__all__ = ["as_it_was", "one_as_it_was"]

DIGEST_BYTES = 16


def as_it_was(snapshot: Iterable[Entry], newest_first: Iterable[Change], until_us: int) -> Iterator[Entry]:
    """The items at this moment, not before the snapshot's end: each key once, in no order.

    The changes are all that were made since the scan began, in the stream's order from its end.
    """
    heard: set[bytes] = set()
    for change in newest_first:
        if change.time_us > until_us:
            continue
        digest = _digest(change.key)
        if digest in heard:
            continue
        heard.add(digest)
        if not change.removes:
            yield Entry(change.key, change.image)
    for entry in snapshot:
        if _digest(entry.key) not in heard:
            yield entry


def one_as_it_was(key: str, snapshot: Iterable[Entry], newest_first: Iterable[Change], until_us: int) -> Entry | None:
    """The item with this key at this moment; None when there was none."""
    for change in newest_first:
        if change.key == key and change.time_us <= until_us:
            return None if change.removes else Entry(key, change.image)
    return next((entry for entry in snapshot if entry.key == key), None)


def _digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=DIGEST_BYTES).digest()
