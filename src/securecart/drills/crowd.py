"""The shoppers of a drill: they buy through the shop's HTTP door, repeat what got no answer, and remember every word.

Each fills a cart, checks out under a key of its own, sends the same request again until it hears what became of it, and
now and then takes the order back. What the shop said last of each order is what it will be held to.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter, deque
from collections.abc import Container
from datetime import datetime
from http import HTTPStatus

import msgspec
from msgspec import Struct

from securecart.checkout import PlaceOrder
from securecart.demo.client import Answer, Client, Problem, email_of
from securecart.drills.goods import Goods
from securecart.drills.timeline import Timeline
from securecart.errors import DrillFailed
from securecart.promises import State, Told
from securecart.values import Address, Money

__all__ = ["FIRST_HOUSEHOLD", "Crowd", "Habits"]

# the drill's households are none of the demo's
FIRST_HOUSEHOLD = 1_000_000
CARDS = (("tok_visa", 78), ("tok_mastercard", 10), ("tok_declined", 7), ("tok_answer_lost", 5))
ANY_GOOD_CARD = frozenset({"tok_visa", "tok_mastercard"})
SLOW_CARD = "tok_slow"
CANCELLED_SHARE = 0.1
THINKING_S = (0.1, 0.5)
DECIDED_WITHIN_S, ASK_AGAIN_S = 2.0, 0.25
# what a status means to the shopper; of a declined order nothing was promised
HEARD_AS: dict[str, State] = {"pending": "pending", "declined": "pending", "cancelled": "cancelled"}
RECENT_MAX, NEWEST_SHARE = 100, 0.3
HOME = Address(name="A Shopper", line1="1 Drill Street", city="Springfield", postcode="12345", country="US")


def home_of(household: int) -> Address:
    """Where the household lives: hundreds at one door would look like fraud."""
    return msgspec.structs.replace(HOME, line1=f"{household} Drill Street")


def card_of(token: str, household: int) -> str:
    """The household's own card where any good one will do; the others each have a behaviour of theirs."""
    return f"tok_card_household-{household}" if token in ANY_GOOD_CARD else token


class Placed(Struct, frozen=True):
    """The part of an order's answer that a shopper remembers."""

    number: str
    status: str
    total: Money
    placed_at: datetime


class Memory(Struct):
    """Whose order it is, and what was heard of it last."""

    household: int
    told: Told


class Habits(Struct, frozen=True):
    """How long shoppers think between two purchases, in seconds, and how many of a hundred pay with which card."""

    thinking_s: tuple[float, float] = THINKING_S
    cards: tuple[tuple[str, int], ...] = CARDS


HABITS = Habits()


class Crowd:
    """Shoppers who buy while the doors are `open`, each with dice of its own; the `timeline` notes each paid order.

    They are the households from `first` on.
    """

    def __init__(
        self,
        client: Client,
        goods: Goods,
        *,
        shoppers: int,
        seed: int,
        timeline: Timeline | None = None,
        first: int = FIRST_HOUSEHOLD,
        habits: Habits = HABITS,
    ) -> None:
        self._client = client
        self._habits = habits
        self._first = first
        self._goods = goods
        self.timeline = timeline or Timeline()
        self.shoppers = shoppers
        self._seed = seed
        self._run = f"drill-{seed}-{time.time_ns()}"
        self._count = itertools.count(1)
        self._memories: dict[tuple[str, str], Memory] = {}
        self._doors = asyncio.Event()
        self._shopping = 0
        self._all_home = asyncio.Event()
        self._sold = asyncio.Condition()
        self._newest: datetime | None = None
        self._recent: deque[tuple[int, str]] = deque(maxlen=RECENT_MAX)
        self._longest_wait = (0.0, "")
        self.refused: Counter[str] = Counter()

    @property
    def told(self) -> list[Told]:
        """What the shop has said of every order."""
        return [memory.told for memory in self._memories.values()]

    async def sign_in(self, *others: int) -> None:
        """Give everybody a session, `others` beside the crowd as well, so that the first round is not about log-ins."""
        async with asyncio.TaskGroup() as group:
            for household in (*range(self._first, self._first + self.shoppers), *others):
                group.create_task(self._ask(household, "GET", "/api/cart"))

    async def run(self) -> None:
        """Everybody shops, whenever the doors are open, until this is cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(self.shoppers):
                dice = random.Random(f"{self._seed} {self._first} {number}")  # noqa: S311 - a seed makes a drill repeatable
                group.create_task(self._shop(self._first + number, dice))

    def open_doors(self) -> None:
        """Let the shoppers in."""
        self._doors.set()

    async def close_doors(self) -> None:
        """Let nobody in any more, and wait until everybody inside has heard what became of the order."""
        self._doors.clear()
        while self._shopping:
            self._all_home.clear()
            await self._all_home.wait()

    async def wait_for_sale(self, *, opened_after: datetime) -> None:
        """Return once somebody was told of a paid order that the shop opened after this moment."""
        async with self._sold:
            await self._sold.wait_for(lambda: self._newest is not None and self._newest > opened_after)

    def an_order(self, dice: random.Random) -> tuple[int, str] | None:
        """A household and the number of an order that it was told of a moment ago: often the newest, None before the first."""
        if not self._recent:
            return None
        return self._recent[-1] if dice.random() < NEWEST_SHARE else dice.choice(self._recent)

    def forget_longest_wait(self) -> tuple[float, str]:
        """The longest that anybody waited for an answer since this was last asked, in seconds, and for which."""
        longest, self._longest_wait = self._longest_wait, (0.0, "")
        return longest

    async def ask_about_pending(self) -> None:
        """Have every shopper who was left in the dark look at the order."""
        for (key, number), memory in self._memories.items():
            if memory.told.state in {"pending", "cancelling"}:
                answer = await self._ask(memory.household, "GET", f"/api/orders/{number}")
                if answer.status == HTTPStatus.OK:
                    self._hear(memory.household, key, msgspec.json.decode(answer.body, type=Placed))

    def forget(self, numbers: Container[str]) -> None:
        """Hold the shop no more to what it said of these orders."""
        self._memories = {at: memory for at, memory in self._memories.items() if memory.told.number not in numbers}

    async def _shop(self, household: int, dice: random.Random) -> None:
        while True:
            await self._doors.wait()
            self._shopping += 1
            try:
                await self._buy(household, dice)
            finally:
                self._shopping -= 1
                self._all_home.set()
            await asyncio.sleep(dice.uniform(*self._habits.thinking_s))

    async def buy_slowly(self, household: int, dice: random.Random) -> None:
        """One purchase of a household beside the crowd's own, whose card takes two seconds."""
        await self._buy(household, dice, token=SLOW_CARD)

    async def _buy(self, household: int, dice: random.Random, token: str | None = None) -> None:
        lines = self._goods.basket(dice)
        token = _one_of(self._habits.cards, dice) if token is None else token
        cancels = dice.random() < CANCELLED_SHARE
        answer = await self._ask(household, "PUT", "/api/cart", msgspec.json.encode({"lines": lines}))
        if answer.status != HTTPStatus.OK:
            self._note_refusal(answer)
            return
        key = f"{self._run}-{next(self._count)}"
        wish = PlaceOrder(email_of(household), home_of(household), "standard", card_of(token, household))
        placed = await self._check_out(household, key, msgspec.json.encode(wish))
        if placed is not None and placed.status not in {"pending", "cancelled"} and cancels:
            await self._cancel(household, key, placed)

    async def _ask(
        self, household: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        began = time.monotonic()
        answer = await self._client.ask(household, method, path, body, headers)
        self._longest_wait = max(self._longest_wait, (round(time.monotonic() - began, 2), f"{method} {path}"))
        return answer

    async def _check_out(self, household: int, key: str, body: bytes) -> Placed | None:
        """Send the checkout until the shop has decided, or for as long as a shopper has patience; None when refused."""
        began = time.monotonic()
        while True:
            answer = await self._ask(household, "POST", "/api/checkout", body, {"Idempotency-Key": key})
            if answer.status not in {HTTPStatus.CREATED, HTTPStatus.ACCEPTED}:
                self._note_refusal(answer)
                return None
            placed = msgspec.json.decode(answer.body, type=Placed)
            self._hear(household, key, placed)
            if answer.status == HTTPStatus.CREATED or time.monotonic() > began + DECIDED_WITHIN_S:
                self.timeline.took("checkout", time.monotonic() - began)
                self._recent.append((household, placed.number))
                await self._note_sale(placed)
                return placed
            await asyncio.sleep(ASK_AGAIN_S)

    async def _cancel(self, household: int, key: str, placed: Placed) -> None:
        memory = self._memories[key, placed.number]
        memory.told = msgspec.structs.replace(memory.told, state="cancelling")
        path = f"/api/orders/{placed.number}/cancel"
        answer = await self._ask(household, "POST", path, b"", {"Idempotency-Key": f"cancel-{key}"})
        if answer.status == HTTPStatus.OK:
            self._hear(household, key, msgspec.json.decode(answer.body, type=Placed))
        else:
            self._note_refusal(answer)

    def _hear(self, household: int, key: str, placed: Placed) -> None:
        state = HEARD_AS.get(placed.status, "bought")
        told = Told(placed.number, placed.total.amount_minor, state, key)
        self._memories[key, placed.number] = Memory(household, told)

    async def _note_sale(self, placed: Placed) -> None:
        if placed.status not in {"paid", "authorised"}:
            return
        async with self._sold:
            self.timeline.succeeded("checkout")
            self._newest = placed.placed_at if self._newest is None else max(self._newest, placed.placed_at)
            self._sold.notify_all()

    def _note_refusal(self, answer: Answer) -> None:
        """Count it; `DrillFailed` when no shopper could have caused it."""
        code = msgspec.json.decode(answer.body, type=Problem).code
        self.refused[code] += 1
        if answer.status not in {HTTPStatus.CONFLICT, HTTPStatus.PAYMENT_REQUIRED}:
            raise DrillFailed(why=f"the shop answered {answer.status} ({code}) to a shopper who did nothing wrong")


def _one_of(cards: tuple[tuple[str, int], ...], dice: random.Random) -> str:
    return dice.choices([token for token, _ in cards], [share for _, share in cards])[0]
