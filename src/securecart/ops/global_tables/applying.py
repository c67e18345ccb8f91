"""One change carried out in a region, only if the region holds what is expected there."""

from __future__ import annotations

from typing import Any

from securecart.ops.global_tables.model import Apply, Mark
from securecart.stores.dynamodb.conditions import and_also, as_expected
from securecart.stores.dynamodb.items import MARK, Item, bare, digest, same
from securecart.stores.dynamodb.wire import Region, Unlike

__all__ = ["apply", "marked"]


async def apply(region: Region, step: Apply, nonce: str) -> bool:
    """Whether it was written; False when the region held the image already. `Unlike` when it holds something else.

    A delete is announced by a mark first: its record in the stream could not be told from the application's otherwise.
    """
    if step.image is None and step.expected is None:
        item = await region.get(step.key.table, step.key.item())
        if item is None:
            return False
        raise Unlike(item)
    try:
        if step.image is None:
            await _delete(region, step, nonce)
        else:
            put = marked(step.image, Mark(step.version, nonce))
            await region.call(
                "PutItem", TableName=step.key.table, Item=put, **as_expected(step.key.item(), step.expected, step.image)
            )
    except Unlike as unlike:
        if same(bare(unlike.item), step.image):
            return False
        raise
    return True


def marked(item: Item, mark: Mark) -> dict[str, Any]:
    """The item with this mark in it."""
    return {**item, MARK: {"S": mark.text()}}


async def _delete(region: Region, step: Apply, nonce: str) -> None:
    mark = Mark(step.version, nonce, digest(step.expected)).text()
    where = {"TableName": step.key.table, "Key": step.key.item()}
    condition = as_expected(step.key.item(), step.expected, {})
    announced = and_also(condition, "", {"#mark": MARK}, {":mark": {"S": mark}})
    await region.call("UpdateItem", **where, UpdateExpression="SET #mark = :mark", **announced)
    await region.call("DeleteItem", **where, **and_also(condition, " AND #mark = :mark", {"#mark": MARK}, {":mark": {"S": mark}}))
