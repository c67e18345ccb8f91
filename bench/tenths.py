"""What a long run was like from beginning to end: its tenths and hours, and what grew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bench import harness
from bench.crowd import Book

__all__ = ["by_hour", "by_tenth", "grown", "growth", "last_of_first", "latency"]

MARKS = {"p50_ms": 0.5, "p99_ms": 0.99}


def latency(took_us: Iterable[int], prefix: str) -> dict[str, float]:
    """p50 and p99 in milliseconds; nothing where there was no order."""
    ordered = sorted(took_us)
    return {prefix + name: round(harness.percentile(ordered, share) / 1_000, 3) for name, share in MARKS.items() if ordered}


def last_of_first(book: Book) -> float:
    """The p99 of the last tenth beside that of the first; 0 when the run did not come so far."""
    first, last = (latency(book.by_tenth[number], "").get("p99_ms", 0.0) for number in (0, 9))
    return harness.ratio(last, first)


def by_tenth(book: Book, elapsed_s: float) -> dict[str, list[float]]:
    """Orders a second, p50 and p99 of each tenth that was begun."""
    series: dict[str, list[float]] = {"tenths_per_s": [], "tenths_p50_ms": [], "tenths_p99_ms": []}
    began_s = 0.0
    for number, took in enumerate(one for one in book.by_tenth if one):
        ended_s = book.ended_s[number] if number < len(book.ended_s) else elapsed_s
        series["tenths_per_s"].append(round(len(took) / max(ended_s - began_s, 0.001), 1))
        for name, value in latency(took, "tenths_").items():
            series[name].append(value)
        began_s = ended_s
    return series


def by_hour(book: Book) -> dict[str, list[float]]:
    """p50 and p99 of each hour."""
    hours = [latency(took, "hours_") for _, took in sorted(book.by_hour.items())]
    return {name: [hour[name] for hour in hours] for name in hours[0]} if hours else {}


def growth(memory: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """How much each process's own memory grew from the end of the first tenth, when all is warm, to the end.

    `memory` is at the start, after each tenth, and at the end; where no tenth was finished, growth is from the start.
    """
    found = grown(memory[1 if len(memory) > 2 else 0], memory[-1])
    figures = {f"memory_{process}_growth_mb": size for process, size in found.items()}
    return {**figures, "memory_growth_max_mb": max(found.values(), default=0.0)}


def grown(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What each has more than before; one that was not there before has grown by nothing."""
    return {name: round(size - before.get(name, size), 1) for name, size in after.items()}
