"""One item: as it was and as it is, and put back if it is still what was shown."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Struct

from securecart.errors import BadInput
from securecart.ops.table_recovery.past import Past
from securecart.ops.table_recovery.writing import Write, write_where_unchanged
from securecart.stores.dynamodb.items import bare, same
from securecart.stores.dynamodb.wire import Region

__all__ = ["OneItem", "key_from", "look", "put_back"]

NUMBER = re.compile(r"^-?\d{1,38}(\.\d{1,38})?$")
KINDS = {"S": "text", "N": "a number", "B": "base64"}


class OneItem(Struct, frozen=True):
    """An item by its key, in DynamoDB's JSON: `then` and `now`, None where there is none."""

    key: str
    then: dict[str, Any] | None
    now: dict[str, Any] | None

    @property
    def is_same(self) -> bool:
        """Whether nothing is to do."""
        return same(self.then, self.now)


def key_from(past: Past, given: Sequence[str]) -> str:
    """The key as items are found by it; `BadInput` when it is not one of this table's."""
    kinds = {one["AttributeName"]: str(one["AttributeType"]) for one in past.shape["AttributeDefinitions"]}
    names = past.table.keys
    if len(given) != len(names):
        wanted = " and ".join(f"{name} ({KINDS[kinds[name]]})" for name in names)
        raise BadInput(field="key", problem=f"An item of {past.table.name} is named by {wanted}.")
    key = {name: {kinds[name]: _value(past, name, kinds[name], text)} for name, text in zip(names, given, strict=True)}
    return msgspec.json.encode(key).decode()


async def look(past: Past, region: Region, key: str) -> OneItem:
    """The item then and now."""
    entry = await past.one(key)
    now = bare(await region.get(past.table.name, msgspec.json.decode(key)))
    return OneItem(key, None if entry is None else msgspec.json.decode(entry.image), None if now is None else dict(now))


async def put_back(past: Past, region: Region, shown: OneItem) -> bool:
    """Make the item what it was; False, and nothing is written, when it is no longer what was shown."""
    return not await write_where_unchanged(region, past.table, [Write(shown.key, shown.then, shown.now)])


def _value(past: Past, name: str, kind: str, text: str) -> str:
    if kind == "N":
        if not NUMBER.match(text):
            raise BadInput(field="key", problem=f"{name} of {past.table.name} is a number, and {text!r} is none.")
        return format(Decimal(text).normalize() + 0, "f")  # as the engine writes it
    if kind == "B":
        try:
            base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise BadInput(field="key", problem=f"{name} of {past.table.name} is given in base64.") from error
    if not text:
        raise BadInput(field="key", problem=f"{name} of {past.table.name} is never empty.")
    return text
