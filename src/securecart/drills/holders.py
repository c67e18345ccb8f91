"""Shoppers who only hold: guests with a session and a cart, made one after the other until their region dies.

Afterwards each is looked for in the other region, with its token: is it still known there, and is the cart as it was left?
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from http import HTTPStatus

import aiohttp
import msgspec
from msgspec import Struct

from securecart.checkout import PlaceOrder
from securecart.drills.crowd import HOME
from securecart.drills.goods import Goods
from securecart.values import Line

__all__ = ["Found", "Holder", "Holders", "Kept"]

ARRIVALS_AT_ONCE, NEXT_AFTER_S = 3, 0.08
ANSWER_WITHIN_S = 3.0
AT_ONCE = 16
TRIES, AGAIN_S = 20, 0.5
LOST = (aiohttp.ClientError, OSError, TimeoutError)


class Entry(Struct, frozen=True):
    """The part of a new session's answer that is kept."""

    token: str


class Contents(Struct, frozen=True):
    """The part of a cart's answer that is compared."""

    lines: tuple[Line, ...] = ()


class Holder(Struct, frozen=True):
    """Who holds what, and when the shop had said so; moments are seconds of `time.monotonic`."""

    token: str
    lines: tuple[Line, ...]
    signed_in: float
    filled: float


class Found(Struct, frozen=True):
    """What became of a holder in the other region."""

    holder: Holder
    known: bool
    cart_kept: bool


class Kept(Struct, frozen=True):
    """Counts of sessions and carts; `old` ones were older than the lag allowed, and `lag_s` is the age of the oldest lost."""

    sessions: int
    sessions_old: int
    sessions_old_kept: int
    sessions_kept: int
    carts_old: int
    carts_old_kept: int
    carts_kept: int
    lag_s: float

    @classmethod
    def of(cls, found: Sequence[Found], *, at: float, lag_s: float) -> Kept:
        """The counts by what was older than `lag_s` at the moment `at`."""
        old = [one for one in found if at - one.holder.signed_in > lag_s]
        old_carts = [one for one in found if at - one.holder.filled > lag_s]
        lost = [at - one.holder.signed_in for one in found if not one.known]
        lost += [at - one.holder.filled for one in found if not one.cart_kept]
        return cls(
            sessions=len(found),
            sessions_old=len(old),
            sessions_old_kept=sum(one.known for one in old),
            sessions_kept=sum(one.known for one in found),
            carts_old=len(old_carts),
            carts_old_kept=sum(one.cart_kept for one in old_carts),
            carts_kept=sum(one.cart_kept for one in found),
            lag_s=round(max(lost, default=0.0), 3),
        )


class Holders:
    """The guests of one region, who arrive while it is `run`."""

    def __init__(self, http: aiohttp.ClientSession, url: str, goods: Goods) -> None:
        self._http = http
        self._url = url.rstrip("/")
        self._goods = goods
        self.all: list[Holder] = []

    async def run(self) -> None:
        """Let one guest after the other in, until this is cancelled."""
        async with asyncio.TaskGroup() as group:
            for first in range(ARRIVALS_AT_ONCE):
                group.create_task(self._let_in(itertools.count(first, ARRIVALS_AT_ONCE)))

    async def _let_in(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            line = Line(self._goods.plenty[number % len(self._goods.plenty)], 1 + number % 3)
            holder = await self._arrive(line)
            if holder is not None:
                self.all.append(holder)
            await asyncio.sleep(NEXT_AFTER_S)

    async def look_for(self, url: str) -> list[Found]:
        """Ask for every guest at another region's door."""
        turn = asyncio.Semaphore(AT_ONCE)

        async def look(holder: Holder) -> Found:
            async with turn:
                status, body = await self._ask("GET", f"{url}/api/cart", holder.token)
            known = status == HTTPStatus.OK
            lines = msgspec.json.decode(body, type=Contents).lines if known else ()
            return Found(holder, known, known and lines == holder.lines)

        return list(await asyncio.gather(*(look(holder) for holder in self.all)))

    async def buy(self, holder: Holder, url: str, key: str) -> int:
        """Buy the guest's cart at this door, asking again while its payment is not decided; the status of the last answer."""
        where = msgspec.structs.replace(HOME, line1=f"{key} Drill Street")
        wish = PlaceOrder(f"{key}@drill.securecart.test", where, "standard", f"tok_card_{key}")
        headers = {"Idempotency-Key": key}
        status, _ = await self._ask("POST", f"{url}/api/checkout", holder.token, msgspec.json.encode(wish), headers)
        return status

    async def _arrive(self, line: Line) -> Holder | None:
        try:
            async with self._http.post(f"{self._url}/api/sessions") as answer:
                if answer.status != HTTPStatus.CREATED:
                    return None
                token = msgspec.json.decode(await answer.read(), type=Entry).token
            signed_in = time.monotonic()
            body = msgspec.json.encode({"lines": [line]})
            async with self._http.put(f"{self._url}/api/cart", data=body, headers=_bearer(token)) as answer:
                return Holder(token, (line,), signed_in, time.monotonic()) if answer.status == HTTPStatus.OK else None
        except LOST:
            return None

    async def _ask(
        self, method: str, url: str, token: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """The answer that stands: a door that is busy or away is asked again for some seconds."""
        status, said = 0, b""
        for _ in range(TRIES):
            try:
                async with self._http.request(method, url, data=body, headers={**_bearer(token), **(headers or {})}) as answer:
                    status, said = answer.status, await answer.read()
            except LOST:
                status = 0
            if 0 < status < HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.ACCEPTED:
                break
            await asyncio.sleep(AGAIN_S)
        return status, said


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
