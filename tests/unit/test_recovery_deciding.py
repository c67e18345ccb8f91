"""Which rows come back: nothing that was changed since is overwritten, nothing else is touched, and nothing is forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from securecart.ops.recovery.comparing import Key
from securecart.ops.recovery.deciding import Conflict, Counts, Fact, Plan, Policy, Wish, decide, fate_of
from securecart.ops.recovery.schema import Column, ForeignKey, Shape, Table, parents_first, with_ancestors

# boxes hold things, things have labels; notes may go in the ordinary course of things; a shelf only follows from boxes
NAMES = ("box", "thing", "label", "note", "shelf", "lone")
HANGS_ON = {"thing": "box", "label": "thing", "note": "box", "shelf": "box"}
ID = Column("id", "bigint")
SHAPE = Shape(
    {name: Table(name, (ID, Column("value", "bigint"), Column("of", "bigint")), ("id",)) for name in NAMES},
    tuple(ForeignKey(f"{child}_of", child, ("of",), parent, ("id",)) for child, parent in HANGS_ON.items()),
)
POLICY = Policy(follows=frozenset({"shelf"}), transient=frozenset({"note"}))


class Row(Struct, frozen=True):
    """A value, and the row that it hangs on."""

    value: int
    of: int | None = None


World = dict[str, dict[int, Row]]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[World, World, World]:
    """A small database before the accident, after it, and now; each keeps its foreign keys."""
    before: World = {}
    for name in parents_first(SHAPE, NAMES):
        parents = sorted(before[HANGS_ON[name]]) if name in HANGS_ON else []
        rows = draw(st.dictionaries(st.integers(1, 4), st.integers(0, 2), max_size=4))
        if name in HANGS_ON and not parents:
            rows = {}
        before[name] = {key: Row(value, draw(st.sampled_from(parents)) if parents else None) for key, value in rows.items()}
    after = draw(changed(before))
    return before, after, draw(changed(after))


@st.composite
def changed(draw: st.DrawFn, world: World) -> World:
    """The world after some rows were deleted, with what hangs on them, some changed or hung elsewhere, and some made anew."""
    result: World = {}
    for name in parents_first(SHAPE, NAMES):
        parents = result.get(HANGS_ON.get(name, ""), {})
        rows: dict[int, Row] = {}
        for key, row in world[name].items():
            deed = draw(st.sampled_from(("leave", "leave", "delete", "change")))
            if deed == "change" and parents:
                rows[key] = Row(draw(st.integers(0, 2)), draw(st.sampled_from(sorted(parents))))
            elif deed != "delete" and (row.of is None or row.of in parents):
                rows[key] = Row(draw(st.integers(0, 2))) if deed == "change" else row
        for key in draw(st.sets(st.integers(1, 4), max_size=1)) - rows.keys():
            if name not in HANGS_ON or parents:
                rows[key] = Row(draw(st.integers(0, 2)), draw(st.sampled_from(sorted(parents))) if parents else None)
        result[name] = rows
    return result


def facts_of(before: World, after: World, now: World) -> dict[str, dict[Key, Fact]]:
    """What a comparison would find: the rows that were there before and are not the same now."""

    def number(row: Row | None) -> int | None:
        return None if row is None else hash(row)

    facts: dict[str, dict[Key, Fact]] = {}
    for name in NAMES:
        for key, row in before[name].items():
            if now[name].get(key) != row:
                links: tuple[Key | None, ...] = () if name not in HANGS_ON else ((str(row.of),) if row.of is not None else None,)
                fact = Fact(hash(row), number(after[name].get(key)), number(now[name].get(key)), links)
                facts.setdefault(name, {})[str(key),] = fact
    return facts


def carried_out(plan: Plan, before: World, now: World) -> World:
    result = {name: dict(rows) for name, rows in now.items()}
    for name in NAMES:
        for (key,) in (*plan.write.get(name, ()), *plan.put_back.get(name, {})):
            result[name][int(key)] = before[name][int(key)]
    return result


def spots(plan: Plan) -> set[tuple[str, Key]]:
    planned = {(name, key) for part in (plan.write, plan.put_back) for name, keys in part.items() for key in keys}
    return planned | {(one.table, one.key) for one in plan.conflicts}


wishes = st.one_of(
    st.just(Wish()),
    st.builds(lambda names: Wish(tuple(names)), st.lists(st.sampled_from(NAMES), unique=True, max_size=2)),
    st.builds(lambda keys: Wish(("thing",), frozenset((str(key),) for key in keys)), st.sets(st.integers(1, 4))),
    st.builds(lambda names: Wish(tuple(names), window=True), st.lists(st.sampled_from(NAMES), unique=True, max_size=1)),
)


@given(worlds(), wishes)
def test_only_rows_that_are_as_the_accident_left_them_are_written(states: tuple[World, World, World], wish: Wish) -> None:
    before, after, now = states
    facts = facts_of(before, after, now)
    plan = decide(SHAPE, POLICY, facts, wish)
    for name, keys in plan.write.items():
        for (key,) in keys:
            assert int(key) not in after[name]
            assert int(key) not in now[name]
    for name, rows in plan.put_back.items():
        for (key,), expected in rows.items():
            assert now[name][int(key)] == after[name][int(key)] != before[name][int(key)]
            assert expected == hash(after[name][int(key)])
    assert "shelf" not in plan.tables
    touched = {(name, (str(key),)) for name in NAMES for key, row in before[name].items() if after[name].get(key) != row}
    assert spots(plan) <= touched
    assert spots(plan) <= {(name, key) for name, rows in facts.items() for key in rows}


@given(worlds(), wishes)
def test_what_comes_back_hangs_together(states: tuple[World, World, World], wish: Wish) -> None:
    before, after, now = states
    result = carried_out(decide(SHAPE, POLICY, facts_of(before, after, now), wish), before, now)
    for child, parent in HANGS_ON.items():
        for key, row in result[child].items():
            assert row.of is None or row.of in result[parent], (child, key)
    # what hung on a row that came back, and was deleted with it, came back too or is named
    plan = decide(SHAPE, POLICY, facts_of(before, after, now), wish)
    for child, parent in HANGS_ON.items():
        for key, row in before[child].items():
            is_lost = key not in after[child] and key not in now[child] and child not in POLICY.follows
            if is_lost and (str(row.of),) in plan.write.get(parent, ()):
                assert (child, (str(key),)) in spots(plan)


@given(worlds())
def test_every_row_of_the_accident_is_brought_back_or_named(states: tuple[World, World, World]) -> None:
    before, after, now = states
    plan = decide(SHAPE, POLICY, facts_of(before, after, now), Wish())
    for name in set(NAMES) - POLICY.follows:
        for key, row in before[name].items():
            if after[name].get(key) != row and now[name].get(key) != row:
                assert (name, (str(key),)) in spots(plan)


@given(worlds(), wishes)
def test_a_second_time_nothing_is_left_to_do(states: tuple[World, World, World], wish: Wish) -> None:
    before, after, now = states
    result = carried_out(decide(SHAPE, POLICY, facts_of(before, after, now), wish), before, now)
    assert decide(SHAPE, POLICY, facts_of(before, after, result), wish).rows == 0


def fact(before: int = 1, after: int | None = None, now: int | None = None, of: str | None = None, **more: Any) -> Fact:
    return Fact(before, after, now, () if of is None else ((of,),), **more)


def decided(facts: Mapping[str, Mapping[Any, Fact]], wish: Wish | None = None, **more: Any) -> Plan:
    return decide(SHAPE, POLICY, facts, wish or Wish(), **more)


@pytest.mark.parametrize(
    ("after", "now", "fate"),
    [
        (None, None, "lost"),
        (None, 2, "there again"),
        (2, 2, "damaged"),
        (2, 3, "changed since"),
        (2, None, "removed since"),
        (1, 3, "untouched"),
        (1, None, "untouched"),
    ],
)
def test_what_became_of_a_row(after: int | None, now: int | None, fate: str) -> None:
    assert fate_of(fact(1, after, now)) == fate


def test_who_is_taken_keeps_everything_that_hangs_on_it_away() -> None:
    facts = {
        "box": {("1",): fact(), ("2",): fact()},
        "thing": {("1",): fact(of="1"), ("2",): fact(of="2")},
        "label": {("1",): fact(of="1")},
    }
    plan = decided(facts, collisions={("box", ("1",)): "its name is taken"})
    assert plan.write == {"box": [("2",)], "thing": [("2",)]}
    assert plan.conflicts == [
        Conflict("box", ("1",), "its name is taken"),
        Conflict(
            "label",
            ("1",),
            "it hangs on thing 1, which stays as it is: it hangs on box 1, which stays as it is: its name is taken",
        ),
        Conflict("thing", ("1",), "it hangs on box 1, which stays as it is: its name is taken"),
    ]


def test_a_condition_brings_what_hangs_on_its_rows_and_what_they_hang_on() -> None:
    facts = {
        "box": {("1",): fact(), ("2",): fact()},
        "thing": {("1",): fact(of="1"), ("2",): fact(of="1"), ("3",): fact(of="2")},
        "label": {("1",): fact(of="1"), ("3",): fact(of="3")},
    }
    plan = decided(facts, Wish(("thing",), frozenset({(("1"),)})))
    # the box comes with all of its things: half a box is none
    assert plan.write == {"box": [("1",)], "thing": [("1",), ("2",)], "label": [("1",)]}
    assert plan.left == {"box": 1, "thing": 1, "label": 1}


def test_what_was_deleted_since_by_somebody_else_is_not_brought_back_for_what_hung_on_it() -> None:
    plan = decided({"box": {("1",): fact(1, 1, None)}, "thing": {("1",): fact(of="1")}})
    assert plan.conflicts == [Conflict("thing", ("1",), "it hangs on box 1, which was deleted since")]


def test_what_may_rightly_be_gone_stays_away_when_what_it_hung_on_was_changed_since() -> None:
    facts = {"box": {("1",): fact(1, 1, 2)}, "note": {("1",): fact(of="1"), ("2",): fact(of="2")}}
    plan = decided(facts)
    assert plan.write == {"note": [("2",)]}
    assert [one.key for one in plan.conflicts] == [("1",)]


def test_between_two_moments_only_deletions_count_where_nothing_is_deleted_otherwise() -> None:
    facts = {
        "box": {("1",): fact(), ("2",): fact(1, 2, 2)},
        "note": {("1",): fact(of="1"), ("2",): fact(of="9")},
    }
    plan = decided(facts, Wish(window=True))
    assert (plan.write, plan.put_back) == ({"box": [("1",)], "note": [("1",)]}, {})
    plan = decided(facts, Wish(("box", "note"), window=True))
    assert (plan.write, plan.put_back) == ({"box": [("1",)], "note": [("1",), ("2",)]}, {"box": {("2",): 2}})


@pytest.mark.parametrize(
    ("counts", "now", "correction"),
    [
        (Counts((10, 4), (0, 0), 7, 7, 7), 3, ((10, 4), 7)),  # the accident emptied both, two were counted since
        (Counts((10, 4), (10, 1), 7, 7, 7), 2, ((0, 3), 7)),
        (Counts((10, 4), None, 7, None, 8), 2, ((10, 4), 8)),  # deleted, and there again
        (Counts((10, 4), (0, 0), 7, 7, 8), 3, None),  # its other columns were changed since
    ],
)
def test_counters_lose_the_accidents_part_and_keep_what_was_counted_since(
    counts: Counts, now: int, correction: tuple[tuple[int, ...], int] | None
) -> None:
    after = None if counts.after is None else 2
    plan = decided({"lone": {("1",): fact(1, after, now, counts=counts)}})
    assert plan.correct == ({"lone": {("1",): correction}} if correction else {})
    assert len(plan.conflicts) == (correction is None)
    between = decided({"lone": {("1",): fact(1, after, now, counts=counts)}}, Wish(("lone",), window=True))
    assert (between.correct, len(between.conflicts)) == ({}, 1)


def test_tables_come_after_what_they_hang_on() -> None:
    assert parents_first(SHAPE, NAMES) == ["box", "lone", "note", "shelf", "thing", "label"]
    assert parents_first(SHAPE, NAMES, before_others=("lone",))[0] == "lone"
    assert with_ancestors(SHAPE, ["label", "unknown"]) == {"label", "thing", "box"}
