"""The nouns of a check: what a shopper was told, what is wrong, and the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Self

from msgspec import Struct

__all__ = ["BROKEN", "EXAMPLES_MAX", "Finding", "Report", "State", "Told", "contradictions"]

# Each way to break a promise, and what its count counts.
BROKEN = {
    "lost": "orders that a shopper was told of and that are not there as told",
    "doubled": "carts, keys or payments that made more than one order or capture",
    "incomplete": "orders whose lines, stock or payment do not belong together",
    "oversold": "SKUs of which more was sold or promised than was received",
    "stock_odd": "SKUs whose books do not add up",
    "captures_without_order": "captures at the gateway that no paid order stands for, and that were not given back",
    "orders_without_capture": "paid orders without their money at the gateway",
    "refunds_differ": "payments of which the gateway gave back another sum than the shop noted",
    "left_pending": "orders and refunds that nobody finished",
}
EXAMPLES_MAX = 5

State = Literal["bought", "pending", "cancelled", "cancelling"]


class Told(Struct, frozen=True):
    """What a shopper heard last of an order, its total in minor units.

    `pending`: the shop had not decided; `cancelling`: asked to take it back, and never heard. `key` is the idempotency
    key it was placed with, where that is known: one key must never be answered with two numbers.
    """

    number: str
    total_minor: int
    state: State = "bought"
    key: str = ""


class Finding(Struct, frozen=True):
    """One thing that is wrong: which promise (a key of `BROKEN`), with which order or SKU, and how."""

    promise: str
    key: str
    what: str


class Report(Struct, frozen=True):
    """Whether the promises are kept. Each count is explained in `BROKEN`; `projections` counts differences by reader.

    `projections_equal` is None where no reader was asked, and `unchecked` says what else could not be looked at.
    """

    kept: bool
    orders: int
    acknowledged: int
    lost: int = 0
    doubled: int = 0
    incomplete: int = 0
    oversold: int = 0
    stock_odd: int = 0
    captures_without_order: int = 0
    orders_without_capture: int = 0
    refunds_differ: int = 0
    left_pending: int = 0
    projections_equal: bool | None = None
    projections: dict[str, int] = {}
    examples: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    seconds: float = 0.0

    @classmethod
    def of(
        cls,
        findings: Sequence[Finding],
        *,
        orders: int,
        acknowledged: int,
        projections: Mapping[str, int] | None,
        unchecked: Sequence[str],
        seconds: float,
    ) -> Self:
        """The report of these findings, with a few of each kind as examples."""
        counts = Counter(finding.promise for finding in findings)
        assert counts.keys() <= BROKEN.keys(), counts
        equal = None if projections is None else not any(projections.values())
        return cls(
            kept=not findings and equal is not False,
            orders=orders,
            acknowledged=acknowledged,
            projections_equal=equal,
            projections=dict(projections or {}),
            examples=tuple(_examples(findings)),
            unchecked=tuple(unchecked),
            seconds=round(seconds, 2),
            **counts,
        )

    def broken(self) -> dict[str, int]:
        """The counts that should be 0 and are not."""
        return {name: count for name in BROKEN if (count := getattr(self, name))}


def contradictions(told: Iterable[Told]) -> list[Finding]:
    """One idempotency key that was answered with several order numbers."""
    numbers: dict[str, set[str]] = {}
    for one in told:
        if one.key:
            numbers.setdefault(one.key, set()).add(one.number)
    return [
        Finding("doubled", key, f"Key {key} was answered with the orders {', '.join(sorted(found))}.")
        for key, found in numbers.items()
        if len(found) > 1
    ]


def _examples(findings: Sequence[Finding]) -> Iterable[str]:
    seen: Counter[str] = Counter()
    for finding in findings:
        seen[finding.promise] += 1
        if seen[finding.promise] <= EXAMPLES_MAX:
            yield f"{finding.promise}: {finding.what}"
