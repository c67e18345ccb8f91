"""How a dependency drill is told to a person."""

from __future__ import annotations

from securecart.drills import DependencyVerdict

__all__ = ["absence"]


def absence(found: DependencyVerdict) -> str:
    """The verdict for a person: how pages were served before, during and after, and what became of carts and checkouts."""
    parts = (("before", found.pages_before), ("while away", found.pages_during), ("afterwards", found.pages_after))
    pages = [
        f"  {name:<11}{one.read:>7,} read  {one.failed:>4,} failed  slowest page p99 {one.wait_s_p99 * 1000:6.0f} ms  "
        f"longest {one.wait_s_max:5.2f} s"
        for name, one in parts
    ]
    return "\n".join(
        [
            f"{found.killed} was away for {found.seconds_away:.1f} s",
            "pages",
            *pages,
            f"checkouts meanwhile        {found.checkouts_during:,}",
            f"begun before, completed    {found.begun_completed} of {found.begun}",
            f"requests told 503          {found.carts_refused:,}",
            f"requests without an answer {found.unanswered} (the dead process had {found.in_hand_max} connections)",
            f"it answered again after    {found.seconds_until_engine_is_back:.1f} s",
            f"carts were back after      {found.seconds_until_carts_are_back:.1f} s",
            "nobody was hurt who need not be" if found.met else "SOMEBODY WAS HURT NEEDLESSLY",
        ]
    )
