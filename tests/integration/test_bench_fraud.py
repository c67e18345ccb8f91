"""The bench of fraud, small: every figure is there, and what is judged is judged by the model."""

from __future__ import annotations

from bench import fraud
from bench.fraud import FraudOptions
from bench.harness import ratio
from bench.links import links_of, made_lessons


async def test_it_teaches_judges_and_asks_postgres() -> None:
    said: list[str] = []
    options = FraudOptions(
        seconds=0.3, rounds=0, connections=4, warm_up_s=0.1, accounts=300, links=1_500, learn=1_000, say=said.append
    )
    result = await fraud.run(options)
    assert (result.figures["links"], result.settings["orders"]) == (1_500, 300)
    assert min(result.figures.values()) > 0
    assert result.figures["score_p50_ms"] <= result.figures["score_p99_ms"] <= result.figures["score_max_ms"]
    assert result.ratios["p99_ms"] == ratio(result.baselines["postgres_p99_ms"], result.figures["score_p99_ms"])
    assert [goal.figure for goal in result.goals] == ["score_p99_ms", "learnt_orders_per_s"]
    assert said[-1] == "the same question, asked of PostgreSQL"


def test_orders_are_the_same_again_and_some_devices_are_everybodys() -> None:
    lessons = made_lessons(1, 20_000, 20_000)
    assert lessons == made_lessons(1, 20_000, 20_000)
    assert len({lesson.attempt.account for lesson in lessons}) == 20_000
    accounts_of_window = {account for thing, account, _, _ in links_of(lessons) if thing == "device:window0"}
    assert len(accounts_of_window) > 200
    assert 0 < sum(lesson.fraud_at is not None for lesson in lessons) < 200
