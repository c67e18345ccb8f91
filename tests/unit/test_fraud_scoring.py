"""Verdicts: the same numbers as scikit-learn gives, within a millisecond, with reasons in words."""

from __future__ import annotations

import random
import time
from typing import Any

import msgspec
import pytest

from securecart.errors import BadInput, DataMissing
from securecart.fraud import (
    FEATURE_NAMES,
    Attempt,
    Example,
    Model,
    ModelKind,
    Past,
    Ring,
    Row,
    Seen,
    default_model,
    features,
    replay,
    score,
    train,
    training,
)

HOUR = 3_600_000_000
ATTEMPT = Attempt(at=1_000 * HOUR, account="ann", amount_minor=10_000, currency="USD", device="d", card="c")


def examples(count: int = 400) -> list[Example]:
    """Made-up orders whose fraud has something to do with three of the features."""
    drawn = random.Random(7)
    made = []
    for _ in range(count):
        numbers = tuple(drawn.choice([0.0, drawn.random() * 5]) for _ in FEATURE_NAMES)
        made.append(Example(numbers, numbers[0] + numbers[9] * numbers[20] + drawn.gauss(0, 2) > 6))
    return made


def log_odds(probability: Any) -> Any:
    numpy = pytest.importorskip("numpy", reason="scikit-learn is not installed (extra `fraud`)")
    return numpy.log(probability / (1 - probability))


def theirs(kind: ModelKind, made: list[Example]) -> Any:
    """The probabilities by scikit-learn's own predict_proba."""
    numpy = pytest.importorskip("numpy", reason="scikit-learn is not installed (extra `fraud`)")
    linear = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed (extra `fraud`)")
    pipeline = pytest.importorskip("sklearn.pipeline")
    scaler = pytest.importorskip("sklearn.preprocessing").StandardScaler()
    table, truths = numpy.array([one.features for one in made]), [one.is_fraud for one in made]
    logistic = pipeline.make_pipeline(scaler, linear.LogisticRegression(**training.LOGISTIC)).fit(table, truths)
    trees = training.boosting(0).fit(table, truths)
    if kind == "both":
        odds = (log_odds(logistic.predict_proba(table)[:, 1]) + log_odds(trees.predict_proba(table)[:, 1])) / 2
        return 1 / (1 + numpy.exp(-odds))
    return (logistic if kind == "logistic" else trees).predict_proba(table)[:, 1]


@pytest.mark.parametrize("kind", ["logistic", "trees", "both"])
def test_plain_python_says_what_scikit_learn_says(kind: ModelKind) -> None:
    made = examples()
    expected = theirs(kind, made)
    model = Model.from_json(train(made, kind, seeds=1).to_json())
    found = [score(model, one.features).probability for one in made]
    assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) < 1e-9


def test_a_score_takes_less_than_a_millisecond() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra `fraud`)")
    made = examples()
    model = train(made, "both")
    taken = []
    for one in made:
        began = time.perf_counter()
        score(model, one.features)
        taken.append(time.perf_counter() - began)
    assert sorted(taken)[len(taken) // 2] < 0.001


def test_training_is_repeatable_and_says_what_it_learnt_from() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra `fraud`)")
    made = examples()
    model = train(made, source="made up")
    assert model == train(made, source="made up")
    assert (model.training.source, model.training.rows) == ("made up", 400)
    with pytest.raises(BadInput, match="both sorts"):
        train([one for one in made if not one.is_fraud])


def test_training_without_scikit_learn_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(DataMissing, match=r"pip install 'securecart\[fraud\]'"):
        train(examples(20))


def test_the_default_accepts_an_ordinary_first_order() -> None:
    verdict = score(default_model(), features(ATTEMPT, Past()))
    assert verdict.verdict == "accept"
    assert 0.005 < verdict.probability < 0.02


def test_the_default_trusts_an_old_customer_more() -> None:
    seen = Seen(orders=12, first_seconds=9e6, last_seconds=8e5, accounts=1, devices=1, cards=1, recent=(0, 0, 0, 0, 1))
    past = Past(account=seen, device=seen, card=seen, with_device=12, with_card=12)
    first = score(default_model(), features(ATTEMPT, Past())).probability
    assert score(default_model(), features(ATTEMPT, past)).probability < first


def test_the_default_reviews_a_marked_card_and_declines_a_ring() -> None:
    marked = Seen(orders=1, frauds=1, accounts=1, devices=1, cards=1)
    card = score(default_model(), features(ATTEMPT, Past(card=marked, ring=Ring(hops=1, accounts=1, things=2, links=2))))
    assert card.verdict == "review"
    assert [reason.words for reason in card.reasons][:2] == ["steps to known fraud: 1", "known fraud with this card: 1"]
    busy = Seen(orders=6, frauds=3, accounts=6, devices=1, cards=6, recent=(3, 4, 6, 6, 6), last_seconds=60)
    ring = score(default_model(), features(ATTEMPT, Past(card=marked, device=busy, ring=Ring(1, 6, 7, 12))))
    assert (ring.verdict, len(ring.reasons)) == ("decline", 5)
    assert "other accounts that used this device before: 6" in {reason.words for reason in ring.reasons}


def test_every_feature_is_zero_where_nothing_is_known_and_has_words_for_what_is() -> None:
    known = dict(zip(FEATURE_NAMES, features(ATTEMPT, Past()), strict=True))
    assert {name for name, number in known.items() if number} == {"amount"}
    model = msgspec.structs.replace(default_model(), review=0.0, decline=1.0)
    for place, name in enumerate(FEATURE_NAMES):
        numbers = [0.0] * len(FEATURE_NAMES)
        numbers[place] = 1.0
        reasons = score(model, numbers).reasons
        assert all(reason.feature == name and "{" not in reason.words for reason in reasons)


def test_times_are_told_in_the_unit_that_people_use() -> None:
    young = msgspec.structs.replace(ATTEMPT, account_made_at=ATTEMPT.at - HOUR // 20)
    reasons = {reason.feature: reason.words for reason in score(default_model(), features(young, Past())).reasons}
    assert reasons["account_young"] == "the account is only 3 minutes old"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"features": ("none",)}, "no feature 'none'"),
        ({"weights": ()}, "not equally many"),
        ({"review": 0.9, "decline": 0.1}, "review begins above decline"),
        ({"review": 7}, "<= 1"),
        ({"trees": [{"feature": [0], "threshold": [0], "left": [0], "right": [0], "value": [0]}]}, "leads outside"),
        ({"trees": [{"feature": [], "threshold": [0], "left": [0], "right": [0], "value": [0]}]}, "not equally long"),
    ],
)
def test_a_model_that_makes_no_sense_is_refused(change: dict[str, Any], told: str) -> None:
    broken = {**msgspec.json.decode(default_model().to_json()), **change}
    with pytest.raises(BadInput, match=told):
        Model.from_json(msgspec.json.encode(broken))


def test_replay_and_checkout_have_one_way_to_features() -> None:
    rows = [Row(ATTEMPT, is_fraud=True), Row(msgspec.structs.replace(ATTEMPT, at=ATTEMPT.at + HOUR), is_fraud=False)]
    _, (_, past) = replay(rows)
    assert score(default_model(), features(rows[1].attempt, past)).verdict != "accept"
