"""Learning a model from examples. This alone needs scikit-learn, and it is imported only when a model is trained."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from securecart.errors import BadInput, DataMissing
from securecart.fraud.features import FEATURE_NAMES
from securecart.fraud.scoring import LEAF, Model, ModelKind, Training, Tree

# Strong: a few thousand rows with a few hundred frauds are what a young shop has.
LOGISTIC = {"C": 0.01, "max_iter": 5_000}
# Small trees on half of the rows and a third of the features each; several forests, averaged, so that no seed decides.
BOOSTING = {
    "n_estimators": 60,
    "max_depth": 3,
    "learning_rate": 0.06,
    "subsample": 0.5,
    "min_samples_leaf": 20,
    "max_features": 0.33,
}
SEEDS = 3

REVIEW = 0.2
DECLINE = 0.7


class Example(Struct, frozen=True):
    """An order's features as they were when it was placed, and what it turned out to be."""

    features: tuple[float, ...]
    is_fraud: bool


def train(examples: Sequence[Example], kind: ModelKind = "both", *, source: str = "", seeds: int = SEEDS) -> Model:
    """A model of the examples; `BadInput` when they are all of one sort.

    `both` takes the mean of the two kinds' log-odds. `source` says in the model where the examples come from.
    """
    frauds = sum(example.is_fraud for example in examples)
    if not 0 < frauds < len(examples):
        raise BadInput(
            field="examples", problem=f"Of {len(examples):,} rows {frauds:,} are fraud; both sorts are needed to learn."
        )
    numpy = learning("numpy")
    table = numpy.array([example.features for example in examples], dtype=float)
    truths = numpy.array([example.is_fraud for example in examples], dtype=int)
    width = len(FEATURE_NAMES)
    intercept, weights, means, scales = 0.0, [0.0] * width, [0.0] * width, [1.0] * width
    trees: list[Tree] = []
    part = 0.5 if kind == "both" else 1.0
    if kind != "trees":
        constant, learnt, means, scales = _logistic(table, truths)
        intercept += part * constant
        weights = [part * weight for weight in learnt]
    if kind != "logistic":
        for seed in range(seeds):
            forest = boosting(seed).fit(table, truths)
            intercept += part / seeds * first_guess(forest, table)
            trees += (_tree(one.tree_, part / seeds * forest.learning_rate) for one in forest.estimators_[:, 0])
    return Model(
        kind=kind,
        features=FEATURE_NAMES,
        intercept=intercept,
        weights=tuple(weights),
        means=tuple(means),
        scales=tuple(scales),
        trees=tuple(trees),
        review=REVIEW,
        decline=DECLINE,
        training=Training(source, len(examples), frauds, learning("sklearn").__version__),
    )


def learning(module: str) -> Any:
    """A module of scikit-learn's world; `DataMissing` says how to get it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise DataMissing(problem="Training needs scikit-learn; install it with: pip install 'securecart[fraud]'.") from error


def boosting(seed: int) -> Any:
    """An untrained forest of boosted trees."""
    return learning("sklearn.ensemble").GradientBoostingClassifier(**BOOSTING, random_state=seed)


def first_guess(forest: Any, table: Any) -> float:
    """The log-odds that a forest begins with: what it says of a row, without what its trees say of it."""
    row = table[:1]
    grown = sum(float(one.predict(row)[0]) for one in forest.estimators_[:, 0])
    return float(forest.decision_function(row)[0]) - float(forest.learning_rate) * grown


def _logistic(table: Any, truths: Any) -> tuple[float, list[float], list[float], list[float]]:
    """Constant, weights, means and scales; what never varies gets no weight."""
    means, scales = table.mean(axis=0), table.std(axis=0)
    scales[scales == 0] = 1.0
    learnt = learning("sklearn.linear_model").LogisticRegression(**LOGISTIC).fit((table - means) / scales, truths)
    return float(learnt.intercept_[0]), learnt.coef_[0].tolist(), means.tolist(), scales.tolist()


def _tree(grown: Any, times: float) -> Tree:
    """A tree as plain arrays. Children stand after their parents, so inner values are found from the end."""
    left, right = grown.children_left.tolist(), grown.children_right.tolist()
    rows = grown.weighted_n_node_samples.tolist()
    value = [times * one for one in grown.value[:, 0, 0].tolist()]
    for node in reversed(range(len(value))):
        if left[node] != LEAF:
            low, high = left[node], right[node]
            value[node] = (rows[low] * value[low] + rows[high] * value[high]) / (rows[low] + rows[high])
    return Tree(
        feature=tuple(grown.feature.tolist()),
        threshold=tuple(grown.threshold.tolist()),
        left=tuple(left),
        right=tuple(right),
        value=tuple(value),
    )
