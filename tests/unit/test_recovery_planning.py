"""A recovery in place, decided from what is seen: every step interrupted, gone on with, undone, and started over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from securecart.errors import RecoveryRefused
from securecart.ops.recovery.model import Beat, Gap, Moment
from securecart.ops.recovery.nodes import Position, Slot
from securecart.ops.recovery.planning import (
    ASIDE,
    Note,
    Place,
    Seen,
    Step,
    Told,
    after,
    is_open,
    may_be_opened,
    put_back,
    stepped_back,
    to_abandon,
    to_recover,
)
from securecart.ops.recovery.segments import Segment
from securecart.ops.recovery.starting import Begin, decide

AT = datetime(2026, 11, 30, 14, 5, tzinfo=UTC)
PROFILES = {"single": ("postgres",), "ha": ("patroni-1", "patroni-2", "patroni-3")}


class Cut(Exception):
    """The recovery's process is killed."""


class World:
    """A home: what is in each node's folders, what runs, whether the shop is open. Each step does here what it does there."""

    def __init__(self, profile: str, *, up: bool = True) -> None:
        self.profile = profile
        self.nodes: tuple[str, ...] = PROFILES[profile]
        self.live: dict[str, str] = dict.fromkeys(self.nodes, "old")
        self.kept: dict[str, str] = {}
        self.aside: dict[str, str] = {}
        self.scope = "old"
        self.was_up = up
        self.runs = self.open = self.supervised = up
        self.note: Note | None = None

    def seen(self) -> Seen:
        stamped = self.note is not None
        places = tuple(
            Place(node, node in self.live, stamped and node in self.kept, stamped and node in self.aside) for node in self.nodes
        )
        return Seen(self.profile, "", places, self.note, "then", Moment(at=AT), 100, 10**12)

    def do(self, step: Step, within: Callable[[str], None] = lambda _: None) -> None:
        """The step, with `within` called where it could be cut off half-way."""
        deeds: dict[str, Callable[[], None]] = {
            "restore": lambda: self.aside.update({self.nodes[0]: "new"}),
            "copy": lambda: self.aside.update(dict.fromkeys(self.nodes, "new")),
            "close": lambda: setattr(self, "open", False),
            "stop": lambda: setattr(self, "runs", False),
            "exchange": lambda: self.exchange(step.node, within),
            "put back": lambda: self.put_back(step.node, within),
            "start": lambda: self.start(within),
            "open": lambda: setattr(self, "open", self.runs),
            "reopen": self.reopen,
            "discard": self.discard,
            "finish": lambda: setattr(self, "note", None),
        }
        deeds.get(step.do, lambda: None)()
        self.check()

    def exchange(self, node: str, within: Callable[[str], None]) -> None:
        assert not self.runs
        if node in self.aside:
            if node not in self.kept and node in self.live:
                self.kept[node] = self.live.pop(node)
                within("between the renames")
            self.live[node] = self.aside.pop(node)

    def put_back(self, node: str, within: Callable[[str], None]) -> None:
        assert not self.runs
        if node in self.kept:
            if node in self.live:
                self.aside[node] = self.live.pop(node)
                within("between the renames")
            self.live[node] = self.kept.pop(node)
        self.scope = "old"

    def start(self, within: Callable[[str], None]) -> None:
        self.scope = "new" if self.kept else "old"
        within("before it runs")
        self.runs = self.supervised

    def reopen(self) -> None:
        self.open = self.runs
        if self.note is not None:
            self.note = stepped_back(self.note)

    def discard(self) -> None:
        self.aside, self.note = {}, None

    def check(self) -> None:
        """What must be true at every moment."""
        assert {*self.live.values(), *self.kept.values()} >= {"old"}
        assert all(self.kept.get(node, self.live.get(node)) == "old" for node in self.nodes), "the old data are whole somewhere"
        if self.runs:
            assert len(set(self.live.values())) == 1, "no old node beside a restored one"
            assert set(self.live) == set(self.nodes)
            assert {self.scope} == set(self.live.values()), "what the nodes agreed on is about this database"
        assert not self.open or self.runs

    def up(self) -> None:
        """`securecart up` after everything had ended."""
        self.runs = self.open = False
        for step in may_be_opened(self.seen()):
            self.do(step)
        if self.note is not None and not is_open(self.note):
            self.scope, self.note = "old", stepped_back(self.note)
        self.supervised = self.runs = self.open = True
        self.check()

    def begin(self) -> list[Step]:
        steps = to_recover(self.seen())
        if self.note is None:
            self.note = Note("stamp", "then", Moment(at=AT), self.profile, self.nodes, AT, was_up=self.supervised)
        return steps

    def recover(self, cut_at: str = "") -> None:
        """Until done, or killed right before, within or right after a step."""
        for step in self.begin():
            assert self.note is not None
            self.note = msgspec.structs.replace(self.note, begun=step.name)

            def within(where: str, step: Step = step) -> None:
                if cut_at == f"{step.name}: {where}":
                    raise Cut

            if cut_at == f"{step.name}: before":
                raise Cut
            self.do(step, within)
            if cut_at == f"{step.name}: after":
                raise Cut
            if self.note is not None:
                self.note = after(self.note, step, Told(step.name, "done", 0.1))
            if cut_at == f"{step.name}: noted":
                raise Cut

    def abandon(self) -> None:
        steps = to_abandon(self.seen())
        assert self.note is not None
        self.note = msgspec.structs.replace(self.note, abandoned=True)
        for step in steps:
            self.do(step)


def cuts(profile: str) -> list[str]:
    """Every point at which a recovery may be cut off."""
    found = []
    for step in to_recover(World(profile).seen()):
        points = ["before", "after", "noted"]
        points += ["between the renames"] if step.do == "exchange" else ["before it runs"] if step.do == "start" else []
        found += [f"{step.name}: {point}" for point in points]
    return found


def cut_off(profile: str) -> Iterator[tuple[str, World]]:
    for point in cuts(profile):
        world = World(profile)
        with pytest.raises(Cut):
            world.recover(point)
        yield point, world


@pytest.mark.parametrize("profile", PROFILES)
def test_a_recovery_that_is_not_cut_off_puts_the_restored_database_in_place_and_keeps_the_old(profile: str) -> None:
    world = World(profile)
    world.recover()
    assert set(world.live.values()) == {"new"}
    assert world.kept == dict.fromkeys(world.nodes, "old")
    assert (world.aside, world.scope, world.open) == ({}, "new", True)
    assert world.note is None


@pytest.mark.parametrize("profile", PROFILES)
def test_cut_off_anywhere_the_same_command_goes_on(profile: str) -> None:
    for point, world in cut_off(profile):
        if world.note is None:  # it was done
            continue
        world.recover()
        assert set(world.live.values()) == {"new"}, point
        assert (world.kept, world.open) == (dict.fromkeys(world.nodes, "old"), True), point


@pytest.mark.parametrize("profile", PROFILES)
def test_cut_off_anywhere_before_the_shop_sells_again_it_is_undone_and_nothing_is_left(profile: str) -> None:
    undone = 0
    for point, world in cut_off(profile):
        if world.note is None or is_open(world.note):
            with pytest.raises(RecoveryRefused, match=r"already|none to abandon"):
                to_abandon(world.seen())
            continue
        world.abandon()
        undone += 1
        assert set(world.live.values()) == {"old"}, point
        assert (world.kept, world.aside, world.scope, world.open) == ({}, {}, "old", True), point
    assert undone > 25


@pytest.mark.parametrize("profile", PROFILES)
def test_cut_off_anywhere_a_start_of_the_home_runs_one_database_and_the_recovery_can_go_on(profile: str) -> None:
    for point, world in cut_off(profile):
        sold_on = world.note is None or is_open(world.note)
        world.up()
        assert set(world.live.values()) == {"new" if sold_on else "old"}, point
        if world.note is None:
            continue
        world.recover()
        assert set(world.live.values()) == {"new"}, point
        assert set(world.kept.values()) == {"old"}, point


@pytest.mark.parametrize("profile", PROFILES)
def test_an_undo_that_is_cut_off_is_undone_by_the_next(profile: str) -> None:
    for point, whole in cut_off(profile):
        if whole.note is None or is_open(whole.note):
            continue
        for stop_after in range(len(to_abandon(whole.seen()))):
            world = World(profile)
            with pytest.raises(Cut):
                world.recover(point)
            assert world.note is not None
            steps = to_abandon(world.seen())
            world.note = msgspec.structs.replace(world.note, abandoned=True)
            for step in steps[:stop_after]:
                world.do(step)
            with pytest.raises(RecoveryRefused, match="abandon"):
                to_recover(world.seen())
            world.abandon()
            assert (set(world.live.values()), world.kept, world.open) == ({"old"}, {}, True), (point, stop_after)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_step_that_fails_is_taken_back_and_what_was_restored_aside_stays_good(profile: str) -> None:
    for point, world in cut_off(profile):
        if world.note is None or is_open(world.note):
            continue
        for step in put_back(world.seen()):
            world.do(step)
        world.note = stepped_back(world.note)
        assert (set(world.live.values()), world.kept, world.open) == ({"old"}, {}, True), point
        assert set(world.note.done) <= set(ASIDE)
        world.recover()
        assert set(world.live.values()) == {"new"}, point


def test_what_is_refused_says_what_to_do_first() -> None:
    fine = World("ha").seen()
    for changed, word in (
        ({"profile": "regions"}, "up --profile ha"),
        ({"elsewhere": "db.example:5432"}, "db.example:5432"),
        ({"free_bytes": 400_000_000, "database_bytes": 520_000_000}, "2,060 MB, and 400 MB are free"),
    ):
        with pytest.raises(RecoveryRefused, match=word):
            to_recover(msgspec.structs.replace(fine, **changed))
    with pytest.raises(RecoveryRefused, match="none to abandon"):
        to_abandon(fine)


def test_another_moment_is_refused_while_one_is_unfinished_and_the_same_words_mean_the_same_moment() -> None:
    world = World("single")
    with pytest.raises(Cut):
        world.recover("close: noted")
    other = msgspec.structs.replace(world.seen(), asked="now", moment=Moment(at=AT + timedelta(hours=1)))
    with pytest.raises(RecoveryRefused, match=r"--at 'then'.*recover abandon"):
        to_recover(other)
    again = msgspec.structs.replace(world.seen(), moment=Moment(at=AT + timedelta(hours=1)))
    assert to_recover(again)[0].do == "note"
    assert world.note is not None
    overtaken = msgspec.structs.replace(again, note=msgspec.structs.replace(world.note, timeline=4), timeline=4)
    assert to_recover(overtaken)[0].do == "restore", "another node has begun the timeline that the restored one has"
    grown = msgspec.structs.replace(again, profile="ha")
    with pytest.raises(RecoveryRefused, match="profile was changed to ha"):
        to_recover(grown)


def test_after_going_back_past_a_recovery_the_archiver_goes_on_where_the_timeline_before_it_ended() -> None:
    segment = 16 * 1024 * 1024
    fork = 4 * segment + 500
    position = Position(AT, 3, fork + 100_000)
    slot = Slot(there=True, lost=False, restart=4 * segment, oldest=4)
    left = (Segment(6, 2), True), Beat(AT, 2, 6 * segment + 70)
    assert decide(*left, position, {1: fork}, slot) == Begin(Segment(4, 1))
    gone = decide(*left, position, {1: fork}, msgspec.structs.replace(slot, oldest=5, restart=5 * segment))
    assert gone == Begin(Segment(5, 3), Gap(3, fork, 5 * segment, AT, AT))
