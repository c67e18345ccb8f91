"""What the graph knows after orders were taught: the same as a replay in memory, in whatever batches, however often."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from securecart import fraud
from securecart.fraud import Attempt, Known, Lesson, Memory
from securecart.stores.graph import Graph
from tests.graphs import running

WITHIN_S = 5.0
DAY = 86_400_000_000
NOW = 1_700_000_000_000_000


@pytest.fixture(scope="module")
async def graph(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Graph]:
    folder: Path = tmp_path_factory.mktemp("graph") / "data"
    async with running(folder, **{"memory-mb": 256}) as (_, client):
        yield client


def few(name: str, count: int) -> st.SearchStrategy[str]:
    return st.integers(1, count).map(lambda number: f"{name}{number}")


ATTEMPTS = st.builds(
    Attempt,
    at=st.integers(0, 40 * DAY),
    account=few("account:", 5),
    amount_minor=st.integers(0, 10**12),
    currency=st.just("EUR"),
    device=st.none() | few("d", 4),
    card=st.none() | few("card \"'&+%é", 5),
    address=st.none() | few("a", 4),
    network=st.none() | few("10.0.", 3),
    email=st.none() | few("e", 5),
)


class Story(msgspec.Struct):
    """Orders by time, which of them are fraud in the end, and the batches in which they are taught."""

    lessons: list[Lesson]
    batches: list[list[Lesson]]
    asked: list[Attempt]


@st.composite
def stories(draw: st.DrawFn) -> Story:
    attempts = draw(st.lists(ATTEMPTS, max_size=14, unique_by=lambda attempt: attempt.at))
    lessons = [
        Lesson(number, f"N{number}", "paid", attempt, draw(st.sampled_from([None, NOW])))
        for number, attempt in enumerate(attempts)
    ]
    batches = []
    # what was taught of an order before what is true in the end: not yet marked, marked by mistake, another status
    for _ in range(draw(st.integers(0, 4))):
        some = draw(st.lists(st.sampled_from(lessons), max_size=10)) if lessons else []
        batches.append(
            [
                msgspec.structs.replace(
                    one, status=draw(st.sampled_from(["paid", "refunded"])), fraud_at=draw(st.sampled_from([None, NOW]))
                )
                for one in some
            ]
        )
    cut = draw(st.integers(0, len(lessons)))
    final = draw(st.permutations(lessons))
    asked = draw(st.lists(ATTEMPTS.map(lambda one: msgspec.structs.replace(one, at=one.at + 40 * DAY)), min_size=1, max_size=4))
    return Story(lessons, [*batches, final[:cut], final[cut:]], asked)


def remembered(story: Story) -> list[Known]:
    memory = Memory()
    for lesson in sorted(story.lessons, key=lambda lesson: lesson.attempt.at):
        memory.learn(lesson.attempt)
    for lesson in story.lessons:
        if lesson.fraud_at is not None:
            memory.mark(lesson.attempt)
    return [Known(memory.past(attempt), None) for attempt in story.asked]


def own(lesson: Lesson, mine: str) -> Lesson:
    """The same lesson of orders and things that no other story is about."""
    return msgspec.structs.replace(lesson, number=f"{lesson.number}-{mine}", attempt=of(lesson.attempt, mine))


def of(attempt: Attempt, mine: str) -> Attempt:
    return msgspec.structs.replace(attempt, **{kind: f"{key} {mine}" for kind, key in attempt.things().items()})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=stories())
async def test_the_graph_knows_what_a_replay_remembers(graph: Graph, story: Story) -> None:
    mine = secrets.token_hex(4)
    for batch in story.batches:
        await fraud.teach(graph, [own(lesson, mine) for lesson in batch])
    asked = [of(attempt, mine) for attempt in story.asked]
    assert await fraud.ask_past(graph, asked, within_s=WITHIN_S) == remembered(story)


def an_order(number: str, account: str, at: int, *, fraud_at: int | None = None, **things: str) -> Lesson:
    attempt = Attempt(at=at, account=account, amount_minor=100, currency="EUR", **things)  # type: ignore[arg-type]
    return Lesson(at, number, "paid", attempt, fraud_at)


async def test_a_ring_is_shown_around_an_order_and_walked_on(graph: Graph) -> None:
    await fraud.teach(
        graph,
        [
            an_order("R1", "ada", 1, device="phone", card="visa", network="n"),
            an_order("R2", "bob", 2, device="phone", card="amex", network="n", fraud_at=9),
            an_order("R3", "cy", 3, card="amex", address="door", network="n"),
            an_order("R4", "dot", 4, address="door"),
        ],
    )
    view = await fraud.ring_around(graph, "order", "R1", depth=3)
    assert view.nodes[0].key == "order:R1"
    shown = {node.key: node for node in view.nodes}
    assert set(shown) == {"order:R1", "account:ada", "device:phone", "card:visa", "network:n", "account:bob", "card:amex"}
    assert (shown["device:phone"].accounts, shown["device:phone"].orders, shown["device:phone"].frauds) == (2, 2, 1)
    assert not shown["device:phone"].is_cut
    assert shown["card:amex"].is_cut, "cy's use of it is a step further"
    assert {frozenset((link.one, link.other)): link.at for link in view.links}[frozenset(("device:phone", "account:bob"))] == 2

    around = await fraud.neighbours_of(graph, "account", "cy")
    assert {node.key for node in around.nodes} == {"account:cy", "card:amex", "address:door", "order:R3"}
    through = await fraud.neighbours_of(graph, "network", "n")
    assert {node.key for node in through.nodes} == {"network:n", "order:R1", "order:R2", "order:R3"}
    assert await fraud.ring_around(graph, "device", "nobody's") == fraud.RingView()


async def test_shared_things_with_known_fraud_come_first(graph: Graph) -> None:
    crowd = [an_order(f"S{number}", f"many-{number}", number, device="window") for number in range(7)]
    await fraud.teach(graph, [*crowd, *(an_order(f"T{number}", f"two-{number}", number, card="stolen") for number in range(2))])
    await fraud.teach(graph, [an_order("T1", "two-1", 1, card="stolen", fraud_at=5)])
    found = {node.key: place for place, node in enumerate(await fraud.rings(graph, limit=500))}
    assert found["card:stolen"] < found["device:window"]


async def test_a_thing_of_thousands_keeps_its_counts_and_leads_nowhere(graph: Graph) -> None:
    lessons = [an_order(f"W{n}", f"wide-{n}", n, device="shared by all", fraud_at=5 if n == 0 else None) for n in range(450)]
    await fraud.teach(graph, lessons)
    await fraud.teach(graph, [an_order("W-again", "wide-7", 500, device="shared by all")])
    (known,) = await fraud.ask_past(graph, [an_order("", "wide-7", 600, device="shared by all").attempt], within_s=WITHIN_S)
    device = known.past.device
    assert (device.orders, device.accounts, device.frauds, known.past.with_device) == (451, 450, 1, 2)
    assert device.recent[0] == 100, "what it counts in a window ends at a hundred"
    assert (known.past.ring.hops, known.past.ring.accounts) == (None, 0)


async def test_an_account_is_as_old_as_it_was_made(graph: Graph) -> None:
    await fraud.teach(graph, [], [fraud.NewAccount("account:old", 77)])
    await fraud.teach(graph, [an_order("old-1", "account:old", 100)])
    old, guest = await fraud.ask_past(
        graph, [an_order("", "account:old", 200).attempt, an_order("", "guest:1", 200).attempt], within_s=WITHIN_S
    )
    assert (old.account_made_at, old.past.account.orders) == (77, 1)
    assert guest == Known()
