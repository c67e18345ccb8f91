"""One file split in several ways: a single split of a few hundred frauds says little without the spread of others.

Cards are split by time, as a shop would live through it: learn from the first part, judge what follows. E-commerce rows are
split by device into halves, each with the whole of the time, so that no ring is in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import fmean, pstdev
from zlib import crc32

from msgspec import Struct

from securecart.fraud.evaluate import Quality, evaluate
from securecart.fraud.formats import Format
from securecart.fraud.model import Row
from securecart.fraud.scoring import ModelKind

# learn from the rows up to the first, judge those up to the second
WINDOWS_OF_TIME = ((0.5, 0.65), (0.6, 0.75), (0.65, 0.8), (0.7, 1.0), (0.75, 0.9), (0.8, 1.0))
HALVINGS = 3  # each gives two splits: either half is judged once

Split = tuple[Sequence[Row], Sequence[Row]]


class Spread(Struct, frozen=True):
    """What one way of scoring reached on each split, with mean and standard deviation of the AUC."""

    auc: float
    auc_deviation: float
    average_precision: float
    aucs: tuple[float, ...]


def evaluate_splits(form: Format, rows: Sequence[Row], kind: ModelKind, *, label_delay_days: float = 0) -> dict[str, Spread]:
    """The model as `securecart`, and each baseline by its name, over all splits."""
    found: dict[str, list[Quality]] = {}
    for learnt_from, judged in SPLITS[form](rows):
        report = evaluate(form, learnt_from, judged, kind, label_delay_days=label_delay_days)
        for name, quality in {"securecart": Quality(report.auc, report.average_precision), **report.baselines}.items():
            found.setdefault(name, []).append(quality)
    return {name: _spread(qualities) for name, qualities in found.items()}


def by_time(rows: Sequence[Row]) -> Iterator[Split]:
    """A first part of the time, and what follows it."""
    told = sorted(rows, key=lambda row: row.attempt.at)
    for end, until in WINDOWS_OF_TIME:
        yield told[: int(end * len(told))], told[int(end * len(told)) : int(until * len(told))]


def by_device(rows: Sequence[Row]) -> Iterator[Split]:
    """Halves that have no device in common; what has no device goes by its account."""
    for seed in range(HALVINGS):
        sides: tuple[list[Row], list[Row]] = ([], [])
        for row in rows:
            thing = row.attempt.device or row.attempt.account
            sides[crc32(f"s{seed}{thing}".encode()) % 100 < 50].append(row)  # noqa: PLR2004 - a half of a hundred
        yield sides[0], sides[1]
        yield sides[1], sides[0]


def _spread(qualities: Sequence[Quality]) -> Spread:
    aucs = tuple(quality.auc for quality in qualities)
    precision = fmean(quality.average_precision for quality in qualities)
    return Spread(fmean(aucs), pstdev(aucs), precision, aucs)


SPLITS: dict[Format, Callable[[Sequence[Row]], Iterator[Split]]] = {"cards": by_time, "ecommerce": by_device}
