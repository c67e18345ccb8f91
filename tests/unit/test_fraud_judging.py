"""The judge: by the model within the budget, by caution beyond it, and never with an error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from securecart import fraud
from securecart.errors import BadInput, StoreAway
from securecart.fraud import Attempt, Judge, Known, Past, Ring, Seen

CHEAP, DEAR = 20_000, 20_001
Answer = Callable[[Sequence[Attempt]], Awaitable[Sequence[Known]]]


class Graph:
    """Answers with what is given, and remembers how often and about how many it was asked."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.groups: list[int] = []

    async def __call__(self, attempts: Sequence[Attempt], /, *, within_s: float) -> Sequence[Known]:
        assert within_s > 0
        self.groups.append(len(attempts))
        return await self._answer(attempts)


def an_attempt(amount_minor: int = CHEAP, currency: str = "USD", account: str = "guest:1") -> Attempt:
    return Attempt(at=1, account=account, amount_minor=amount_minor, currency=currency)


def a_judge(answer: Answer, *, budget_s: float = 5.0) -> tuple[Judge, Graph]:
    graph = Graph(answer)
    return Judge(graph, fraud.default_model(), budget_s=budget_s, caution_amount=200), graph


async def nothing_known(attempts: Sequence[Attempt]) -> Sequence[Known]:
    return [Known()] * len(attempts)


async def away(_: Sequence[Attempt]) -> Sequence[Known]:
    raise StoreAway(store="graph", retry_after=2)


async def silent(_: Sequence[Attempt]) -> Sequence[Known]:
    await asyncio.Event().wait()
    raise AssertionError


async def broken(_: Sequence[Attempt]) -> Sequence[Known]:
    raise KeyError("device")


async def test_the_model_judges_by_what_the_graph_knows() -> None:
    async def caught_before(attempts: Sequence[Attempt]) -> Sequence[Known]:
        return [Known(Past(card=Seen(orders=3, frauds=3), device=Seen(orders=4, frauds=3), ring=Ring(hops=1))) for _ in attempts]

    calm = await a_judge(nothing_known)[0].judge(an_attempt())
    assert (calm.verdict, calm.judged_by) == ("accept", "model")
    alarmed = await a_judge(caught_before)[0].judge(an_attempt())
    assert alarmed.verdict == "decline"
    assert "known fraud with this card: 3" in [reason.words for reason in alarmed.reasons]
    assert alarmed.probability is not None
    assert calm.probability is not None
    assert calm.probability < 0.05
    assert alarmed.probability >= 0.7


async def test_the_age_of_the_account_is_what_the_graph_says() -> None:
    async def made_just_now(attempts: Sequence[Attempt]) -> Sequence[Known]:
        return [Known(account_made_at=0)] * len(attempts)

    young = await a_judge(made_just_now)[0].judge(an_attempt())
    calm = await a_judge(nothing_known)[0].judge(an_attempt())
    assert young.probability is not None
    assert calm.probability is not None
    assert young.probability > calm.probability


@pytest.mark.parametrize("answer", [away, broken, silent])
@pytest.mark.parametrize(
    ("amount_minor", "currency", "verdict"),
    [(CHEAP, "USD", "accept"), (DEAR, "USD", "review"), (200, "JPY", "accept"), (201, "JPY", "review")],
)
async def test_without_an_answer_caution_judges_by_the_amount(
    answer: Answer, amount_minor: int, currency: str, verdict: str
) -> None:
    judge, _ = a_judge(answer, budget_s=0.01)
    said = await judge.judge(an_attempt(amount_minor, currency))
    assert (said.verdict, said.judged_by, said.probability) == (verdict, "caution", None)
    assert bool(said.reasons) == (verdict == "review")


async def test_a_graph_that_is_away_is_asked_once_for_a_whole_group() -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def held(attempts: Sequence[Attempt]) -> Sequence[Known]:
        entered.set()
        await go_on.wait()
        return await away(attempts)

    judge, graph = a_judge(held)
    tasks = [asyncio.create_task(judge.judge(an_attempt(account=f"guest:{n}"))) for n in range(20)]
    await entered.wait()
    await asyncio.sleep(0)  # all have asked
    go_on.set()
    assert {(await task).judged_by for task in tasks} == {"caution"}
    assert sum(graph.groups) == 20
    assert len(graph.groups) <= 4


def test_thresholds_are_settings() -> None:
    model = fraud.default_model()
    assert fraud.with_thresholds(model, review=0, decline=0) == model
    changed = fraud.with_thresholds(model, review=0.05, decline=0.5)
    assert (changed.review, changed.decline) == (0.05, 0.5)
    with pytest.raises(BadInput, match="review begins above decline"):
        fraud.with_thresholds(model, review=0.8, decline=0)
