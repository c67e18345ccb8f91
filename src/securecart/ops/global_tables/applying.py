"""One change carried out in a region, only if the region holds what is expected there."""

from __future__ import annotations

from typing import Any

from securecart.ops.global_tables.model import MARK, Apply, Item, Mark, bare, digest, same
from securecart.ops.global_tables.wire import Region, Unlike

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
            await region.call("PutItem", TableName=step.key.table, Item=put, **_condition(step, step.image))
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
    condition = _condition(step, {})
    announced = _with(condition, "", {"#mark": MARK}, {":mark": {"S": mark}})
    await region.call("UpdateItem", **where, UpdateExpression="SET #mark = :mark", **announced)
    await region.call("DeleteItem", **where, **_with(condition, " AND #mark = :mark", {"#mark": MARK}, {":mark": {"S": mark}}))


def _condition(step: Apply, image: Item) -> dict[str, Any]:
    """The item is what is expected, and has none of the attributes that only the new one has; its mark does not matter."""
    key = step.key.item()
    names = {f"#k{number}": name for number, name in enumerate(key)}
    if step.expected is None:
        return _parts("attribute_not_exists(#k0)", {"#k0": names["#k0"]}, {})
    terms, values = ["attribute_exists(#k0)"], {}
    names = {"#k0": names["#k0"]}
    for number, (name, value) in enumerate(step.expected.items()):
        if name not in key:
            names[f"#e{number}"], values[f":e{number}"] = name, value
            terms.append(f"#e{number} = :e{number}")
    for number, name in enumerate(set(image) - set(step.expected) - set(key)):
        names[f"#n{number}"] = name
        terms.append(f"attribute_not_exists(#n{number})")
    return _parts(" AND ".join(terms), names, values)


def _with(condition: dict[str, Any], term: str, names: dict[str, str], values: dict[str, Any]) -> dict[str, Any]:
    return _parts(
        condition["ConditionExpression"] + term,
        {**condition["ExpressionAttributeNames"], **names},
        {**condition.get("ExpressionAttributeValues", {}), **values},
    )


def _parts(expression: str, names: dict[str, str], values: dict[str, Any]) -> dict[str, Any]:
    parts: dict[str, Any] = {
        "ConditionExpression": expression,
        "ExpressionAttributeNames": names,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    return {**parts, "ExpressionAttributeValues": values} if values else parts
