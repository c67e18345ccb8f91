"""Global tables without engines: two toy regions, a replicator that is slow, forgetful and killed, and they agree in the end."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securecart.ops.global_tables.applying import marked
from securecart.ops.global_tables.model import Apply, Change, Ledger, Look, Mark, Version
from securecart.stores.dynamodb.items import MARK, Item, Key, bare, digest, same

REGIONS = ("a", "b")
KEYS = [Key("t", f'{{"k":{{"S":"{name}"}}}}') for name in "xyz"]


class ToyRegion:
    """A table with a stream: items by key, and a record of each change."""

    def __init__(self, name: str, clock: Callable[[], int]) -> None:
        self.name = name
        self.items: dict[Key, dict[str, Any]] = {}
        self.stream: list[Change] = []
        self._clock = clock

    def write(self, key: Key, item: dict[str, Any] | None) -> None:
        old = self.items.get(key)
        if old == item:
            return  # an engine tells nothing of a write that changes nothing
        if item is None:
            del self.items[key]
        else:
            self.items[key] = item
        place = (f"{len(self.stream):06}", "shard")
        self.stream.append(
            Change(self.name, key, self._clock(), place, bare(old), bare(item), old_mark=Mark.read(old), new_mark=Mark.read(item))
        )

    def holds(self, key: Key, expected: Item | None) -> bool:
        return same(bare(self.items.get(key)), expected)


class Flight:
    """A step under way: it reaches the region, and its answer comes back, whenever the test says so."""

    def __init__(self, step: Apply, nonce: str) -> None:
        self.step, self.nonce = step, nonce
        self.stage = "sent"
        self.outcome = "lost"

    def advance(self, region: ToyRegion) -> None:
        """The next thing that happens at the region: the only write, or a delete's announcement and then the delete."""
        step = self.step
        if self.stage == "sent" and not region.holds(step.key, step.expected):
            self.outcome = "there" if region.holds(step.key, step.image) else "refused"
        elif self.stage == "sent" and step.image is None and step.expected is None:
            self.outcome = "there"
        elif self.stage == "sent" and step.image is None:
            item = region.items[step.key]
            region.write(step.key, marked(bare(item) or {}, Mark(step.version, self.nonce, digest(step.expected))))
            self.stage = "announced"
            return
        elif self.stage == "sent":
            region.write(step.key, marked(step.image or {}, Mark(step.version, self.nonce)))
            self.outcome = "written"
        elif region.holds(step.key, step.expected) and (mark := Mark.read(region.items[step.key])) and mark.nonce == self.nonce:
            region.write(step.key, None)
            self.outcome = "written"
        else:
            self.outcome = "there" if region.items.get(step.key) is None else "refused"
        self.stage = "done"


class World:
    """Both regions and the replicator between them; `do` lets one thing happen, chosen by a word and a number."""

    def __init__(self, skew_us: int = 0) -> None:
        self.now = 1_000_000
        self.regions = {
            name: ToyRegion(name, lambda behind=behind: self._tick() - behind)  # type: ignore[misc]
            for name, behind in zip(REGIONS, (0, skew_us), strict=True)
        }
        self.things = 0
        self.content = 0
        self.nonces = 0
        self.zombies: list[Flight] = []
        self.checkpoint = dict.fromkeys(REGIONS, 0)
        self.begin()

    def begin(self) -> None:
        """A replicator starts, and knows nothing but its checkpoints."""
        self.ledger = Ledger(REGIONS)
        self.read_past = dict.fromkeys(REGIONS, 0)
        self.read_to = dict(self.checkpoint)
        self.flights: list[Flight] = []
        self.looks: dict[Key, dict[str, Item | None]] = {}
        self.looked: dict[Key, set[str]] = {}

    def do(self, what: str, number: int) -> None:
        self.things += 1
        getattr(self, what)(number)

    def put(self, number: int) -> None:
        region, key = self._at(number)
        self.content += 1
        region.write(key, {**key.item(), "value": {"N": str(self.content)}})

    def update(self, number: int) -> None:
        region, key = self._at(number)
        self.content += 1
        region.write(key, {**region.items.get(key, key.item()), "value": {"N": str(self.content)}})

    def delete(self, number: int) -> None:
        region, key = self._at(number)
        if key in region.items:
            region.write(key, None)

    def read(self, number: int) -> None:
        """The stream of one region is read, in part or to its end."""
        name = REGIONS[number % 2]
        stream, begin = self.regions[name].stream, self.read_to[name]
        end = len(stream) if number % 3 else min(len(stream), begin + 1 + number // 6)
        for change in stream[begin:end]:
            self.ledger.hear(change)
        self.read_to[name] = end
        if end == len(stream):
            self.read_past[name] = self.things
            self.ledger.read_past("t", min(self.read_past.values()))
            for key in list(self.looks):
                self.looked[key].add(name)
                if len(self.looked[key]) == len(REGIONS):
                    self.ledger.settle(key, self.looks.pop(key))

    def step(self, number: int) -> None:
        """The replicator takes up a key."""
        key = KEYS[number % len(KEYS)]
        step = self.ledger.next_step(key, self.things)
        if isinstance(step, Apply):
            self.nonces += 1
            self.ledger.sending(step, str(self.nonces))
            self.flights.append(Flight(step, str(self.nonces)))
        elif isinstance(step, Look):
            self.looks[key] = {name: self.regions[name].items.get(key) for name in REGIONS}
            self.looked[key] = set()
            self.ledger.looking(key)

    def land(self, number: int) -> None:
        """A request gets further: it is carried out, or its answer is heard."""
        if not self.flights:
            return
        flight = self.flights[number % len(self.flights)]
        if flight.stage != "done":
            flight.advance(self.regions[flight.step.region])
            return
        self.flights.remove(flight)
        answers = {"written": self.ledger.applied, "there": self.ledger.was_there, "refused": self.ledger.refused}
        answers[flight.outcome](flight.step, flight.nonce)

    def lose(self, number: int) -> None:
        """An answer is lost; the request may still be carried out, later."""
        if self.flights:
            flight = self.flights.pop(number % len(self.flights))
            self.ledger.refused(flight.step, flight.nonce)
            self._let_go([flight])

    def haunt(self, number: int) -> None:
        """What nobody waits for any more is carried out."""
        if self.zombies:
            flight = self.zombies[number % len(self.zombies)]
            flight.advance(self.regions[flight.step.region])
            if flight.stage == "done":
                self.zombies.remove(flight)

    def remember(self, _: int) -> None:
        """The checkpoint is written: before it everything is everywhere."""
        for name in REGIONS:
            first = self.ledger.oldest_place(name, "t")
            self.checkpoint[name] = self.read_to[name] if first is None else int(first[0])

    def kill(self, number: int) -> None:
        """The replicator dies, and another begins at the checkpoint; what was sent arrives, or does not."""
        self._let_go(self.flights[number % 2 :])
        self.begin()

    def quiet(self) -> None:
        """Nobody writes any more, and the replicator has all the time it needs."""
        while self.zombies:
            self.haunt(0)
        for _ in range(400):
            for number in range(6):
                self.do("read", number * 2 + 1 if number % 2 else number * 2 + 4)
                self.do("step", number)
                self.do("land", number)
            if not self.ledger.entries and all(self.read_to[name] == len(self.regions[name].stream) for name in REGIONS):
                return
        pytest.fail(f"no quiet: {self.ledger.entries}")

    def expected(self, key: Key) -> Item | None:
        """What the application wrote last, in whichever region."""
        written = [
            change for region in self.regions.values() for change in region.stream if change.key == key and change.echo is None
        ]
        return max(written, key=lambda change: change.time_us).new if written else None

    def _let_go(self, flights: list[Flight]) -> None:
        self.zombies += [flight for flight in flights if flight.stage != "done"]

    def _at(self, number: int) -> tuple[ToyRegion, Key]:
        return self.regions[REGIONS[number % 2]], KEYS[number // 2 % len(KEYS)]

    def _tick(self) -> int:
        self.now += 10
        return self.now


OF_SHOPPERS = ("put", "update", "delete")
OF_THE_REPLICATOR = ("read", "read", "step", "step", "land", "land", "land", "remember")
MISHAPS = ("lose", "haunt", "kill")
ACTIONS = st.lists(
    st.tuples(st.sampled_from((*OF_SHOPPERS, *OF_THE_REPLICATOR, *MISHAPS)), st.integers(0, 11)), min_size=1, max_size=60
)


def agree(world: World) -> None:
    for key in KEYS:
        here, there = (bare(world.regions[name].items.get(key)) for name in REGIONS)
        assert here == there


@settings(max_examples=600, deadline=None)
@given(ACTIONS)
def test_both_regions_end_with_the_newest_write(actions: list[tuple[str, int]]) -> None:
    world = World()
    for what, number in actions:
        world.do(what, number)
    world.quiet()
    agree(world)
    for key in KEYS:
        assert bare(world.regions["a"].items.get(key)) == world.expected(key)


@settings(max_examples=300, deadline=None)
@given(ACTIONS, st.sampled_from((15, 200, 5_000)))
def test_both_regions_agree_even_when_a_clock_is_late(actions: list[tuple[str, int]], skew_us: int) -> None:
    world = World(skew_us)
    for what, number in actions:
        world.do(what, number)
    world.quiet()
    agree(world)


def test_thousands_of_long_stories_end_well() -> None:
    chance = random.Random(4)
    for story in range(2_500):
        world = World()
        busy = chance.choice((1, 3))
        words = (*OF_SHOPPERS * busy, *OF_THE_REPLICATOR * chance.choice((1, 3)), *MISHAPS[: chance.randrange(4)])
        for _ in range(chance.choice((20, 80))):
            world.do(chance.choice(words), chance.randrange(12))
        world.quiet()
        agree(world)
        for key in KEYS:
            assert bare(world.regions["a"].items.get(key)) == world.expected(key), f"story {story}"


def test_a_write_that_comes_back_is_carried_no_further() -> None:
    world = World()
    world.put(0)
    world.quiet()
    assert [len(world.regions[name].stream) for name in REGIONS] == [1, 1]
    assert Mark.read(world.regions["b"].items[KEYS[0]]) is not None
    world.update(1)  # leaves the mark in place, and is the application's all the same
    world.quiet()
    assert [len(world.regions[name].stream) for name in REGIONS] == [2, 2]
    agree(world)


def test_a_conflict_is_counted_when_both_wrote_without_knowing() -> None:
    world = World()
    world.put(0)
    world.quiet()
    world.put(1)
    world.quiet()  # b wrote after it had a's write: no conflict
    world.put(0)
    world.put(1)
    first, second = (world.regions[name].stream[-1] for name in REGIONS)
    assert world.ledger.hear(first) is None
    assert world.ledger.hear(second) == Version(first.time_us, "a")


def test_the_same_write_in_both_regions_is_no_conflict() -> None:
    world = World()
    world.put(0)
    world.quiet()
    world.delete(0)
    world.delete(1)
    assert [world.ledger.hear(world.regions[name].stream[-1]) for name in REGIONS] == [None, None]
    world.quiet()
    agree(world)


def test_of_two_writes_in_one_moment_the_greater_region_wins() -> None:
    assert Version(5, "b") > Version(5, "a")
    assert Version(6, "a") > Version(5, "b")


def test_what_overwrote_a_version_counts_as_later_than_it() -> None:
    late_clock = World(skew_us=5_000)
    late_clock.put(0)
    late_clock.quiet()
    late_clock.put(1)  # by b's clock this was before a's write, which b had
    late_clock.quiet()
    agree(late_clock)
    assert bare(late_clock.regions["a"].items[KEYS[0]]) == {**KEYS[0].item(), "value": {"N": "2"}}


@pytest.mark.parametrize("winner", REGIONS)
def test_what_a_region_has_lost_as_a_whole_is_no_removal(winner: str) -> None:
    """A comparison finds an item in one region only: it is kept, unless a stream tells that it was removed."""
    item = {**KEYS[0].item(), "value": {"N": "1"}}
    for gone, kept in ((False, item), (True, None)):
        ledger = Ledger(REGIONS)
        ledger.suspect(KEYS[0], Version(5, winner), gone=gone)
        assert isinstance(ledger.next_step(KEYS[0], 0.0), Look)
        ledger.looking(KEYS[0])
        ledger.settle(KEYS[0], {"a": None, "b": item})
        step = ledger.next_step(KEYS[0], 0.0)
        assert isinstance(step, Apply)
        assert (step.region, step.image) == (("a", kept) if kept else ("b", None))


def test_a_mark_is_read_as_it_was_written() -> None:
    mark = Mark(Version(12, "b"), "0f", "beef")
    assert Mark.read(marked({"k": {"S": "x"}}, mark)) == mark
    assert Mark.read({MARK: {"S": "what a shop might write"}}) is None
    assert Mark.read({"k": {"S": "x"}}) is None
    assert Mark.read(None) is None


def test_a_delete_after_an_update_of_an_announced_item_is_the_applications() -> None:
    key, announced = KEYS[0], Mark(Version(5, "a"), "1", digest({**KEYS[0].item(), "value": {"N": "1"}}))
    old = {**key.item(), "value": {"N": "2"}}
    assert Change("b", key, 9, ("1", "s"), old, None, old_mark=announced).echo is None
    old["value"] = {"N": "1"}
    assert Change("b", key, 9, ("1", "s"), old, None, old_mark=announced).echo == announced
