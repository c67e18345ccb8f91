"""Which base backup is due, and when: decided from what the archive holds and the settings, nothing else."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

from securecart.ops.recovery.holdings import reaches_of
from securecart.ops.recovery.model import Holdings
from securecart.ops.recovery.reach import Reach, chain_in
from securecart.settings import Settings

__all__ = ["Due", "due"]


class Due(Struct, frozen=True):
    """The next base backup: its kind, when it is due, the base that it stands on, and why. Without a time: none by itself."""

    kind: Literal["full", "incremental"] | None
    at: datetime | None
    parent: str
    why: str

    def is_now(self, now: datetime) -> bool:
        """Whether it is time."""
        return self.at is not None and self.at <= now


def due(holdings: Holdings, settings: Settings, now: datetime) -> Due:
    """The next base backup: a full one at once where nothing leads to now, else by the settings' hours and days."""
    if settings.backup_hours <= 0:
        return Due(None, None, "", "SECURECART_BACKUP_HOURS is 0, so none is taken but by hand: securecart backup now")
    newest = _newest(holdings)
    if newest is None:
        return Due("full", now, "", _nothing_leads_here(holdings))
    full = chain_in({base.label: base for base in holdings.bases}, newest.base)[0]
    full_at = full.started_at + timedelta(days=settings.backup_full_days)
    next_at = min(full_at, newest.base.started_at + timedelta(hours=settings.backup_hours))
    if full_at <= max(next_at, now):
        why = f"{full.label} is the last full one, and one is taken every {settings.backup_full_days:g} days"
        return Due("full", next_at, "", why)
    why = f"{newest.base.label} is the last, and one is taken every {settings.backup_hours:g} hours"
    return Due("incremental", next_at, newest.base.label, why)


def _newest(holdings: Holdings) -> Reach | None:
    """The newest base from which the newest moment can be reached."""
    eras = reaches_of(holdings)
    if not eras:
        return None
    era, reaches = eras[-1]
    return max((reach for reach in reaches if reach.end >= era.end), key=lambda one: one.base.ended_at, default=None)


def _nothing_leads_here(holdings: Holdings) -> str:
    if not holdings.bases:
        return "there is no backup yet"
    if any(
        fork.resumed_at is not None and fork.timeline == max(one.timeline for one in holdings.pieces) for fork in holdings.forks
    ):
        return "the database was put back to an earlier moment, and no backup leads from there to now"
    return "since the last backup some of the log is missing, so no later moment can be reached from it"
