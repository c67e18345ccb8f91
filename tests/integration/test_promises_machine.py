"""The promises under random shoppers, staff and crashes: real databases, the real sandbox gateway, a check after each step.

A shop of its own, so that whatever is found wrong was done here. Hypothesis draws the steps, the same ones in each run; what
fails is cut down to the few steps that it takes. A process "dies" by an exception that nothing catches, at a point where it
has done one thing and not the next.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, ClassVar, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from msgspec import Struct

from securecart import carts, checkout, inventory, promises, readers
from securecart.app import Shop, open_shop, prepare
from securecart.checkout import Till
from securecart.errors import BadInput, CartBought, CartEmpty, GatewayAway, OrderStateConflict, OutOfStock, StoreAway
from securecart.inventory import Receipt
from securecart.orders import Order
from securecart.payments import Charge
from securecart.promises import Told
from securecart.sessions import Session
from securecart.settings import Settings
from securecart.values import Line
from tests.catalog_for_tests import a_database
from tests.forced_moments import DeafDatabase, HeldGateway, a_till
from tests.orders_for_tests import a_guest, a_product
from tests.shopping import buy, fill, find

EXAMPLES, STEPS = 25, 30
NAME = "machine"
CARDS = st.sampled_from(["tok_visa", "tok_visa", "tok_mastercard", "tok_declined", "tok_answer_lost"])
FATES = st.sampled_from(["well", "well", "well", "opened", "charged", "settled", "deaf opened", "deaf settled", "call lost"])
WHO = st.integers(0, 2)
ANY = st.integers(0, 99)
Units = tuple[int, ...]
UNITS: st.SearchStrategy[Units] = st.tuples(*[st.integers(0, 3)] * 3).filter(any)
MAYBE_UNITS = st.one_of(UNITS, UNITS, st.none())
DECIDED_TWICE = """
    SELECT body ->> 'order_id' AS order FROM event
    WHERE body ->> 'kind' IN ('order_placed', 'order_declined')
    GROUP BY 1 HAVING count(*) > 1
"""
LIVE = {"paid", "authorised", "partially_refunded", "refunded", "pending"}

T = TypeVar("T")


class Died(Exception):
    """The process is gone: nobody catches this."""


class Attempt(Struct, frozen=True):
    """A purchase that somebody may try again: who, with which key and card."""

    who: int
    key: str
    card: str


class MortalGateway(HeldGateway):
    """The gateway as seen by a process whose `fate` is to die, or to be cut off, at a certain point."""

    def __init__(self, shop: Shop, fate: str, database: DeafDatabase) -> None:
        super().__init__(shop)
        self._fate = fate
        self._database = database

    async def authorise(self, *asked: Any, **more: Any) -> Charge:
        if self._fate == "call lost":
            raise GatewayAway(store="card gateway", retry_after=1)
        charge = await super().authorise(*asked, **more)
        if self._fate == "charged":
            raise Died
        if self._fate == "deaf settled":
            self._database.deaf = 1
        return charge

    def __getattr__(self, name: str) -> Any:
        verb = super().__getattr__(name)
        return dying(verb) if self._fate == "decided" and name in {"capture", "void"} else verb

    async def refund(self, *asked: Any, **more: Any) -> Any:
        done = await super().refund(*asked, **more)
        if self._fate == "decided":
            raise Died
        return done


def dying(verb: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """The verb, and death right after it."""

    async def last(*arguments: Any, **more: Any) -> Any:
        await verb(*arguments, **more)
        raise Died

    return last


def a_fated_till(shop: Shop, fate: str, *, captures_at_once: bool = True) -> Till:
    """The till of a process with this fate."""
    database = DeafDatabase(shop.database, deaf=int(fate == "deaf opened"))
    till = a_till(shop, gateway=MortalGateway(shop, fate, database), database=database, captures_at_once=captures_at_once)
    if fate == "opened":
        vars(till)["open"] = dying(till.open)
    if fate == "settled":
        vars(till)["settle"] = dying(till.settle)
    return till


class World:
    """One shop for the whole test, the loop it lives on, and how long the gateway's book was before."""

    def __init__(self, shop: Shop, runner: asyncio.Runner, entries_before: int) -> None:
        self.shop = shop
        self.run = runner.run
        self._entries_before = entries_before

    async def book(self) -> promises.Book:
        book, before = await promises.read_book(self.shop.settings), self._entries_before
        return promises.Book(
            book.references[before:], book.statuses[before:], book.amounts_minor[before:], book.refunded_minor[before:]
        )


class Shopping(RuleBasedStateMachine):
    """Three shoppers, three scarce things, one staff, and a bad day."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.shop = self.world.shop
        self.shoppers: list[Session] = [a_guest() for _ in range(3)]
        self.skus: list[str] = []
        self.received: dict[str, int] = {}
        self.attempts: list[Attempt] = []
        self.told: dict[str, Told] = {}
        self.swept = self.caught_up = False

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        self.swept = self.caught_up = False
        return self.world.run(work)

    # what is in the shop -------------------------------------------------------------------------------------

    @initialize(stock=st.tuples(*[st.integers(2, 7)] * 3), prices=st.tuples(*[st.sampled_from([0, 1, 99, 700])] * 3))
    def open_the_shop(self, stock: Units, prices: Units) -> None:
        """Goods arrive, and each shopper has bought something before the day begins."""
        self.skus = self.do(self._stock_up(stock, prices))
        for who, units in enumerate([(1, 0, 1), (0, 2, 0), (0, 1, 1)]):
            self.somebody_buys(who, units, "tok_visa", "well", at_once=who != 0)

    async def _stock_up(self, stock: Units, prices: Units) -> list[str]:
        async with self.shop.database.transaction() as tx:
            await inventory.add_location(tx, "annex", "Annex")
        skus = [await a_product(self.shop.database, price_minor=price, stock=0) for price in prices]
        await self._receive([Receipt(sku, units) for sku, units in zip(skus, stock, strict=True) if units])
        return skus

    async def _receive(self, receipts: list[Receipt]) -> None:
        async with self.shop.database.transaction() as tx:
            await inventory.receive(tx, receipts)
        for one in receipts:
            self.received[one.sku] = self.received.get(one.sku, 0) + one.quantity

    @rule(what=WHO, units=st.integers(1, 4), place=st.sampled_from(["main", "annex"]))
    def goods_arrive(self, what: int, units: int, place: str) -> None:
        self.do(self._receive([Receipt(self.skus[what], units, place)]))

    # what shoppers do ----------------------------------------------------------------------------------------

    @rule(who=WHO, units=MAYBE_UNITS, card=CARDS, fate=FATES, at_once=st.booleans())
    def somebody_buys(self, who: int, units: Units | None, card: str, fate: str, *, at_once: bool) -> None:
        self._fill(who, units)
        attempt = self._new_attempt(who, card)
        expected = self.do(self._expected(who))
        outcome = self.do(self._try(attempt, a_fated_till(self.shop, fate, captures_at_once=at_once)))
        cut_off = fate not in {"well", "call lost"} and isinstance(outcome, Died | StoreAway)
        assert cut_off or type(outcome).__name__ == expected, outcome

    @rule(which=ANY)
    def somebody_tries_again(self, which: int) -> None:
        if not self.attempts:
            return
        attempt = self.attempts[which % len(self.attempts)]
        before = self.do(self._number_of(attempt))
        outcome = self.do(self._try(attempt, a_till(self.shop)))
        if before is not None:
            assert isinstance(outcome, Order)
            assert outcome.number == before

    @rule(who=WHO, units=MAYBE_UNITS, card=CARDS, one_key=st.booleans(), one_process=st.booleans())
    def somebody_buys_from_two_tabs(self, who: int, units: Units | None, card: str, *, one_key: bool, one_process: bool) -> None:
        self._fill(who, units)
        tabs = [self._new_attempt(who, card) for _ in range(2)]
        if one_key:
            tabs = tabs[:1] * 2
        left = a_till(self.shop)
        tills = (left, left if one_process else a_till(self.shop))
        expected = self.do(self._expected(who))
        outcomes = self.do(self._all_at_once(list(zip(tabs, tills, strict=True))))
        numbers = {one.number for one in outcomes if isinstance(one, Order) and one.status in LIVE}
        assert len(numbers) <= 1, outcomes
        if one_key or expected != "Order":
            assert [type(one).__name__ for one in outcomes] == [expected] * 2

    @rule(wanted=st.tuples(*[UNITS] * 3), cards=st.tuples(*[CARDS] * 3), processes=st.integers(1, 3))
    def everybody_wants_the_same_at_once(self, wanted: tuple[Units, ...], cards: tuple[str, ...], processes: int) -> None:
        for who, units in enumerate(wanted):
            self._fill(who, units)
        tills = [a_till(self.shop) for _ in range(processes)]
        tried = [(self._new_attempt(who, card), tills[who % processes]) for who, card in enumerate(cards)]
        for outcome in self.do(self._all_at_once(tried)):
            assert isinstance(outcome, Order | OutOfStock), outcome

    def _fill(self, who: int, units: Units | None) -> None:
        """The cart holds so many of each thing; None leaves it as it is."""
        if units is not None:
            lines = [Line(sku, count) for sku, count in zip(self.skus, units, strict=True) if count]
            self.do(fill(self.shop, self.shoppers[who], *lines))

    def _new_attempt(self, who: int, card: str) -> Attempt:
        self.attempts.append(Attempt(who, secrets.token_hex(6), card))
        return self.attempts[-1]

    async def _all_at_once(self, tried: list[tuple[Attempt, Till]]) -> list[Order | Exception]:
        return list(await asyncio.gather(*(self._try(attempt, till) for attempt, till in tried)))

    async def _try(self, attempt: Attempt, till: Till) -> Order | Exception:
        """Buy, and remember what was said."""
        try:
            order = await buy(self.shop, self.shoppers[attempt.who], attempt.key, till=till, token=attempt.card)
        except (OutOfStock, CartEmpty, CartBought, StoreAway, Died) as error:
            return error
        self._hear(order, key=f"{self.shoppers[attempt.who].shopper_id} {attempt.key}")
        return order

    def _hear(self, order: Order, *, key: str = "") -> None:
        known = self.told.get(order.number)
        key = key or (known.key if known else "")
        if order.status == "declined":
            return
        state = "pending" if order.status == "pending" else "cancelled" if order.status == "cancelled" else "bought"
        self.told[order.number] = Told(order.number, order.total.amount_minor, state, key)  # type: ignore[arg-type]

    async def _expected(self, who: int) -> str:
        """What a shopper who buys now, alone and with a new key, must hear."""
        shopper = self.shoppers[who].shopper_id
        cart = await carts.load(self.shop.dynamodb, shopper)
        if not cart.lines:
            return "CartEmpty"
        async with self.shop.database.fresh() as read:
            free = await inventory.available(read, self.skus)
            bought = await read.fetchval(
                """
                SELECT count(*) FROM orders
                WHERE shopper_id = $1 AND cart_change = $2 AND status NOT IN ('declined', 'cancelled')
                """,
                shopper,
                cart.change,
            )
        if bought:
            return "CartBought"
        return "Order" if all(free[line.sku] >= line.quantity for line in cart.lines) else "OutOfStock"

    async def _number_of(self, attempt: Attempt) -> str | None:
        async with self.shop.database.fresh() as read:
            number: str | None = await read.fetchval(
                "SELECT number FROM orders WHERE shopper_id = $1 AND idempotency_key = $2",
                self.shoppers[attempt.who].shopper_id,
                attempt.key,
            )
        return number

    # what staff do -------------------------------------------------------------------------------------------

    def _an_order(self, which: int) -> str | None:
        """One of the orders that somebody was told of; who wins a race is not drawn, so what is drawn must not depend on it."""
        return list(self.told)[which % len(self.told)] if self.told else None

    @rule(which=ANY, dies=st.booleans())
    def an_order_is_cancelled(self, which: int, *, dies: bool) -> None:
        number = self._an_order(which)
        if number is None:
            return
        before = self.do(find(self.shop, number))
        till = a_fated_till(self.shop, "decided" if dies else "well")
        try:
            self._hear(self.do(checkout.cancel(till, number, shopper_id=None, key=secrets.token_hex(4))))
        except OrderStateConflict:
            assert before.status not in {"paid", "authorised"} or self.do(self._is_on_its_way(number))
        except Died:
            self.told[number] = msgspec.structs.replace(self.told[number], state="cancelling")

    async def _is_on_its_way(self, number: str) -> bool:
        async with self.shop.database.fresh() as read:
            row = await read.fetchrow(
                """
                SELECT shipped_at IS NOT NULL OR payment.wanted IS NOT NULL AS gone
                FROM orders JOIN payment ON payment.order_id = orders.id WHERE number = $1
                """,
                number,
            )
        return bool(row and row["gone"])

    @rule(which=ANY, amount=st.integers(1, 900), dies=st.booleans(), twice=st.booleans())
    def a_part_is_refunded(self, which: int, amount: int, *, dies: bool, twice: bool) -> None:
        number, key = self._an_order(which), secrets.token_hex(4)
        if number is None:
            return
        till = a_fated_till(self.shop, "decided" if dies else "well")
        for _ in range(2 if twice else 1):
            # what may be refunded, and that it is refunded once, the check after each step knows
            with suppress(BadInput, OrderStateConflict, Died):
                self._hear(self.do(checkout.refund(till, number, amount_minor=amount, reason="damaged", key=key)))

    @rule(which=ANY, dies=st.booleans())
    def an_order_is_shipped(self, which: int, *, dies: bool) -> None:
        number = self._an_order(which)
        if number is None:
            return
        with suppress(OrderStateConflict, Died):
            self._hear(self.do(checkout.ship(a_fated_till(self.shop, "decided" if dies else "well"), number)))

    # what the worker does ------------------------------------------------------------------------------------

    @rule(at_once=st.integers(1, 2))
    def the_sweeper_comes(self, at_once: int) -> None:
        self.do(self._sweep(at_once))
        self.swept = True

    async def _sweep(self, at_once: int) -> None:
        async with self.shop.database.transaction() as tx:
            await tx.execute("UPDATE orders SET pending_until = now() - interval '1 second' WHERE status = 'pending'")
            await tx.execute("UPDATE refund SET created_at = now() - interval '1 minute' WHERE status = 'pending'")
            await tx.execute("UPDATE payment SET wanted_at = now() - interval '1 minute' WHERE wanted IS NOT NULL")
        await asyncio.gather(*(checkout.sweep(a_till(self.shop)) for _ in range(at_once)))

    @rule()
    def the_readers_catch_up(self) -> None:
        self.do(readers.catch_up(self.shop.stores))
        self.caught_up = True

    # what must be true after each step ---------------------------------------------------------------------------

    @invariant()
    def the_promises_are_kept(self) -> None:
        if not self.skus:
            return
        found = self.world.run(self._broken())
        assert found == []
        if self.swept:
            assert self.world.run(self._reserved()) == 0
        if self.caught_up:
            assert self.world.run(readers.differences(self.shop.stores)) == {"carts": 0, "history": 0, "graph": 0}

    async def _broken(self) -> list[str]:
        book = await self.world.book()
        told = list(self.told.values())
        async with self.shop.database.fresh() as read:
            found = await promises.look(read, told=told, received=self.received, book=book, at_rest=self.swept)
            twice = await read.fetch(DECIDED_TWICE)
        return [f"{one.promise}: {one.what}" for one in found] + [f"order {one['order']} was decided twice" for one in twice]

    async def _reserved(self) -> int:
        async with self.shop.database.fresh() as read:
            held: int = await read.fetchval("SELECT count(*) FROM hold")
        return held

    def teardown(self) -> None:
        """The day ends: everything is finished, and everything is checked once more."""
        if self.skus:
            self.the_sweeper_comes(1)
            self.the_readers_catch_up()
            self.swept = True
            self.the_promises_are_kept()


@asynccontextmanager
async def a_shop(engines: Settings) -> AsyncIterator[Shop]:
    """A shop with a database and tables of its own; only the gateway and the cache are everybody's."""
    async with a_database(engines, NAME):
        beside = {name: f"{getattr(engines, name).rpartition('/')[0]}/{NAME}" for name in ("postgres_url", "postgres_owner_url")}
        ours = msgspec.structs.replace(engines, dynamodb_prefix=f"{NAME}-", **beside)
        await prepare(ours)
        async with open_shop(ours) as shop:
            yield shop


@pytest.fixture
def world(engines: Settings) -> Iterator[World]:
    """The shop on a loop of its own, because the machine's rules are no coroutines."""
    with asyncio.Runner() as runner:
        opened = a_shop(engines)
        shop = runner.run(opened.__aenter__())
        before = runner.run(promises.read_book(shop.settings))
        yield World(shop, runner, len(before.references))
        runner.run(opened.__aexit__(None, None, None))


def test_the_promises_are_kept_whatever_happens(world: World) -> None:
    class Bound(Shopping):
        pass

    Bound.world = world
    run_state_machine_as_test(
        Bound,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
