"""What a region drill is asked for, what it answers, and its goals."""

from __future__ import annotations

from msgspec import Struct

from securecart.drills.chart import Event
from securecart.drills.holders import Kept
from securecart.promises import Report

__all__ = ["RPO_GOAL_S", "RTO_GOAL_S", "RegionPlan", "RegionVerdict"]

RTO_GOAL_S, RPO_GOAL_S = 30.0, 2.0


class RegionPlan(Struct, frozen=True):
    """Whether it is `planned`, with how many `shoppers` in each region; `seed` decides who buys what.

    With `cut_s` the link is cut so many seconds before the region dies, and mended when it comes back: that much is lost.
    """

    planned: bool
    seed: int
    shoppers: int = 8
    cut_s: float = 0.0


class RegionVerdict(Struct, frozen=True):
    """How it went. Shares are of what was older than `rpo_goal_s` at the moment of death; counts are of all.

    `rpo_seconds`: how old the newest commit was, at the moment of death, that the other region had. `rpo_orders`: orders that
    a shopper was told of and that the other region does not have as told. `tables_rpo_seconds`: the age of the oldest session
    or cart that was lost. `rto_seconds`: from the command to the first order bought that was opened after it; where it
    is planned, the longest time in which nobody bought anything. `captures_without_order`: money taken for lost orders, all
    of which was found and given back. `failed`: requests answered 500 or above, or not at all, until the region came back.
    `equal`: both regions had the same in the end. `kept` says whether every promise was kept, `met` whether the goals were
    reached besides.
    """

    planned: bool
    seed: int
    kept: bool
    met: bool
    lost_region: str
    promoted_region: str
    rpo_seconds: float
    rpo_goal_s: float
    rpo_orders: int
    tables_rpo_seconds: float
    rto_seconds: float
    rto_goal_s: float
    sessions_kept: float
    carts_kept: float
    sessions: Kept
    bought_from_kept_carts: int
    captures_without_order: int
    acknowledged: int
    lost: int
    doubled: int
    oversold: int
    equal: bool
    differences: dict[str, str]
    seconds_to_promote: float
    seconds_to_return: float
    seconds: float
    failed: int
    timeline: list[Event]
    refused: dict[str, int]
    report: Report
