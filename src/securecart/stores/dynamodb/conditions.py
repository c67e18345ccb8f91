"""Conditions on what an item holds: a write is made only where the item still is what somebody has seen."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from securecart.stores.dynamodb.items import Item

__all__ = ["and_also", "as_expected"]


def as_expected(key: Collection[str], expected: Item | None, image: Item) -> dict[str, Any]:
    """The item is what is expected (None: there is none), and has no attribute that only `image` has; marks do not matter.

    The parts of a request that say so; an item found to be otherwise is told back.
    """
    names = {f"#k{number}": name for number, name in enumerate(key)}
    if expected is None:
        return _parts("attribute_not_exists(#k0)", {"#k0": names["#k0"]}, {})
    terms, values = ["attribute_exists(#k0)"], {}
    names = {"#k0": names["#k0"]}
    for number, (name, value) in enumerate(expected.items()):
        if name not in key:
            names[f"#e{number}"], values[f":e{number}"] = name, value
            terms.append(f"#e{number} = :e{number}")
    for number, name in enumerate(set(image) - set(expected) - set(key)):
        names[f"#n{number}"] = name
        terms.append(f"attribute_not_exists(#n{number})")
    return _parts(" AND ".join(terms), names, values)


def and_also(condition: dict[str, Any], term: str, names: dict[str, str], values: dict[str, Any]) -> dict[str, Any]:
    """The same condition with one more term, or with the names and values of an update when the term is empty."""
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
