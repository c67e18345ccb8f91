"""Which rows come back: a pure decision from three states of each row, right before the accident, right after it, and now.

What the accident deleted and is still missing comes back, with what hangs on it and what it hangs on. What the accident changed
and is still as the accident left it is put back. Whatever else has happened to a row since is left, and named as a conflict.
"""

from __future__ import annotations

from collections import Counter
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
    chosen = _Choice(shape, policy, facts, wish).spots()
    why = _conflicts(shape, policy, facts, chosen, collisions or {})
    plan = Plan({}, {}, {}, [Conflict(table, key, why[table, key]) for table, key in sorted(why)], _left(facts, chosen))
    for table, key in sorted(chosen - why.keys()):
        fact = facts[table][key]
        if fate_of(fact) == "lost":
            plan.write.setdefault(table, []).append(key)
        elif fact.counts is not None:
            plan.correct.setdefault(table, {})[key] = _correction(fact.counts)
        else:
            assert fact.after is not None
            plan.put_back.setdefault(table, {})[key] = fact.after
    return plan


class _Choice:
    """The rows that are wanted and are the accident's: those asked for, what hangs on them, and what they hang on."""

    def __init__(self, shape: Shape, policy: Policy, facts: Facts, wish: Wish) -> None:
        self._facts = facts
        self._wish = wish
        self._policy = policy
        self._links = {table: links_of(shape, table) for table in facts}
        # by what they hang on: the accident's rows
        self._hanging: dict[Spot, list[Spot]] = {}
        for table, rows in facts.items():
            for key, fact in rows.items():
                if not self._is_accidents(table, fact):
                    continue
                for link, parent in zip(self._links[table], fact.links, strict=True):
                    if parent is not None:
                        self._hanging.setdefault((link.parent, parent), []).append((table, key))

    def spots(self) -> set[Spot]:
        """All of them."""
        chosen = set[Spot]()
        waiting = list(self._asked_for())
        while waiting:
            spot = waiting.pop()
            if spot in chosen:
                continue
            chosen.add(spot)
            fact = self._facts[spot[0]][spot[1]]
            if fact.after is None:
                waiting += self._hanging.get(spot, [])
                waiting += self._hung_on(spot[0], fact)
        return chosen

    def _asked_for(self) -> Iterator[Spot]:
        for table, rows in self._facts.items():
            if self._wish.tables and table not in self._wish.tables:
                continue
            for key, fact in rows.items():
                if self._is_accidents(table, fact) and self._is_meant(table, key, fact):
                    yield table, key

    def _is_accidents(self, table: str, fact: Fact) -> bool:
        return table not in self._policy.follows and fate_of(fact) != "untouched"

    def _is_meant(self, table: str, key: Key, fact: Fact) -> bool:
        wish = self._wish
        if wish.keys is not None:
            return key in wish.keys
        if not wish.window or wish.tables:
            return True
        # between two moments the shop did much that is no accident: it changes rows everywhere, and deletes some
        return fact.after is None and table not in self._policy.transient

    def _hung_on(self, table: str, fact: Fact) -> Iterator[Spot]:
        """What a row that comes back hung on and is missing too."""
        for link, parent in zip(self._links[table], fact.links, strict=True):
            found = self._facts.get(link.parent, {}).get(parent) if parent is not None else None
            if found is not None and parent is not None and fate_of(found) == "lost" and link.parent not in self._policy.follows:
                yield link.parent, parent


def _conflicts(
    shape: Shape, policy: Policy, facts: Facts, chosen: Collection[Spot], collisions: Mapping[Spot, str]
) -> dict[Spot, str]:
    """The chosen rows that cannot come back, and why; with each, whatever hangs on it."""
    links = {table: links_of(shape, table) for table in facts}
    why: dict[Spot, str] = {}
    hanging: dict[Spot, list[Spot]] = {}
    for table, key in chosen:
        fact = facts[table][key]
        reason = _reason(fact) or collisions.get((table, key)) or _blocked(policy, facts, table, fact, links[table])
        if reason:
            why[table, key] = reason
        if fact.after is None and fact.now is None:
            for link, parent in zip(links[table], fact.links, strict=True):
                if parent is not None:
                    hanging.setdefault((link.parent, parent), []).append((table, key))
    waiting = sorted(why)
    while waiting:
        table, key = spot = waiting.pop()
        if facts[table][key].counts is not None and spot not in collisions:
            continue
        for child in hanging.get(spot, []):
            if child not in why:
                why[child] = f"it hangs on {table} {', '.join(key)}, which stays as it is: {why[spot]}"
                waiting.append(child)
    return why


def _reason(fact: Fact) -> str | None:
    """Why a row is left, by itself."""
    fate = fate_of(fact)
    if fact.counts is not None and fact.now is not None:
        # counters are corrected whatever was added since; the other columns must be as the accident left them
        same = fact.counts.after is None or fact.counts.others_now == fact.counts.others_after
        return None if same else WHY["changed since"]
    return WHY.get(fate)


def _blocked(policy: Policy, facts: Facts, table: str, fact: Fact, links: list[ForeignKey]) -> str | None:
    """Why a row that was deleted cannot come back to what it hung on."""
    if fact.after is not None or fact.now is not None:
        return None
    for link, parent in zip(links, fact.links, strict=True):
        found = facts.get(link.parent, {}).get(parent) if parent is not None else None
        if found is None or parent is None:
            continue
        fate, named = fate_of(found), f"{link.parent} {', '.join(parent)}"
        if found.now is None and (fate != "lost" or link.parent in policy.follows):
            return f"it hangs on {named}, which was deleted since"
        changed = fate in {"changed since", "there again"} or (fate == "untouched" and found.now != found.after)
        if table in policy.transient and changed and found.counts is None:
            return f"{named} was changed since, and with that this row may have gone anyway"
    return None


def _correction(counts: Counts) -> tuple[tuple[int, ...], int]:
    """What to add to the counters so that the accident's part is out of them, and what the other columns must still be."""
    after = counts.after or (0,) * len(counts.before)
    others = counts.others_now if counts.after is None else counts.others_after
    assert others is not None
    return tuple(was - left for was, left in zip(counts.before, after, strict=True)), others


def _left(facts: Facts, chosen: Collection[Spot]) -> dict[str, int]:
    return dict(Counter(table for table, rows in facts.items() for key in rows if (table, key) not in chosen))
