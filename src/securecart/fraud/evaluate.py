"""How good is it? Files of the past are replayed, a model learns from one part, and is judged by the other.

Both parts are one story, told by time: rows to be judged see the rows learnt from and each other, as far as they are earlier.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from msgspec import Struct

from securecart.errors import BadInput
from securecart.fraud.features import FEATURE_NAMES, features
from securecart.fraud.formats import Format
from securecart.fraud.model import DAY, MICROSECONDS, Attempt, Past, Row
from securecart.fraud.replay import replay
from securecart.fraud.scoring import Model, ModelKind, contributions, likelihood
from securecart.fraud.training import Example, boosting, learning, train

# what a shop without feedback from its bank would not know
FROM_LABELS = frozenset(
    {
        "account_frauds",
        "device_frauds",
        "card_frauds",
        "address_frauds",
        "email_frauds",
        "network_frauds",
        "seller_share",
        "fraud_near",
    }
)


class Quality(Struct, frozen=True):
    """How well scores tell fraud from the rest: 1 is perfect; chance makes `auc` 0.5, `average_precision` the part of fraud."""

    auc: float
    average_precision: float


class Report(Struct, frozen=True):
    """What an evaluation found. Precision and recall are of the rows whose probability reaches the threshold."""

    format: str
    kind: str
    label_delay_days: float
    train_rows: int
    train_fraud: int
    rows: int
    fraud: int
    auc: float
    average_precision: float
    review: float
    precision_at_review: float | None
    recall_at_review: float
    decline: float
    precision_at_decline: float | None
    recall_at_decline: float
    baselines: dict[str, Quality]
    seconds: float


class Case(Struct, frozen=True):
    """A row with its past and its features."""

    row: Row
    past: Past
    features: tuple[float, ...]


def evaluate(
    form: Format, learnt_from: Sequence[Row], judged: Sequence[Row], kind: ModelKind, *, label_delay_days: float = 0
) -> Report:
    """Learn from the one, judge the other, beside baselines; `BadInput` when either has not both good rows and fraud."""
    began = time.perf_counter()
    for name, rows in (("train", learnt_from), ("test", judged)):
        if len({row.is_fraud for row in rows}) < 2:  # noqa: PLR2004 - good, and fraud
            raise BadInput(field=name, problem=f"The {name} file must hold both fraud and rows that are none.")
    old, new = cases(learnt_from, judged, label_delay_days)
    model = train([Example(case.features, case.row.is_fraud) for case in old], kind, source=f"{form}, {len(old):,} rows")
    truths = [case.row.is_fraud for case in new]
    scores = probabilities(model, new)
    quality = quality_of(truths, scores)
    baselines = {name: quality_of(truths, of(old, new)) for name, of in BASELINES[form].items()}
    at_review, at_decline = precision_recall(truths, scores, model.review), precision_recall(truths, scores, model.decline)
    return Report(
        format=form,
        kind=kind,
        label_delay_days=label_delay_days,
        train_rows=len(old),
        train_fraud=sum(case.row.is_fraud for case in old),
        rows=len(new),
        fraud=sum(truths),
        auc=quality.auc,
        average_precision=quality.average_precision,
        review=model.review,
        precision_at_review=at_review[0],
        recall_at_review=at_review[1],
        decline=model.decline,
        precision_at_decline=at_decline[0],
        recall_at_decline=at_decline[1],
        baselines=baselines,
        seconds=round(time.perf_counter() - began, 3),
    )


def cases(learnt_from: Sequence[Row], judged: Sequence[Row], label_delay_days: float = 0) -> tuple[list[Case], list[Case]]:
    """Both parts replayed as one story, and told apart again."""
    old: list[Case] = []
    new: list[Case] = []
    rows = [*learnt_from, *judged]
    for place, past in replay(rows, round(label_delay_days * DAY * MICROSECONDS)):
        row = rows[place]
        (old if place < len(learnt_from) else new).append(Case(row, past, features(row.attempt, past)))
    return old, new


def probabilities(model: Model, judged: Sequence[Case]) -> list[float]:
    """What `score` would say of each, without its words."""
    places = [FEATURE_NAMES.index(name) for name in model.features]
    chosen = ([case.features[place] for place in places] for case in judged)
    return [likelihood(model.baseline + sum(contributions(model, numbers))) for numbers in chosen]


def quality_of(truths: Sequence[bool], scores: Sequence[float]) -> Quality:
    """AUC and average precision; rows of one score share their place, whatever their order."""
    frauds, others = sum(truths), len(truths) - sum(truths)
    hits = passed = 0
    above = precision = 0.0
    for tied in _ranks(truths, scores):
        found = sum(tied)
        above += (len(tied) - found) * (hits + found / 2)
        hits, passed = hits + found, passed + len(tied)
        precision += found * hits / passed
    return Quality(auc=above / (frauds * others), average_precision=precision / frauds)


def precision_recall(truths: Sequence[bool], scores: Sequence[float], threshold: float) -> tuple[float | None, float]:
    """How much of what reaches the threshold is fraud (None when nothing does), and how much of the fraud reaches it."""
    caught = [truth for truth, found in zip(truths, scores, strict=True) if found >= threshold]
    return (sum(caught) / len(caught) if caught else None), sum(caught) / sum(truths)


def _ranks(truths: Sequence[bool], scores: Sequence[float]) -> Iterator[list[bool]]:
    """The truths of each score, the greatest score first."""
    ranked = sorted(zip(scores, truths, strict=True), reverse=True)
    for _, tied in groupby(ranked, key=lambda one: one[0]):
        yield [truth for _, truth in tied]


def _account_orders(_: Sequence[Case], new: Sequence[Case]) -> list[float]:
    return [case.past.account.orders for case in new]


def _orders_of_all_three(_: Sequence[Case], new: Sequence[Case]) -> list[float]:
    return [case.past.account.orders + case.past.device.orders + case.past.card.orders for case in new]


def _accounts_on_device(_: Sequence[Case], new: Sequence[Case]) -> list[float]:
    return [case.past.device.accounts for case in new]


def _boosting_without_labels(old: Sequence[Case], new: Sequence[Case]) -> list[float]:
    places = [place for place, name in enumerate(FEATURE_NAMES) if name not in FROM_LABELS]
    return _boosted(old, new, lambda case: [case.features[place] for place in places])


def _boosting_plain(old: Sequence[Case], new: Sequence[Case]) -> list[float]:
    words = sorted({word for case in old for word in case.row.attempt.extra})
    return _boosted(old, new, lambda case: _plain(case.row.attempt, words))


def _plain(attempt: Attempt, words: Sequence[str]) -> list[float]:
    """The columns as they stand, with no look at any other row."""
    age = attempt.at - attempt.account_made_at if attempt.account_made_at is not None else -1
    hour = attempt.at // (3_600 * MICROSECONDS) % 24
    return [attempt.amount_minor, age / MICROSECONDS, hour, *(attempt.extra.get(word, 0.0) for word in words)]


def _boosted(old: Sequence[Case], new: Sequence[Case], numbers: Callable[[Case], list[float]]) -> list[float]:
    numpy = learning("numpy")
    forest = boosting(0).fit(numpy.array([numbers(case) for case in old]), [case.row.is_fraud for case in old])
    found: list[float] = forest.predict_proba(numpy.array([numbers(case) for case in new]))[:, 1].tolist()
    return found


# format: {baseline: the scores it gives to the second cases, having seen the first}
BASELINES: dict[Format, dict[str, Callable[[Sequence[Case], Sequence[Case]], list[float]]]] = {
    "cards": {
        "account_orders": _account_orders,
        "account_device_card_orders": _orders_of_all_three,
        "boosting_without_labels": _boosting_without_labels,
    },
    "ecommerce": {
        "accounts_on_device": _accounts_on_device,
        "boosting_plain_columns": _boosting_plain,
    },
}
