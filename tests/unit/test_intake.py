"""How long an order waits for the readers of the event log: a pure rule, and an intake that never waits for the answer."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import cast

import pytest

from securecart.checkout import Intake, intake
from securecart.checkout.intake import pause_before
from securecart.errors import TooBusy
from securecart.stores.postgres.log import Lookout, Place, Standing

LIMIT = 1_000


@pytest.mark.parametrize(
    ("behind", "pause_s"), [(0, 0.0), (LIMIT, 0.0), (1_250, 0.25), (1_500, 0.5), (2_000, 1.0), (2_001, None), (10**9, None)]
)
def test_orders_wait_in_proportion_and_are_refused_beyond_twice_the_limit(behind: int, pause_s: float | None) -> None:
    assert pause_before(behind, LIMIT) == pause_s


def test_a_limit_of_0_lets_every_order_in() -> None:
    assert pause_before(10**9, 0) == 0.0


def standing(name: str, behind: int) -> Standing:
    return Standing(name, behind, 1.0, Place(1, 1), None, datetime.now(UTC))


class Seen:
    """A lookout that has seen just this."""

    def __init__(self, **behind: int) -> None:
        self._behind = behind

    def seen(self) -> dict[str, Standing] | None:
        return {name: standing(name, events) for name, events in self._behind.items()} or None


def an_intake(**behind: int) -> Intake:
    return Intake(cast("Lookout", Seen(**behind)), readers=("carts", "history"), limit_events=LIMIT)


async def test_the_slowest_essential_reader_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "PAUSE_MAX_S", 0.1)
    began = time.perf_counter()
    await an_intake(carts=0, history=1_500).admit()
    assert time.perf_counter() - began >= 0.05
    with pytest.raises(TooBusy) as refused:
        await an_intake(carts=5_000, history=0).admit()
    assert refused.value.status == 503
    assert refused.value.facts["retry_after"] > 0


async def test_a_lost_cache_or_an_unknown_lag_stops_no_sale() -> None:
    await an_intake(cache=10**9, carts=0).admit()
    await an_intake().admit()
