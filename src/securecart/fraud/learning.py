"""A model of a shop's past with figures beside it: how good one that knew only the earlier part was at the later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from statistics import median

from msgspec import structs

from securecart.fraud.evaluate import Case, cases, probabilities, quality_of
from securecart.fraud.model import Attempt, Lesson, Row
from securecart.fraud.scoring import Model, ModelKind
from securecart.fraud.teaching import NewAccount
from securecart.fraud.training import Example, train

__all__ = ["learn", "rows_of"]

EARLIER = 0.7
# of what the bank declined nobody ever says whether it was fraud
UNKNOWN = frozenset({"declined", "pending"})


def learn(rows: Sequence[Row], kind: ModelKind, *, source: str, label_delay_days: float) -> Model:
    """A model of all rows. Its figures come from a first one, of the earliest 70 % by time, judging the others; `BadInput`."""
    every = sorted(cases(rows, [], label_delay_days)[0], key=lambda case: case.row.attempt.at)
    model = train([_example(case) for case in every], kind, source=source)
    cut = round(len(every) * EARLIER)
    if not _both_sorts(every[:cut]) or not _both_sorts(every[cut:]):
        return model
    earlier = train([_example(case) for case in every[:cut]], kind)
    quality = quality_of([case.row.is_fraud for case in every[cut:]], probabilities(earlier, every[cut:]))
    figures = {"auc": quality.auc, "average_precision": quality.average_precision, "judged": len(every) - cut}
    return structs.replace(model, training=structs.replace(model.training, **figures))


def rows_of(lessons: Sequence[Lesson], accounts: Sequence[NewAccount]) -> tuple[list[Row], timedelta]:
    """A shop's own orders with what is known of them, and how long it took, in the middle, until fraud was known."""
    made = {one.account: one.made_at for one in accounts}
    rows = [Row(_with_age(lesson, made), lesson.fraud_at is not None) for lesson in lessons if lesson.status not in UNKNOWN]
    delays = list(_delays(lessons))
    return rows, timedelta(microseconds=median(delays)) if delays else timedelta()


def _with_age(lesson: Lesson, made: Mapping[str, int]) -> Attempt:
    return structs.replace(lesson.attempt, account_made_at=made.get(lesson.attempt.account))


def _delays(lessons: Sequence[Lesson]) -> Iterator[int]:
    yield from (max(0, one.fraud_at - one.attempt.at) for one in lessons if one.fraud_at is not None)


def _example(case: Case) -> Example:
    return Example(case.features, case.row.is_fraud)


def _both_sorts(part: Sequence[Case]) -> bool:
    return 0 < sum(case.row.is_fraud for case in part) < len(part)
