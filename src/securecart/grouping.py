"""Callers who ask at the same time are answered together.

One round trip, one statement or one commit for many is cheaper than one for each, and where they would queue for
the same row it is the only way to be fast. Whoever asks does not notice: each gets the answer, or the error,
that is theirs.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

__all__ = ["Grouped"]

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")
Work = Callable[[Sequence[Ask]], Awaitable[Sequence[Answer | Exception]]]


class Grouped(Generic[Ask, Answer]):
    """`work` as something that each caller calls alone.

    It gets what is asked in order of arrival, at most `most` at a time, and answers each with an answer or an
    exception. Up to `at_once` groups are under way together: who asks while fewer are goes at once and waits for
    nobody; the others wait for the next group. One at a time makes the fullest groups, and those cost least. A group
    that fails as a whole is done again one by one, so what one caller asked never fails the others. A caller who goes
    away leaves the group as it is.
    """

    def __init__(self, work: Work[Ask, Answer], *, most: int, at_once: int = 1) -> None:
        self._work = work
        self._most = most
        self._at_once = at_once
        self._waiting: deque[tuple[Ask, asyncio.Future[Answer]]] = deque()
        self._serving = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, ask: Ask) -> Answer:
        """What `work` answers to this, together with whatever else is asked at the moment."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((ask, answer))
        if self._serving < self._at_once:
            self._serving += 1
            self._begin(self._serve())
        return await answer

    async def _serve(self) -> None:
        try:
            await self._serve_all()
        finally:
            # in the same step as the look that found nobody waiting: who asks next begins anew
            self._serving -= 1

    async def _serve_all(self) -> None:
        while self._waiting:
            group = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            try:
                answers = await self._work([ask for ask, _ in group])
            except Exception as error:  # noqa: BLE001 - whoever asked gets it
                if len(group) == 1:
                    _tell(group[0][1], error)
                    continue
                for ask, answer in group:  # beside the groups that come, so that nobody waits for the one that is slow
                    self._begin(self._serve_alone(ask, answer))
            except BaseException:
                for _, answer in group:
                    answer.cancel()
                raise
            else:
                for (_, answer), said in zip(group, answers, strict=True):
                    _tell(answer, said)

    async def _serve_alone(self, ask: Ask, answer: asyncio.Future[Answer]) -> None:
        try:
            (said,) = await self._work([ask])
        except Exception as error:  # noqa: BLE001 - as above
            said = error
        except BaseException:
            answer.cancel()
            raise
        _tell(answer, said)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)  # the loop itself keeps only a weak hold on it
        task.add_done_callback(self._tasks.discard)


def _tell(answer: asyncio.Future[Answer], said: Answer | Exception) -> None:
    if answer.done():
        return  # the caller went away
    if isinstance(said, Exception):
        answer.set_exception(said)
    else:
        answer.set_result(said)
