"""Judge an order before its payment, within a few milliseconds, whatever becomes of the graph.

The graph is asked about many orders of one moment at once. When it is away, too slow or wrong, caution judges: what is worth
much is reviewed, the rest accepted. No sale is stopped by that, and each is counted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from typing import Protocol

import msgspec
from prometheus_client import Counter, Histogram

from securecart.errors import StoreAway
from securecart.fraud.book import Judgement
from securecart.fraud.features import features
from securecart.fraud.model import Attempt, Known
from securecart.fraud.scoring import Decision, Model, Reason, score
from securecart.grouping import Grouped
from securecart.telemetry import log
from securecart.values import CURRENCIES

__all__ = ["Ask", "Judge"]


class Ask(Protocol):
    """What is known about attempts, in their order, asked of the graph within so many seconds."""

    def __call__(self, attempts: Sequence[Attempt], /, *, within_s: float) -> Awaitable[Sequence[Known]]:
        """The answer; `StoreAway` when there is none."""
        ...


GROUP_MOST = 64
GROUPS_AT_ONCE = 1
TELL_EVERY_S = 10.0

_verdicts = Counter("securecart_fraud_verdicts_total", "Orders judged before their payment.", ["verdict", "judged_by"])
_seconds = Histogram(
    "securecart_fraud_seconds",
    "How long a judgement took.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25),
)


class Judge:
    """One for each process. `budget_s` is how long the graph may take; `caution_amount` is in whole units of any currency."""

    def __init__(self, ask: Ask, model: Model, *, budget_s: float, caution_amount: int) -> None:
        self._model = model
        self._budget_s = budget_s
        self._caution_amount = caution_amount
        self._ask = ask
        self._known: Grouped[Attempt, Known] = Grouped(self._ask_all, most=GROUP_MOST, at_once=GROUPS_AT_ONCE)
        self._told_at = 0.0

    async def judge(self, attempt: Attempt) -> Judgement:
        """What is to be done with the order; never an error, and never later than the budget."""
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self._budget_s):
                known = await self._known(attempt)
            said = self._by_model(attempt, known)
        except (StoreAway, TimeoutError) as why:
            said = self._by_caution(attempt, why)
        except Exception as why:  # noqa: BLE001 - a fault of ours must not stop a sale either
            log.exception("an order could not be judged")
            said = self._by_caution(attempt, why)
        _seconds.observe(time.perf_counter() - began)
        _verdicts.labels(said.verdict, said.judged_by).inc()
        return said

    def _by_model(self, attempt: Attempt, known: Known) -> Judgement:
        whole = msgspec.structs.replace(attempt, account_made_at=known.account_made_at)
        verdict = score(self._model, features(whole, known.past))
        return Judgement(verdict.verdict, verdict.probability, verdict.reasons, "model")

    def _by_caution(self, attempt: Attempt, why: Exception) -> Judgement:
        if time.monotonic() - self._told_at > TELL_EVERY_S:
            self._told_at = time.monotonic()
            log.warning("orders are judged by caution", why=str(why) or type(why).__name__)
        digits, _ = CURRENCIES.get(attempt.currency, (2, ""))
        is_much = attempt.amount_minor > self._caution_amount * 10**digits
        verdict: Decision = "review" if is_much else "accept"
        words = f"the graph gave no answer, and the amount is above {self._caution_amount:,}"
        return Judgement(verdict, None, (Reason("caution", words, 0.0),) if is_much else (), "caution")

    async def _ask_all(self, attempts: Sequence[Attempt]) -> Sequence[Known | Exception]:
        try:
            return await self._ask(attempts, within_s=self._budget_s)
        except Exception as why:  # noqa: BLE001 - told to each: a group is not asked again one by one, there is no time
            return [why] * len(attempts)
