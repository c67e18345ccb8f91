"""What Neptune's error codes mean to us: ask again, it is away, or the statement is wrong."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["CODES", "Conflict", "Refused", "Throttled", "TooSlow", "Unwell", "problem_of"]


class Refused(Exception):
    """The graph refuses the statement; `code` is its own word for why. Nothing was changed."""

    def __init__(self, code: str, problem: str) -> None:
        super().__init__(f"{code}: {problem}")
        self.code = code


class Conflict(Exception):
    """Another statement changed the same at the same time; nothing was changed, and it may be sent again."""


class Throttled(Exception):
    """The graph has too much to do; nothing was changed, and it may be sent again a little later."""


class TooSlow(Exception):
    """The statement took longer than it may and was undone."""


class Unwell(Exception):
    """The graph is there and cannot answer."""


# Neptune's codes that say something else than `Refused`.
CODES: dict[str, type[Exception]] = {
    "CancelledByUserException": Unwell,
    "ConcurrentModificationException": Conflict,
    "ConstraintViolationException": Conflict,
    "ThrottlingException": Throttled,
    "TooManyRequestsException": Throttled,
    "TimeLimitExceededException": TooSlow,
    "QueryTimeoutException": TooSlow,
    "MemoryLimitExceededException": TooSlow,
    "InternalFailureException": Unwell,
    "FailureByQueryException": Unwell,
    "ReadOnlyViolationException": Unwell,
}
TOO_MANY, SERVER_ERROR = 429, 500


def problem_of(status: int, body: bytes) -> Exception:
    """The error that an answer of this status tells of."""
    try:
        told: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        told = {}
    told = told if isinstance(told, dict) else {}
    code = str(told.get("code") or "")
    words = str(told.get("detailedMessage") or told.get("message") or body[:200].decode(errors="replace"))
    kind = CODES.get(code)
    if kind is not None:
        return kind(words)
    if status == TOO_MANY:
        return Throttled(words)
    return Unwell(f"{status}: {words}") if status >= SERVER_ERROR and not code else Refused(code or str(status), words)
