"""What is to be done to put a recovered database in place of the live one, and to take that back: pure, from what was seen.

A recovery is a row of steps. Up to the moment when the shop is opened on the recovered database everything can be taken
back, and the old database is whole somewhere in the home; from then on orders may have been taken, and it is only finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec
from msgspec import Struct

from securecart.errors import RecoveryRefused
from securecart.ops.recovery.model import Moment

__all__ = [
    "Note",
    "Place",
    "Seen",
    "Step",
    "Told",
    "after",
    "is_open",
    "may_be_opened",
    "put_back",
    "stepped_back",
    "to_abandon",
    "to_recover",
]

MEGABYTE = 1_000_000
# What else takes room while a recovery is under way: the log that is replayed, what the shop writes meanwhile.
SPARE_BYTES = 500 * MEGABYTE

Do = Literal[
    "restore",
    "copy",
    "close",
    "note",
    "stop",
    "archive",
    "exchange",
    "start",
    "agree",
    "mark",
    "open",
    "settle",
    "finish",
    # these take a recovery back
    "put back",
    "reopen",
    "discard",
]
# Those of which nothing is felt in the shop: they stay done when the rest is taken back.
ASIDE: tuple[Do, ...] = ("restore", "copy")


class Step(Struct, frozen=True):
    """Something to do, to one `node` of the database or to all of them; safe to do again."""

    do: Do
    node: str = ""

    @property
    def name(self) -> str:
        """What it is called where it is written down."""
        return f"{self.do} {self.node}".strip()


class Told(Struct, frozen=True):
    """A step that was done: what was said of it, and the seconds that it took."""

    step: str
    sentence: str
    seconds: float


class Note(Struct, frozen=True):
    """A recovery that is under way, as it is written down before each step and after it.

    `asked` is how the moment was given, `nodes` what the database's nodes are called. `timeline` is the one that the restored
    database has begun, at `lsn` of its `parent`. `scope` is what the home knew as its recovery before this one.
    """

    stamp: str
    asked: str
    moment: Moment
    profile: str
    nodes: tuple[str, ...]
    began_at: datetime
    was_up: bool
    scope: str = ""
    begun: str = ""
    done: tuple[str, ...] = ()
    timeline: int = 0
    parent: int = 0
    lsn: int = 0
    reached_at: datetime | None = None
    closed_at: datetime | None = None
    opened_at: datetime | None = None
    abandoned: bool = False
    told: tuple[Told, ...] = ()

    @property
    def in_words(self) -> str:
        """What is under way, as a person reads it."""
        return f"the recovery to {self.moment.in_words} that was begun on {self.began_at:%Y-%m-%d %H:%M:%S} UTC"


class Place(Struct, frozen=True):
    """A node's data folder: whether a database is `live` in it, the old one is `kept` beside it, a restored one lies `aside`."""

    node: str
    live: bool
    kept: bool = False
    aside: bool = False


class Seen(Struct, frozen=True):
    """The home as it was seen, and what is wanted of it; `timeline` is the live database's, 0 where it does not answer."""

    profile: str
    elsewhere: str
    places: tuple[Place, ...]
    note: Note | None = None
    asked: str = ""
    moment: Moment | None = None
    database_bytes: int = 0
    free_bytes: int = 0
    timeline: int = 0
    last: str = ""


def to_recover(seen: Seen) -> list[Step]:
    """What is left to do to put the database as it was at that moment in place; `RecoveryRefused` says what to do first."""
    _must_be_ours(seen)
    if seen.note is None:
        _must_have_room(seen)
        return _whole(tuple(place.node for place in seen.places))
    note = seen.note
    if note.abandoned:
        raise RecoveryRefused(
            problem=f"You have begun to abandon {note.in_words}. Finish that first with `securecart recover abandon`."
        )
    if note.profile != seen.profile:
        raise RecoveryRefused(
            problem=f"The profile was changed to {seen.profile} while there is an unfinished one: {note.in_words}. "
            "Undo it first: `securecart recover abandon`."
        )
    if seen.asked != note.asked and seen.moment != note.moment:
        raise RecoveryRefused(problem=f"There is an unfinished one: {note.in_words}. {_ways_on(note)}")
    # What was restored before another node took over has begun a timeline of the same number, and must not be used.
    stale = not any(place.kept for place in seen.places) and seen.timeline >= note.timeline > 0
    return [step for step in _whole(note.nodes) if stale or step.name not in note.done]


def to_abandon(seen: Seen) -> list[Step]:
    """How everything becomes as it was before the recovery; `RecoveryRefused` when there is none, or the shop sells on it."""
    note = seen.note
    if note is None:
        again = f" {seen.last}" if seen.last else ""
        raise RecoveryRefused(problem=f"No recovery is under way here, so there is none to abandon.{again}")
    if is_open(note):
        raise RecoveryRefused(
            problem="The shop sells on the recovered database already, and orders may have come since. Finish "
            f"{note.in_words} with `securecart recover cluster --at '{note.asked}'`; then go back with the same command to a "
            "moment before the recovery."
        )
    return [*put_back(seen), Step("discard")]


def put_back(seen: Seen) -> list[Step]:
    """How the shop is opened again on the old database; the restored one stays aside."""
    moved = [Step("put back", place.node) for place in seen.places if place.kept]
    note = seen.note
    if note is None:
        return []
    # A database is stopped and started only where it may be another one than the old.
    touched = bool(moved) or bool({"stop", "start"} & {note.begun, *note.done})
    return [*([Step("close"), Step("stop"), *moved, Step("start")] if touched else []), Step("reopen")]


def may_be_opened(seen: Seen) -> list[Step]:
    """What has to be done before the home is started as a whole while a recovery is unfinished; nothing of it runs now."""
    note = seen.note
    if note is None or is_open(note):
        return []
    return [Step("put back", place.node) for place in seen.places if place.kept]


def is_open(note: Note) -> bool:
    """Whether the shop may have sold on the recovered database."""
    return "open" in {note.begun, *note.done}


def stepped_back(note: Note) -> Note:
    """The note once the old database is in its place again: what was restored aside is still good."""
    done = tuple(name for name in note.done if name in ASIDE)
    return msgspec.structs.replace(note, done=done, begun="", closed_at=None)


def after(note: Note, step: Step, told: Told) -> Note:
    """The note once this step is done."""
    return msgspec.structs.replace(note, begun="", done=(*note.done, step.name), told=(*note.told, told))


def _whole(nodes: Sequence[str]) -> list[Step]:
    """All steps in order; where there are several nodes, the others get copies of the first one's database."""
    return [
        Step("restore"),
        *([Step("copy")] if nodes[1:] else []),
        Step("close"),
        Step("note"),
        Step("stop"),
        Step("archive"),
        *(Step("exchange", node) for node in nodes),
        Step("start"),
        Step("agree"),
        Step("mark"),
        Step("open"),
        Step("settle"),
        Step("finish"),
    ]


def _must_be_ours(seen: Seen) -> None:
    if seen.elsewhere:
        raise RecoveryRefused(
            problem=f"The database at {seen.elsewhere} runs elsewhere, so its data cannot be exchanged from here. Recover it "
            "where it runs (on RDS: restore to a point in time), then set SECURECART_POSTGRES_URL to the new one."
        )
    if seen.profile == "regions":
        raise RecoveryRefused(
            problem="This shop runs in two regions, and both would have to go back at the same moment. Make it one region first: "
            "`securecart down`, then `securecart up --profile ha`; recover; and add the second region again with "
            "`securecart up --profile regions`. To bring back only what was lost, use `securecart recover rows`, which works in "
            "every profile."
        )


def _must_have_room(seen: Seen) -> None:
    needed = seen.database_bytes * len(seen.places) + SPARE_BYTES
    if seen.free_bytes < needed:
        raise RecoveryRefused(
            problem=f"The old data are kept, so there must be room for the database once more on "
            f"{'each of ' * bool(seen.places[1:])}{len(seen.places)} node{'s' * bool(seen.places[1:])}: "
            f"{needed // MEGABYTE:,} MB, and {seen.free_bytes // MEGABYTE:,} MB are free. Free some, then repeat this."
        )


def _ways_on(note: Note) -> str:
    go_on = f"Go on with it: `securecart recover cluster --at '{note.asked}'`"
    return f"{go_on}." if is_open(note) else f"{go_on}, or undo it: `securecart recover abandon`."
