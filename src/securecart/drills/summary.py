"""Many runs of one drill in a few lines: the middle and the worst of each figure, and in how many runs each answer was yes."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from securecart.errors import BadInput

__all__ = ["Figure", "runs_in", "summarise"]

# what tells one run from another and is no result
NO_RESULTS = ("seed",)
GOAL = "goal_"


class Figure(Struct, frozen=True):
    """One figure over all runs: seconds or a count by its name. Of a yes or no: `total` runs said yes, the rest is None."""

    name: str
    runs: int
    median: float | None
    worst: float | None
    total: float


def runs_in(text: str, name: str) -> list[Mapping[str, Any]]:
    """The JSON documents that stand one after the other in a text; `BadInput` names the file where something else stands."""
    decoder, found, at = json.JSONDecoder(), list[Mapping[str, Any]](), 0
    text = text.strip()
    while at < len(text):
        try:
            document, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise BadInput(field=name, problem=f"{name} is not what `drill ... --json` prints: {error}.") from error
        if not isinstance(document, dict):
            raise BadInput(field=name, problem=f"{name} holds something else than drills.")
        found.append(document)
        at = end
        while at < len(text) and text[at].isspace():
            at += 1
    return found


def summarise(runs: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """Every number and every yes or no that all runs have, in the order of the first; the worst is the largest."""
    return list(_figures(runs)) if runs else []


def _figures(runs: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    for name in runs[0]:
        values = [run.get(name) for run in runs]
        if name in NO_RESULTS or name.startswith(GOAL) or not all(isinstance(value, int | float) for value in values):
            continue
        numbers = [float(value) for value in values if isinstance(value, int | float)]
        if all(isinstance(value, bool) for value in values):
            yield Figure(name, len(runs), None, None, sum(numbers))
        else:
            yield Figure(name, len(runs), statistics.median(numbers), max(numbers), round(sum(numbers), 3))
