"""The nouns of the log: a place in it, a batch read from it, and how far a reader has come."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from securecart.events import Event

__all__ = ["BEGINNING", "Batch", "Place", "Standing"]


class Place(Struct, frozen=True, order=True):
    """A position in the log: the transaction that wrote a row, then the row's own number."""

    xid: int
    id: int


BEGINNING = Place(0, 0)


class Batch(Struct, frozen=True):
    """Facts in order, the place of the last row, and when that was written; `unreadable` rows are no fact we know."""

    facts: list[Event]
    last: Place
    at: datetime
    rows: int
    unreadable: list[str]


class Standing(Struct, frozen=True):
    """How far a reader has come: events it has not read, the age in seconds of the oldest of them, and its place."""

    name: str
    behind_events: int
    behind_seconds: float
    place: Place
    passed: datetime | None
    moved_at: datetime
