"""Which word of the catalogue a mistyped one was meant to be."""

from __future__ import annotations

from collections.abc import Mapping

SHORT = 5


def nearest(word: str, candidates: Mapping[str, int]) -> str | None:
    """The candidate with the fewest slips from `word`, the most frequent of those; None when all are too far."""
    allowed = 1 if len(word) < SHORT else 2 if len(word) <= 8 else 3  # noqa: PLR2004 - lengths at which a slip more is likely
    ranked = sorted((slips(word, candidate), -seen, candidate) for candidate, seen in candidates.items())
    return ranked[0][2] if ranked and 0 < ranked[0][0] <= allowed else None


def slips(one: str, other: str) -> int:
    """How many letters were added, left out, exchanged or swapped with their neighbour (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        older, before, row = before, row, [i]
        for j, wanted in enumerate(other, start=1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return row[-1]
