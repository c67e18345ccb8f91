"""The one table of patience: that the docs show it, that repeating is bounded, and when a breaker opens and closes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from prometheus_client import REGISTRY

from securecart import patience
from securecart.errors import StoreAway
from securecart.patience import Breaker, Patience, repeat
from securecart.settings import Settings

DOCS = Path(__file__).parents[2] / "docs" / "availability.md"
QUICK = Patience(
    "test store", answer_s=0.1, tries=4, retry_for_s=5.0, pause_s=0.001, pause_max_s=0.01, open_after=3, open_for_s=0.01
)
WITHIN_S = 10.0


class Asked:
    """A store that fails so often, and says how often it was asked."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.times = 0

    async def __call__(self) -> str:
        self.times += 1
        if self.times <= self.failures:
            raise ConnectionError(self.times)
        return "answer"


def number(value: float) -> str:
    return f"{value:g}" if value else "-"


def test_the_docs_show_the_table() -> None:
    guide = DOCS.read_text(encoding="utf-8")
    for one in patience.TABLE:
        fields = [getattr(one, name) for name in Patience.__struct_fields__ if name != "name"]
        row = f"| {one.name} | {' | '.join(number(value) for value in fields)} |"
        assert row in guide, f"docs/availability.md lacks: {row}"


def test_every_line_is_in_the_table_once() -> None:
    lines = [value for value in vars(patience).values() if isinstance(value, Patience)]
    assert len(lines) == len(patience.TABLE)
    assert {line.name for line in lines} == {line.name for line in patience.TABLE}


def test_the_gateways_answer_is_the_settings_default() -> None:
    assert patience.GATEWAY.answer_s == Settings().gateway_timeout_s


async def test_a_call_is_repeated_until_it_goes_well() -> None:
    store = Asked(failures=2)
    assert await repeat(QUICK, ConnectionError, store) == "answer"
    assert store.times == 3


async def test_a_call_is_repeated_no_more_than_the_table_says() -> None:
    store = Asked(failures=99)
    with pytest.raises(ConnectionError, match="4"):
        await repeat(QUICK, ConnectionError, store)
    assert store.times == QUICK.tries


async def test_what_took_all_the_time_is_not_repeated() -> None:
    store = Asked(failures=99)

    async def slow() -> str:
        await asyncio.sleep(0.05)
        return await store()

    with pytest.raises(ConnectionError):
        await repeat(msgspec.structs.replace(QUICK, retry_for_s=0.04), ConnectionError, slow)
    assert store.times == 1


async def test_another_error_is_not_repeated() -> None:
    store = Asked(failures=99)
    with pytest.raises(ConnectionError):
        await repeat(QUICK, ValueError, store)
    assert store.times == 1


async def test_a_breaker_opens_after_failures_in_a_row_and_closes_by_itself() -> None:
    back = asyncio.Event()
    looks = 0

    async def look() -> bool:
        nonlocal looks
        looks += 1
        return back.is_set()

    before = opened()
    breaker = Breaker(QUICK, look)
    for _ in range(2):
        breaker.missed(time.monotonic())
    breaker.heard()
    for _ in range(2):
        breaker.missed(time.monotonic())
    breaker.admit()  # three failures, but not in a row
    breaker.missed(time.monotonic())
    with pytest.raises(StoreAway, match="test store"):
        breaker.admit()
    assert opened() == before + 1
    assert open_now() == 1
    await until(lambda: looks > 1)
    assert breaker.is_open()
    back.set()
    await until(lambda: not breaker.is_open())
    breaker.admit()
    assert open_now() == 0


async def test_one_that_waits_in_vain_opens_it_unless_others_were_answered() -> None:
    async def look() -> bool:
        return False

    breaker = Breaker(QUICK, look)
    began = time.monotonic()
    breaker.heard()
    breaker.missed(began, in_vain=True)
    breaker.admit()
    breaker.missed(time.monotonic(), in_vain=True)
    with pytest.raises(StoreAway):
        breaker.admit()
    breaker.close()
    assert open_now() == 0


async def test_a_closed_breaker_asks_nobody_and_looks_no_more() -> None:
    looks = 0

    async def look() -> bool:
        nonlocal looks
        looks += 1
        return True

    breaker = Breaker(QUICK, look)
    breaker.close()
    for _ in range(QUICK.open_after):
        breaker.missed(time.monotonic(), in_vain=True)
    await asyncio.sleep(10 * QUICK.open_for_s)
    assert (breaker.is_open(), looks, open_now()) == (True, 0, 0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.005)


def opened() -> float:
    return REGISTRY.get_sample_value("securecart_breaker_opened_total", {"store": QUICK.name}) or 0.0


def open_now() -> float:
    return REGISTRY.get_sample_value("securecart_breaker_open", {"store": QUICK.name}) or 0.0
