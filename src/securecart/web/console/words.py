"""Times and likelihoods as a person says them."""

from __future__ import annotations

from datetime import datetime

__all__ = ["about", "due", "percent"]

UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60))
ALMOST_NONE, ALMOST_SURE = 0.01, 0.99


def due(at: datetime, now: datetime) -> str:
    """When something is due: `in 5 hours`, `12 minutes overdue`."""
    seconds = (at - now).total_seconds()
    return f"in {about(seconds)}" if seconds >= 0 else f"{about(-seconds)} overdue"


def about(seconds: float) -> str:
    """A span in its greatest unit of which there are two, or in minutes: `47 hours`, `3 days`."""
    for unit, length in UNITS:
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}s"
    return "a minute" if seconds >= UNITS[-1][1] else "less than a minute"


def percent(probability: float) -> str:
    """A likelihood in whole percent, and nothing is quite sure: `87 %`, `below 1 %`, `above 99 %`."""
    if probability < ALMOST_NONE:
        return "below 1\u00a0%"
    if probability > ALMOST_SURE:
        return "above 99\u00a0%"
    return f"{probability * 100:.0f}\u00a0%"
