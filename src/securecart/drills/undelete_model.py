"""What an undelete drill is about: two mishaps of an operator, and how it is judged that one was undone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, Self, get_args

from msgspec import Struct

from securecart.promises import Report

__all__ = [
    "FORMS",
    "RATIO_GOAL",
    "WHOLE_GOAL_S",
    "Copies",
    "Form",
    "Judged",
    "Rows",
    "UndeletePlan",
    "UndeleteVerdict",
    "Undone",
    "p99_ms",
]

Form = Literal["orders", "prices"]
FORMS: tuple[Form, ...] = get_args(Form)
WHOLE_GOAL_S, RATIO_GOAL = 90.0, 2.0
EXAMPLES_MAX = 5

# A table and a row's key, and the whole row as text.
Rows = dict[tuple[str, str], str]


class UndeletePlan(Struct, frozen=True):
    """Which mishaps, one after the other, each after `calm_s` of shopping; how many `orders` are deleted in the first.

    `seed` decides which, and who buys what.
    """

    forms: tuple[Form, ...]
    orders: int
    seed: int
    shoppers: int = 16
    calm_s: float = 15.0


class Copies(Struct, frozen=True):
    """What the drill wrote down before the mishap: the rows that it takes, and others that nobody should touch."""

    lost: Rows
    others: Rows


class Judged(Struct, frozen=True):
    """How many of the lost rows are as they were, and which rows were touched that should not have been."""

    rows_lost: int
    rows_recovered: int
    rows_wrongly_touched: int
    examples: tuple[str, ...] = ()

    @classmethod
    def of(cls, copies: Copies, now: Mapping[tuple[str, str], str], written: Sequence[tuple[str, str]]) -> Self:
        """Hold the copies against the rows as they are `now`, and against the rows that the recovery has `written`."""
        back = [row for row, text in copies.lost.items() if now.get(row) == text]
        touched = {row for row, text in copies.others.items() if now.get(row) != text}
        touched |= {row for row in written if row not in copies.lost}
        return cls(len(copies.lost), len(back), len(touched), tuple(_examples(copies, now, sorted(touched))))


class Undone(Struct, frozen=True):
    """One mishap and its recovery. Seconds are counted from the recovery's command on.

    `rows_recovered` of the `rows_lost` are as they were, byte by byte; `rows_wrongly_touched` counts other rows that are not
    what they were, or that the recovery wrote. `sold_at_zero` counts the units that went for nothing between mishap and
    recovery, `sold_at_zero_after` those since; `on_purpose` are rows that were changed after the mishap and must stay so.
    `misshown` counts what the order history or the product pages show otherwise.
    """

    form: Form
    command: str
    rows_lost: int
    rows_recovered: int
    rows_wrongly_touched: int
    on_purpose: int
    on_purpose_kept: int
    misshown: int
    sold_at_zero: int
    sold_at_zero_after: int
    seconds_of_command: float
    seconds_to_whole: float
    checkouts_during: int
    p99_ms_before: float
    p99_ms_during: float
    p99_ratio: float
    examples: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether just what was lost came back, and nothing else was touched."""
        return (
            self.rows_recovered == self.rows_lost
            and not self.rows_wrongly_touched
            and self.on_purpose_kept == self.on_purpose
            and not self.misshown
            and not self.sold_at_zero_after
        )

    @property
    def met(self) -> bool:
        """Whether it was quick enough, and shoppers noticed little enough."""
        return self.seconds_to_whole <= WHOLE_GOAL_S and self.p99_ratio <= RATIO_GOAL


class UndeleteVerdict(Struct, frozen=True):
    """How it went: the figures of all forms together (rows added up, the slowest and the worst of the others), then of each.

    `kept`: every promise of the shop was kept, and exactly what was lost is back. `met`: the goals were reached.
    """

    kept: bool
    met: bool
    seed: int
    rows_lost: int
    rows_recovered: int
    rows_wrongly_touched: int
    seconds_to_whole: float
    goal_whole_s: float
    checkouts_during: int
    p99_ratio: float
    goal_p99_ratio: float
    sold_at_zero: int
    acknowledged: int
    lost: int
    doubled: int
    oversold: int
    projections_equal: bool | None
    seconds: float
    forms: list[Undone]
    refused: dict[str, int]
    report: Report

    @classmethod
    def of(cls, seed: int, forms: list[Undone], report: Report, refused: dict[str, int], *, seconds: float) -> Self:
        """The verdict of these mishaps and of the check after the last."""
        return cls(
            kept=report.kept and all(one.exact for one in forms),
            met=all(one.met for one in forms),
            seed=seed,
            rows_lost=sum(one.rows_lost for one in forms),
            rows_recovered=sum(one.rows_recovered for one in forms),
            rows_wrongly_touched=sum(one.rows_wrongly_touched for one in forms),
            seconds_to_whole=max(one.seconds_to_whole for one in forms),
            goal_whole_s=WHOLE_GOAL_S,
            checkouts_during=sum(one.checkouts_during for one in forms),
            p99_ratio=max(one.p99_ratio for one in forms),
            goal_p99_ratio=RATIO_GOAL,
            sold_at_zero=sum(one.sold_at_zero for one in forms),
            acknowledged=report.acknowledged,
            lost=report.lost,
            doubled=report.doubled,
            oversold=report.oversold,
            projections_equal=report.projections_equal,
            seconds=round(seconds, 1),
            forms=forms,
            refused=refused,
            report=report,
        )


def p99_ms(waits: Sequence[float]) -> float:
    """Of waits in seconds, the shortest first: what at most one in a hundred exceeds; 0 of none."""
    return round(waits[math.ceil(0.99 * len(waits)) - 1] * 1_000, 1) if waits else 0.0


def _examples(copies: Copies, now: Mapping[tuple[str, str], str], touched: Sequence[tuple[str, str]]) -> Iterator[str]:
    """The first few rows of each kind that are not as they should be."""
    away = [row for row, text in sorted(copies.lost.items()) if now.get(row) != text]
    for table, key in away[:EXAMPLES_MAX]:
        found = now.get((table, key))
        yield f"{table} {key} is not as it was: " + (f"{copies.lost[table, key]} became {found}" if found else "it is not there")
    for table, key in touched[:EXAMPLES_MAX]:
        yield f"{table} {key} should not have been touched"
