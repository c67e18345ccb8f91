"""Which rows come back: a pure decision from three states of each row, right before the accident, right after it, and now.

What the accident deleted and is still missing comes back, with what hangs on it and what it hangs on. What the accident changed
and is still as the accident left it is put back. Whatever else has happened to a row since is left, and named as a conflict.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Literal

from msgspec import Struct

from securecart.ops.recovery.comparing import Key
from securecart.ops.recovery.schema import ForeignKey, Shape

__all__ = ["Conflict", "Counts", "Fact", "Facts", "Fate", "Plan", "Policy", "Spot", "Wish", "decide", "fate_of", "links_of"]

Spot = tuple[str, Key]
Fate = Literal["lost", "damaged", "there again", "changed since", "removed since", "untouched"]

WHY = {
    "there again": "it is there again, and not as it was",
    "changed since": "it was changed since, and is not as the accident left it",
    # what the shop itself counted between two moments is no accident
    "counted": "its counters can be corrected for one transaction only; name that by before:XID",
    "removed since": "it was deleted since; the accident had only changed it",
}


class Policy(Struct, frozen=True):
    """What a shop's tables are to whoever brings rows back.

    `follows`: made from other tables, or books of the log's readers; nothing comes back into them. `transient`: rows go from
    there in the ordinary course of things. `counters`: columns that everybody adds to; the accident's part is taken out of
    them, what was added since stays. `first`: tables whose rows everybody locks first.
    """

    follows: frozenset[str] = frozenset()
    transient: frozenset[str] = frozenset()
    counters: Mapping[str, tuple[str, ...]] = {}
    first: tuple[str, ...] = ()


class Wish(Struct, frozen=True):
    """What is wanted back: rows of these tables (none named: of all), of the only one just those with these keys.

    `window`: whatever happened between two moments is looked at, not what one transaction did.
    """

    tables: tuple[str, ...] = ()
    keys: frozenset[Key] | None = None
    window: bool = False


class Counts(Struct, frozen=True, gc=False):
    """A row's counters right before the accident and right after it, and numbers made of its other columns."""

    before: tuple[int, ...]
    after: tuple[int, ...] | None
    others_before: int
    others_after: int | None
    others_now: int | None


class Fact(Struct, frozen=True, gc=False):
    """A row that is not now what it was before: a number made of it in each state, None where there was none.

    `links` are the keys of what it hung on, in the order of `links_of`; None where it named nothing.
    """

    before: int
    after: int | None
    now: int | None
    links: tuple[Key | None, ...] = ()
    counts: Counts | None = None


Facts = Mapping[str, Mapping[Key, Fact]]


class Conflict(Struct, frozen=True):
    """A row of the accident that is left as it is, and why."""

    table: str
    key: Key
    why: str


class Plan(Struct, frozen=True):
    """What is to be done, by table, and what is left.

    Rows to write again; rows to put back, with the number they must still have; counters to correct, with what to add and the
    number that the other columns must still have.
    """

    write: dict[str, list[Key]]
    put_back: dict[str, dict[Key, int]]
    correct: dict[str, dict[Key, tuple[tuple[int, ...], int]]]
    conflicts: list[Conflict]
    # rows that differ from before and are not the accident's, by table
    left: dict[str, int]

    @property
    def tables(self) -> set[str]:
        """Those in which something is to be done."""
        return {name for part in (self.write, self.put_back, self.correct) for name, rows in part.items() if rows}

    @property
    def rows(self) -> int:
        """How many rows come back, are put back or corrected."""
        return sum(len(rows) for part in (self.write, self.put_back, self.correct) for rows in part.values())


def links_of(shape: Shape, table: str) -> list[ForeignKey]:
    """What rows of this table hang on, where it is named by its primary key."""
    return [
        one
        for one in shape.parents_of(table)
        if one.parent in shape.tables and set(one.parent_columns) == set(shape.tables[one.parent].key)
    ]


def fate_of(fact: Fact) -> Fate:
    """What became of a row: through the accident, and since."""
    if fact.after is None:
        return "lost" if fact.now is None else "there again"
    if fact.after == fact.before:
        return "untouched"
    if fact.now is None:
        return "removed since"
    return "damaged" if fact.now == fact.after else "changed since"


def decide(shape: Shape, policy: Policy, facts: Facts, wish: Wish, collisions: Mapping[Spot, str] | None = None) -> Plan:
    """What is to be done about the rows that differ; `collisions` says of rows what else stands in their place."""
    case = _Case(shape, policy, facts, window=wish.window)
    chosen = _choose(case, wish)
    why = _conflicts(case, chosen, collisions or {})
    plan = Plan({}, {}, {}, [Conflict(table, key, why[table, key]) for table, key in sorted(why)], {})
    for table, keys in chosen.items():
        if left := len(facts[table]) - len(keys):
            plan.left[table] = left
        for key in sorted(key for key in keys if (table, key) not in why) if why else sorted(keys):
            fact = facts[table][key]
            if case.fates[table][key] == "lost":
                plan.write.setdefault(table, []).append(key)
            elif fact.counts is not None:
                plan.correct.setdefault(table, {})[key] = _correction(fact.counts)
            else:
                assert fact.after is not None
                plan.put_back.setdefault(table, {})[key] = fact.after
    return plan


class _Case:
    """The facts, and of each row of the accident's what became of it; rows that follow from others are nobody's."""

    def __init__(self, shape: Shape, policy: Policy, facts: Facts, *, window: bool) -> None:
        self.policy = policy
        self.window = window
        self.facts = facts
        self.links = {table: links_of(shape, table) for table in facts}
        self.fates: dict[str, dict[Key, Fate]] = {table: {} for table in facts}
        for table in facts.keys() - policy.follows:
            fates = ((key, fate_of(fact)) for key, fact in facts[table].items())
            self.fates[table] = {key: fate for key, fate in fates if fate != "untouched"}

    def hanging_on_lost(self) -> dict[Spot, list[Spot]]:
        """The accident's rows by what they hung on, where that was deleted and is missing."""
        found: dict[Spot, list[Spot]] = {}
        for table, fates in self.fates.items():
            for place, link in enumerate(self.links[table]):
                parents = self.fates.get(link.parent)
                if not parents:
                    continue
                rows = self.facts[table]
                for key in fates:
                    parent = rows[key].links[place]
                    if parent is not None and parents.get(parent) == "lost":
                        found.setdefault((link.parent, parent), []).append((table, key))
        return found

    def hung_on(self, table: str, key: Key) -> Iterator[Spot]:
        """What a row hung on."""
        for link, parent in zip(self.links[table], self.facts[table][key].links, strict=True):
            if parent is not None and link.parent in self.facts:
                yield link.parent, parent

    def why_left(self, table: str, key: Key) -> str | None:
        """Why a row cannot come back, by what became of it and of what it hung on."""
        fact = self.facts[table][key]
        if fact.counts is not None and fact.now is not None:
            # counters are corrected whatever was added since; the other columns must be as the accident left them
            if self.window:
                return WHY["counted"]
            same = fact.counts.after is None or fact.counts.others_now == fact.counts.others_after
            return None if same else WHY["changed since"]
        fate = self.fates[table][key]
        return WHY.get(fate) or self._why_blocked(table, key, fate)

    def needs(self, table: str, key: Key) -> Iterator[Spot]:
        """What a row that comes back must find there: for one that was deleted all that it hung on, else what is missing now."""
        deleted = self.fates[table][key] == "lost"
        for parent, parent_key in self.hung_on(table, key):
            found = self.facts[parent].get(parent_key)
            if found is not None and (deleted or found.now is None):
                yield parent, parent_key

    def _why_blocked(self, table: str, key: Key, fate: Fate) -> str | None:
        for parent, parent_key in self.needs(table, key):
            found, named = self.facts[parent][parent_key], f"{parent} {', '.join(parent_key)}"
            if found.now is None and self.fates[parent].get(parent_key) != "lost":
                return f"it hangs on {named}, which was deleted since"
            changed = found.counts is None and found.now not in {None, found.after}
            if fate == "lost" and changed and table in self.policy.transient:
                return f"{named} was changed since, and with that this row may have gone anyway"
        return None


def _choose(case: _Case, wish: Wish) -> dict[str, set[Key]]:
    """The accident's rows that are wanted: those asked for, what hangs on those that are missing, and what these hang on."""
    chosen = {table: _asked_for(case, table, wish) for table in case.facts}
    waiting = [(table, key) for table, keys in chosen.items() for key in keys]
    hanging = case.hanging_on_lost()
    while waiting:
        spot = waiting.pop()
        missing = (one for one in case.needs(*spot) if case.fates[one[0]].get(one[1]) == "lost")
        for table, key in (*hanging.get(spot, ()), *missing):
            if key not in chosen[table]:
                chosen[table].add(key)
                waiting.append((table, key))
    return chosen


def _asked_for(case: _Case, table: str, wish: Wish) -> set[Key]:
    fates = case.fates[table]
    if wish.tables and table not in wish.tables:
        return set()
    if wish.keys is not None:
        return {key for key in fates if key in wish.keys}
    if not wish.window or wish.tables:
        return set(fates)
    # between two moments the shop did much that is no accident: it changes rows everywhere, and deletes some
    return set() if table in case.policy.transient else {key for key in fates if case.facts[table][key].after is None}


def _conflicts(case: _Case, chosen: Mapping[str, Collection[Key]], collisions: Mapping[Spot, str]) -> dict[Spot, str]:
    """The chosen rows that cannot come back, and why; with each, whatever hangs on it."""
    spots = [(table, key) for table, keys in chosen.items() for key in keys]
    why = {spot: reason for spot in spots if (reason := case.why_left(*spot) or collisions.get(spot))}
    hanging: dict[Spot, list[Spot]] = {}
    for spot in spots if why else ():
        for parent in case.needs(*spot):
            hanging.setdefault(parent, []).append(spot)
    waiting = sorted(why)
    while waiting:
        table, key = spot = waiting.pop()
        for child in hanging.get(spot, []):
            if child not in why:
                why[child] = f"it hangs on {table} {', '.join(key)}, which stays as it is: {why[spot]}"
                waiting.append(child)
    return why


def _correction(counts: Counts) -> tuple[tuple[int, ...], int]:
    """What to add to the counters so that the accident's part is out of them, and what the other columns must still be."""
    after = counts.after or (0,) * len(counts.before)
    others = counts.others_now if counts.after is None else counts.others_after
    assert others is not None
    return tuple(was - left for was, left in zip(counts.before, after, strict=True)), others
