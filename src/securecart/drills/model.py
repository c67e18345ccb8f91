"""The nouns of a drill: its plan, its rounds, its verdict."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Self

from msgspec import Struct

from securecart.promises import Report

__all__ = ["CrashPlan", "Round", "Verdict", "kinds_in_turn"]


class CrashPlan(Struct, frozen=True):
    """What to do: in each round, kill one process of these `kinds` within the first `seconds` of buying.

    `seed` decides which process dies when, who buys what and with which card; the machine decides the rest.
    """

    rounds: int
    seed: int
    kinds: tuple[str, ...]
    shoppers: int = 24
    seconds: float = 2.0


class Round(Struct, frozen=True):
    """One round, times in seconds: `back_s` is the longest, from the kill on, in which nobody could buy.

    `waited_s` is the longest that a shopper waited for the answer to one request, repetitions included, and `waited_for`
    says to which.
    """

    number: int
    killed: str
    back_s: float
    waited_s: float
    waited_for: str
    acknowledged: int
    kept: bool
    seconds: float


class Verdict(Struct, frozen=True):
    """How a drill ended. Counts are those of the last check, which looks at everything since the first round.

    A drill stops after the first round that broke a promise, so what is on disk is what was found. `refused` counts the
    checkouts that the shop would not carry out, by the error's code: `out-of-stock` is how it should end for some.
    """

    kept: bool
    rounds: int
    seed: int
    acknowledged: int
    lost: int
    doubled: int
    oversold: int
    captures_without_order: int
    projections_equal: bool | None
    back_s_max: float
    seconds: float
    refused: dict[str, int]
    details: list[Round]
    report: Report

    @classmethod
    def of(cls, seed: int, details: list[Round], report: Report, refused: dict[str, int]) -> Self:
        """The verdict of these rounds, the last of which ended with this report."""
        return cls(
            kept=report.kept,
            rounds=len(details),
            seed=seed,
            acknowledged=report.acknowledged,
            lost=report.lost,
            doubled=report.doubled,
            oversold=report.oversold,
            captures_without_order=report.captures_without_order,
            projections_equal=report.projections_equal,
            back_s_max=max(one.back_s for one in details),
            seconds=round(sum(one.seconds for one in details), 1),
            refused=refused,
            details=details,
            report=report,
        )


def kinds_in_turn(kinds: Sequence[str], dice: random.Random) -> Iterator[str]:
    """Kinds of processes without end: shuffled anew each time all have had their turn."""
    while True:
        yield from dice.sample(kinds, len(kinds))
