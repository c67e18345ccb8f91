"""How a region drill is told to a person."""

from __future__ import annotations

from securecart.drills import RegionVerdict

__all__ = ["missed_by_regions", "told_of_regions"]


def told_of_regions(found: RegionVerdict) -> str:
    """The verdict for a person: what happened when, what was lost, and whether the promises are kept."""
    kept = found.sessions
    rto = "without a checkout" if found.planned else "from the command to the first order"
    return "\n".join(
        [
            *(f"{event.at_s:8.2f} s  {event.what}" for event in found.timeline),
            f"RTO       {found.rto_seconds:6.2f} s {rto} (goal {found.rto_goal_s:.0f} s)",
            (
                f"RPO       {found.rpo_seconds:6.3f} s and {found.rpo_orders} orders (goal {found.rpo_goal_s:.0f} s); "
                f"sessions and carts {found.tables_rpo_seconds:.3f} s"
            ),
            (
                f"sessions  {kept.sessions_old_kept} of {kept.sessions_old} older than {found.rpo_goal_s or 2:.0f} s are known, "
                f"{kept.sessions_kept} of all {kept.sessions}"
            ),
            (
                f"carts     {kept.carts_old_kept} of {kept.carts_old} older than that are as they were left, "
                f"{kept.carts_kept} of all {kept.sessions}; {found.bought_from_kept_carts} were bought"
            ),
            f"money taken for lost orders and given back: {found.captures_without_order}",
            f"orders told {found.acknowledged:,}: lost {found.lost}, doubled {found.doubled}, oversold {found.oversold}; regions "
            + ("equal" if found.equal else "NOT EQUAL")
            + (": every promise is kept" if found.kept else ": BROKEN"),
        ]
    )


def missed_by_regions(found: RegionVerdict) -> list[str]:
    """A sentence for each promise that broke and each goal that was missed."""
    said = [] if found.report.kept else ["A promise was broken:", *found.report.examples]
    said += [f"The regions differ: {what}: {how}" for what, how in found.differences.items()]
    if found.rto_seconds > found.rto_goal_s:
        said.append(f"It took {found.rto_seconds:.1f} s until somebody could buy again; the goal is {found.rto_goal_s:.0f} s.")
    if found.rpo_seconds > found.rpo_goal_s or (found.planned and found.rpo_orders):
        said.append(f"{found.rpo_seconds:.1f} s and {found.rpo_orders} orders were lost; the goal is {found.rpo_goal_s:.0f} s.")
    if found.sessions_kept < 1:
        said.append(f"Only {found.sessions_kept:.1%} of the sessions that were old enough are known in the other region.")
    return said
