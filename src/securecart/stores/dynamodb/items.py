"""Items in DynamoDB's own JSON: which key they have, whether two say the same, what of one is the replicator's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

__all__ = ["MARK", "Item", "Key", "Table", "bare", "digest", "ends_at", "key_of", "same"]

Item = Mapping[str, Any]  # in DynamoDB's own JSON
# The attribute that the replicator of the global tables leaves in what it writes; it is no part of what an item says.
MARK = "replicated"


class Table(Struct, frozen=True):
    """A table as who carries or keeps it needs it: full name, key attributes, the attribute (epoch seconds) that ends a life."""

    name: str
    keys: tuple[str, ...]
    expires: str = ""


class Key(Struct, frozen=True):
    """A table and an item's key in it, as text that can be compared."""

    table: str
    text: str

    def item(self) -> dict[str, Any]:
        """The key in DynamoDB's own JSON."""
        decoded: dict[str, Any] = msgspec.json.decode(self.text)
        return decoded


def key_of(table: Table, item: Item) -> Key:
    """The key of an item of this table."""
    return Key(table.name, msgspec.json.encode({name: item[name] for name in table.keys}).decode())


def ends_at(table: Table, item: Item | None) -> int | None:
    """When the item's life ends, in epoch seconds; None when it does not."""
    value = (item or {}).get(table.expires, {}).get("N") if table.expires else None
    return int(float(value)) if value is not None else None


def bare(item: Item | None) -> Item | None:
    """The item without its mark."""
    return None if item is None else {name: value for name, value in item.items() if name != MARK}


def same(one: Item | None, other: Item | None) -> bool:
    """Whether two images say the same, in whatever order they name it."""
    return one == other or (one is not None and other is not None and digest(one) == digest(other))


def digest(item: Item | None) -> str:
    """A short name for what an item holds, its mark left out."""
    if item is None:
        return ""
    return hashlib.blake2b(msgspec.json.encode(_ordered(bare(item))), digest_size=12).hexdigest()


def _ordered(value: Any) -> Any:
    """The value with all names and the members of all sets in order, so that equal items have equal text."""
    if isinstance(value, Mapping):
        return {
            name: sorted(value[name]) if name in {"SS", "NS", "BS"} and isinstance(value[name], list) else _ordered(value[name])
            for name in sorted(value)
        }
    if isinstance(value, list):
        return [_ordered(one) for one in value]
    return value
