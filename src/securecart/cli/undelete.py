"""How an undelete drill is told to a person."""

from __future__ import annotations

from securecart.drills import UndeleteVerdict, Undone

__all__ = ["missed_by_undelete", "told_of_undelete"]


def told_of_undelete(found: UndeleteVerdict) -> str:
    """The verdict for a person: each mishap with its recovery, then the shop's promises."""
    projections = {True: "equal", False: "NOT EQUAL", None: "not checked"}[found.projections_equal]
    return "\n".join(
        [
            *(line for one in found.forms for line in _told(one)),
            f"orders told {found.acknowledged:,}: lost {found.lost}, doubled {found.doubled}, oversold {found.oversold}, "
            f"projections {projections}: " + ("every promise is kept" if found.kept else "BROKEN"),
        ]
    )


def missed_by_undelete(found: UndeleteVerdict) -> list[str]:
    """A sentence for each promise that broke, each row that is not as it was, and each goal that was missed."""
    said = [] if found.report.kept else ["A promise was broken:", *found.report.examples]
    for one in found.forms:
        if not one.exact:
            said += [f"After `{one.command}` ({one.form}):", *one.examples, *_inexact(one)]
        if one.seconds_to_whole > found.goal_whole_s:
            said.append(f"It took {one.seconds_to_whole:.1f} s until all was there; the goal is {found.goal_whole_s:.0f} s.")
        if one.p99_ratio > found.goal_p99_ratio:
            said.append(
                f"Checkouts took {one.p99_ratio:.2f} times as long meanwhile; the goal is {found.goal_p99_ratio:g} times."
            )
    return said


def _told(one: Undone) -> list[str]:
    p99 = f"p99 {one.p99_ms_during:,.0f} ms, before {one.p99_ms_before:,.0f} ms ({one.p99_ratio:.2f} times)"
    lines = [
        one.command,
        f"  rows lost         {one.rows_lost:>8,}",
        f"  brought back      {one.rows_recovered:>8,}",
        f"  wrongly touched   {one.rows_wrongly_touched:>8,}",
        f"  until all is back {one.seconds_to_whole:>8.1f} s, of which the command {one.seconds_of_command:.1f} s",
        f"  checkouts meanwhile {one.checkouts_during:>6,}; {p99}",
    ]
    if one.form == "prices":
        lines.append(f"  sold for nothing  {one.sold_at_zero:>8,} units before prices were back, {one.sold_at_zero_after} after")
        lines.append(f"  set on purpose since {one.on_purpose:>5,}, of which {one.on_purpose_kept} are as they were set")
    return lines


def _inexact(one: Undone) -> list[str]:
    said = []
    if one.misshown:
        said.append(f"{one.misshown} orders or pages are not shown as they are.")
    if one.on_purpose_kept != one.on_purpose:
        said.append(f"{one.on_purpose - one.on_purpose_kept} rows that were changed on purpose were overwritten.")
    if one.sold_at_zero_after:
        said.append(f"{one.sold_at_zero_after} units were sold for nothing after the prices were back.")
    return said
