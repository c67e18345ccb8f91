"""Results and errors in the form that Neptune gives them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Literal

from msgspec import Struct

__all__ = ["STATUS", "Code", "Problem", "problem_of", "value_of"]

Code = Literal[
    "AccessDeniedException",
    "BadRequestException",
    "ConcurrentModificationException",
    "InternalFailureException",
    "InvalidParameterException",
    "MalformedQueryException",
    "MemoryLimitExceededException",
    "MissingParameterException",
    "TimeLimitExceededException",
    "TooManyRequestsException",
]
# The HTTP status that goes with each code.
STATUS: dict[Code, int] = {
    "AccessDeniedException": 403,
    "BadRequestException": 400,
    "ConcurrentModificationException": 500,
    "InternalFailureException": 500,
    "InvalidParameterException": 400,
    "MalformedQueryException": 400,
    "MemoryLimitExceededException": 500,
    "MissingParameterException": 400,
    "TimeLimitExceededException": 500,
    "TooManyRequestsException": 429,
}
# What LadybugDB says, and Neptune's word for it; the first that fits.
SAID: tuple[tuple[str, Code], ...] = (
    ("Interrupted", "TimeLimitExceededException"),
    ("may be corrupted", "InternalFailureException"),
    ("Buffer manager exception", "MemoryLimitExceededException"),
    ("Only one write transaction", "ConcurrentModificationException"),
    ("Write-write conflict", "ConcurrentModificationException"),
    ("Parser exception", "MalformedQueryException"),
    ("Connection exception", "MalformedQueryException"),
    ("Binder exception", "BadRequestException"),
    ("Catalog exception", "BadRequestException"),
    ("Conversion exception", "BadRequestException"),
    ("Overflow exception", "BadRequestException"),
    ("Runtime exception", "BadRequestException"),
    ("Unable to cast Python instance", "InvalidParameterException"),
)


class Problem(Exception):
    """Why a request is not answered, in Neptune's word and ours."""

    def __init__(self, code: Code, words: str) -> None:
        super().__init__(words)
        self.code: Code = code


class Node(Struct, frozen=True, rename=lambda name: f"~{name}"):
    """A node as Neptune shows it."""

    id: str
    entityType: str  # noqa: N815 - Neptune's own name
    labels: list[str]
    properties: dict[str, Any]


class Relationship(Struct, frozen=True, rename=lambda name: f"~{name}"):
    """A relationship as Neptune shows it."""

    id: str
    entityType: str  # noqa: N815 - Neptune's own name
    start: str
    end: str
    type: str
    properties: dict[str, Any]


def value_of(value: Any) -> Any:  # noqa: C901, PLR0911 - one line a kind of value
    """A value of LadybugDB as Neptune's JSON has it: an absent property is left out, a path is a list."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case {"_SRC": start, "_DST": end, "_ID": name, "_LABEL": kind}:
            return Relationship(_id(name), "relationship", _id(start), _id(end), kind, _properties(value))
        case {"_ID": name, "_LABEL": label}:
            return Node(_id(name), "node", [label], _properties(value))
        case {"_NODES": nodes, "_RELS": links}:
            return _path(nodes, links)
        case Mapping():
            return {key: value_of(one) for key, one in value.items()}
        case list() | tuple():
            return [value_of(one) for one in value]
        case Decimal():  # a sum of whole numbers is wider than 64 bits there
            return int(value) if value == value.to_integral_value() else float(value)
        case date():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case bytes():
            return b64encode(value).decode()
        case _:
            return str(value)


def problem_of(error: Exception) -> Problem:
    """What LadybugDB's error is in Neptune's words."""
    words = str(error)
    if not isinstance(error, RuntimeError):  # it could not make a value of its own from a parameter
        return Problem("InvalidParameterException", f"A parameter cannot be used: {words}")
    code: Code = next((code for said, code in SAID if said in words), "InternalFailureException")
    if code == "TimeLimitExceededException":
        words = "The statement took longer than it may and was undone."
    return Problem(code, words)


def _path(nodes: Sequence[Any], links: Sequence[Any]) -> list[Any]:
    """A path from node to node; or only the relationships, where those alone were named: then the ends are missing."""
    if len(nodes) <= len(links):
        return [value_of(link) for link in links]
    steps = [value_of(nodes[0])]
    for link, node in zip(links, nodes[1:], strict=True):
        steps += [value_of(link), value_of(node)]
    return steps


def _id(name: Mapping[str, int]) -> str:
    return f"{name['table']}:{name['offset']}"


def _properties(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value_of(one) for key, one in value.items() if one is not None and not key.startswith("_")}
