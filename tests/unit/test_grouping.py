"""Callers who ask at the same time are answered together, and none of them notices."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from securecart.grouping import Grouped


class Kitchen:
    """Doubles what it is asked, notes each group, and waits at its door while that is closed."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.door = asyncio.Event()
        self.door.set()
        self.poison: set[int] = set()

    async def cook(self, asks: Sequence[int]) -> Sequence[int | Exception]:
        self.groups.append(list(asks))
        await self.door.wait()
        if self.poison & set(asks):
            raise ConnectionError(f"choked on {asks}")
        return [LookupError(str(ask)) if ask < 0 else 2 * ask for ask in asks]


async def busy(kitchen: Kitchen, grouped: Grouped[int, int]) -> asyncio.Task[int]:
    """The first caller, inside a closed kitchen."""
    kitchen.door.clear()
    first = asyncio.create_task(grouped(0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert kitchen.groups == [[0]]
    return first


@pytest.mark.parametrize("at_once", [1, 2])
async def test_who_asks_alone_waits_for_nobody(at_once: int) -> None:
    kitchen = Kitchen()
    grouped = Grouped(kitchen.cook, most=10, at_once=at_once)
    async with asyncio.timeout(5):  # whoever is answered and asks again at once must not fall between two groups
        assert [await grouped(number) for number in (1, 2, 3)] == [2, 4, 6]
    assert kitchen.groups == [[1], [2], [3]]


async def test_those_who_ask_meanwhile_share_the_next_group_in_their_order() -> None:
    kitchen = Kitchen()
    grouped = Grouped(kitchen.cook, most=3, at_once=1)
    first = await busy(kitchen, grouped)
    later = [asyncio.create_task(grouped(number)) for number in (5, 6, 7, 8)]
    await asyncio.sleep(0)
    kitchen.door.set()
    assert await asyncio.gather(first, *later) == [0, 10, 12, 14, 16]
    assert kitchen.groups == [[0], [5, 6, 7], [8]]


async def test_a_second_group_goes_while_the_first_is_under_way() -> None:
    kitchen = Kitchen()
    grouped = Grouped(kitchen.cook, most=10, at_once=2)
    first = await busy(kitchen, grouped)
    second = asyncio.create_task(grouped(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert kitchen.groups == [[0], [1]]
    kitchen.door.set()
    assert [await first, await second] == [0, 2]


async def test_each_gets_the_error_that_is_theirs() -> None:
    kitchen = Kitchen()
    grouped = Grouped(kitchen.cook, most=10, at_once=1)
    first = await busy(kitchen, grouped)
    later = [asyncio.create_task(grouped(number)) for number in (1, -1, 2)]
    await asyncio.sleep(0)
    kitchen.door.set()
    said = await asyncio.gather(first, *later, return_exceptions=True)
    assert [said[1], type(said[2]), said[3]] == [2, LookupError, 4]


async def test_one_poisoned_ask_fails_alone() -> None:
    kitchen = Kitchen()
    kitchen.poison = {13}
    grouped = Grouped(kitchen.cook, most=10, at_once=1)
    first = await busy(kitchen, grouped)
    later = [asyncio.create_task(grouped(number)) for number in (12, 13, 14)]
    await asyncio.sleep(0)
    kitchen.door.set()
    said = await asyncio.gather(first, *later, return_exceptions=True)
    assert [said[1], type(said[2]), said[3]] == [24, ConnectionError, 28]
    assert kitchen.groups == [[0], [12, 13, 14], [12], [13], [14]]


async def test_those_who_come_after_a_failed_group_do_not_wait_for_its_slowest() -> None:
    kitchen = Kitchen()
    kitchen.poison = {13}
    slow = asyncio.Event()

    async def cook(asks: Sequence[int]) -> Sequence[int | Exception]:
        if list(asks) == [12]:
            await slow.wait()
        return await kitchen.cook(asks)

    grouped = Grouped(cook, most=10, at_once=1)
    first = await busy(kitchen, grouped)
    held, choked = asyncio.create_task(grouped(12)), asyncio.create_task(grouped(13))
    await asyncio.sleep(0)
    kitchen.door.set()
    with pytest.raises(ConnectionError):
        await choked
    assert [await first, await grouped(14)] == [0, 28]
    assert not held.done()
    slow.set()
    assert await held == 24


async def test_a_caller_who_goes_away_leaves_the_group_as_it_is() -> None:
    kitchen = Kitchen()
    grouped = Grouped(kitchen.cook, most=10, at_once=1)
    first = await busy(kitchen, grouped)
    gone, stays = asyncio.create_task(grouped(1)), asyncio.create_task(grouped(2))
    await asyncio.sleep(0)
    gone.cancel()
    kitchen.door.set()
    assert [await first, await stays] == [0, 4]
    assert kitchen.groups == [[0], [1, 2]]
    with pytest.raises(asyncio.CancelledError):
        await gone
