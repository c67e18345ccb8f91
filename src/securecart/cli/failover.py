"""How a failover drill is told to a person."""

from __future__ import annotations

from securecart.drills import FailoverVerdict

__all__ = ["missed", "title", "told"]


def title(found: FailoverVerdict) -> str:
    """The heading of its picture."""
    return f"securecart drill failover --mode {found.mode}: {found.seconds_without_checkout:.1f} s without a checkout"


def told(found: FailoverVerdict) -> str:
    """The verdict for a person: what happened when, what it cost, page by page, and whether the promises are kept."""
    events = [f"{event.at_s:8.2f} s  {event.what}" for event in found.timeline]
    pages = [
        f"  {page.page:<8} {page.read:>6,} read  {page.failed:>4,} failed  without {page.without_s:5.2f} s  "
        f"longest wait {page.wait_s_max:5.2f} s"
        for page in found.pages
    ]
    promises = f"lost {found.lost}, doubled {found.doubled}, oversold {found.oversold}, stale pages {found.stale}"
    if found.zombie_acknowledged is not None:
        promises += f", acknowledged by the thawed node {found.zombie_acknowledged}"
    return "\n".join(
        [
            *events,
            f"without a checkout  {found.seconds_without_checkout:6.2f} s  (goal {found.goal_checkout_s:.0f} s)",
            f"without any page    {found.seconds_without_read:6.2f} s  (goal {found.goal_read_s:.0f} s)",
            *pages,
            f"requests failed     {found.failed:,} of {found.requests:,}",
            f"orders told {found.acknowledged:,}: {promises}: " + ("every promise is kept" if found.kept else "BROKEN"),
        ]
    )


def missed(found: FailoverVerdict) -> list[str]:
    """A sentence for each promise that broke and each goal that was missed."""
    said = [] if found.kept else ["A promise was broken:", *found.report.examples]
    if found.seconds_without_checkout > found.goal_checkout_s:
        said.append(
            f"Nobody could check out for {found.seconds_without_checkout:.2f} s; the goal is {found.goal_checkout_s:.0f} s."
        )
    for page, without_s in (("any page", found.seconds_without_read), (found.worst_page, found.seconds_without_worst_page)):
        if without_s > found.goal_read_s:
            said.append(f"Nobody could read ({page}) for {without_s:.2f} s in all; the goal is {found.goal_read_s:.0f} s.")
    return said
