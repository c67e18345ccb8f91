"""A model is data, and scoring is sums: nothing but Python is needed at a checkout.

The log-odds of fraud are a constant, plus for each feature its weight times its distance from the mean in spreads, plus what
each tree says. All of that is a sum, so each part of it belongs to one feature; the greatest parts are the reasons.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from math import exp
from pathlib import Path
from typing import Annotated, Literal, Self

import msgspec
from msgspec import Meta, Struct, structs

from securecart.errors import BadInput, DataMissing
from securecart.fraud.features import FEATURE_NAMES, FEATURES

Decision = Literal["accept", "review", "decline"]
ModelKind = Literal["logistic", "trees", "both"]
Probability = Annotated[float, Meta(ge=0, le=1)]

REASONS_MAX = 5
REASON_POINTS_MIN = 0.05  # log-odds; less is not worth a sentence
LEAF = -1


class Tree(Struct, frozen=True):
    """A tree as plain arrays, one entry a node: go left where the feature is at most the threshold; `left` is -1 at a leaf.

    `value` is in log-odds; at an inner node it is the mean of the leaves below, so each step has its own part of the answer.
    """

    feature: tuple[int, ...]
    threshold: tuple[float, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    value: tuple[float, ...]

    def steps(self, numbers: Sequence[float]) -> Iterator[tuple[int, float]]:
        """The way down: the feature that was asked, and by how much the answer changed the log-odds."""
        node = 0
        while self.left[node] != LEAF:
            feature = self.feature[node]
            after = self.left[node] if numbers[feature] <= self.threshold[node] else self.right[node]
            yield feature, self.value[after] - self.value[node]
            node = after


class Training(Struct, frozen=True):
    """Where a model comes from: in words, and how many rows of what it was trained on.

    `auc` and `average_precision` are those of a model of the earlier rows alone, on the `judged` latest; None where there were
    too few to tell.
    """

    source: str
    rows: int = 0
    fraud: int = 0
    scikit_learn: str = ""
    judged: int = 0
    auc: float | None = None
    average_precision: float | None = None


class Model(Struct, frozen=True):
    """All that scoring needs. `weights`, `means` and `scales` stand in the order of `features`, as trees' features do."""

    kind: ModelKind
    features: tuple[str, ...]
    intercept: float
    weights: tuple[float, ...]
    means: tuple[float, ...]
    scales: tuple[Annotated[float, Meta(gt=0)], ...]
    trees: tuple[Tree, ...]
    review: Probability
    decline: Probability
    training: Training

    def __post_init__(self) -> None:
        unknown = [name for name in self.features if name not in FEATURE_NAMES]
        if unknown:
            raise ValueError(f"there is no feature {unknown[0]!r}")
        if not len(self.features) == len(self.weights) == len(self.means) == len(self.scales):
            raise ValueError("features, weights, means and scales are not equally many")
        if self.review > self.decline:
            raise ValueError("review begins above decline")
        for tree in self.trees:
            _check(tree, len(self.features))

    @property
    def baseline(self) -> float:
        """The log-odds before anything is known of an order."""
        return self.intercept + sum(tree.value[0] for tree in self.trees)

    @classmethod
    def from_json(cls, text: bytes, name: str = "model") -> Self:
        """A model that was written by `to_json`; `BadInput` says what is wrong with it."""
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.MsgspecError as error:
            raise BadInput(field=name, problem=f"{name} is not a fraud model: {error}.") from error

    def to_json(self) -> bytes:
        """The model as a file."""
        return msgspec.json.format(msgspec.json.encode(self)) + b"\n"


class Reason(Struct, frozen=True):
    """One thing that made fraud more likely: in words, and by how much in log-odds."""

    feature: str
    words: str
    points: float


class Verdict(Struct, frozen=True):
    """What is to be done with an order, how likely it is fraud, and what speaks for that, the strongest first."""

    probability: float
    verdict: Decision
    reasons: tuple[Reason, ...]


def score(model: Model, numbers: Sequence[float]) -> Verdict:
    """Judge an order by its features (as `features` gives them, in the order of `FEATURES`)."""
    chosen = [numbers[place] for place in _places(model.features)]
    parts = contributions(model, chosen)
    probability = likelihood(model.baseline + sum(parts))
    decision: Decision = "accept"
    if probability >= model.review:
        decision = "decline" if probability >= model.decline else "review"
    return Verdict(probability, decision, _reasons(model, chosen, parts))


def with_thresholds(model: Model, *, review: float, decline: float) -> Model:
    """The same model with other thresholds, as far as they are given (0: as they are); `BadInput` when they contradict."""
    try:
        return structs.replace(model, review=review or model.review, decline=decline or model.decline)
    except ValueError as error:
        problem = f"Reviewing from {review or model.review:g} and declining from {decline or model.decline:g}: {error}."
        raise BadInput(field="fraud_review_from", problem=problem) from error


def contributions(model: Model, chosen: Sequence[float]) -> list[float]:
    """What each of the model's features adds to the log-odds."""
    every = zip(model.weights, chosen, model.means, model.scales, strict=True)
    parts = [weight * (number - mean) / scale for weight, number, mean, scale in every]
    single = array("f", chosen)  # trees are grown on single precision, and split there
    for tree in model.trees:
        for feature, change in tree.steps(single):
            parts[feature] += change
    return parts


def likelihood(log_odds: float) -> float:
    """Log-odds as a probability."""
    if log_odds >= 0:
        return 1 / (1 + exp(-log_odds))
    odds = exp(log_odds)
    return odds / (1 + odds)


def load_model(path: Path) -> Model:
    """The model in a file."""
    try:
        return Model.from_json(path.read_bytes(), path.name)
    except OSError as error:
        raise DataMissing(problem=f"{path} cannot be read: {error.strerror}.") from error


@cache
def default_model() -> Model:
    """The model that ships with the shop, for one that has no history of its own; the file says where it comes from."""
    return Model.from_json(files("securecart.fraud").joinpath("default.json").read_bytes(), "default.json")


@cache
def _places(names: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(FEATURE_NAMES.index(name) for name in names)


def _reasons(model: Model, chosen: Sequence[float], parts: Sequence[float]) -> tuple[Reason, ...]:
    """What is there and raises the likelihood; that something is missing may count, but is no reason to tell."""
    found = [
        (points, name, FEATURES[place], number)
        for points, name, place, number in zip(parts, model.features, _places(model.features), chosen, strict=True)
        if points >= REASON_POINTS_MIN and number != 0
    ]
    found.sort(key=lambda one: -one[0])
    return tuple(
        Reason(name, feature.words.format(feature.told(number)), round(points, 3))
        for points, name, feature, number in found[:REASONS_MAX]
    )


def _check(tree: Tree, features: int) -> None:
    """Refuse a tree whose way down could end nowhere, or never."""
    nodes = len(tree.value)
    if not nodes or any(len(part) != nodes for part in (tree.feature, tree.threshold, tree.left, tree.right)):
        raise ValueError("a tree's arrays are not equally long")
    for node, (left, right, feature) in enumerate(zip(tree.left, tree.right, tree.feature, strict=True)):
        if left != LEAF and not (node < left < nodes and node < right < nodes and 0 <= feature < features):
            raise ValueError("a tree's node leads outside of it")
