"""What concurrent checkouts do together: one set-based round for prices, one commit to open orders, one to settle them.

Each order is judged on its own, in order of arrival: one that finds no stock is refused and the others go through.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from securecart import catalog, fraud, inventory, orders, payments
from securecart.catalog import PricedItem
from securecart.checkout.model import REVIEW_S, Cost, Opening, Question, Rates, Settlement
from securecart.errors import CartBought, OutOfStock, StoreAway, StoreBusy
from securecart.events import OrderDeclined, OrderPlaced
from securecart.inventory import Hold, Shelves, Taken
from securecart.orders import Decided, NewOrder, Opened
from securecart.patience import FAILOVER, repeat
from securecart.payments import Card, Gateway
from securecart.stores.postgres import Database, Transaction, log, rows, statements_of
from securecart.values import Line, Money

SQL = statements_of(__package__)

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")


async def cards_all(gateway: Gateway, tokens: Sequence[str]) -> Sequence[Card | Exception | None]:
    """The card behind each token, as far as the gateway says."""
    try:
        return await gateway.cards(tokens)
    except Exception as why:  # noqa: BLE001 - told to each: there is no time to ask one by one
        return [why] * len(tokens)


async def cost_all(database: Database, questions: Sequence[Question]) -> list[Cost]:
    """What goods, tax and shipping cost now, by the orders database itself."""
    countries, currencies = zip(*{(one.country, one.currency) for one in questions}, strict=True)
    async with database.fresh() as fresh:
        items: dict[str, dict[str, PricedItem]] = {}
        for currency in dict.fromkeys(currencies):
            skus = {sku for one in questions if one.currency == currency for sku in one.skus}
            items[currency] = await catalog.price(fresh, list(skus), currency)
        rates = {(one.country, one.currency): one for one in await rows(fresh, SQL["rates"], Rates, countries, currencies)}
    return [Cost(items[one.currency], rates[one.country, one.currency]) for one in questions]


async def through_failover(
    patience_s: float, work: Callable[[Sequence[Ask]], Awaitable[Sequence[Answer | Exception]]], asks: Sequence[Ask]
) -> Sequence[Answer | Exception]:
    """What `work` answers to a group, which is done again as a group while the database is away.

    Each of these works may be repeated: an order whose commit was not heard of is found under its own number, and one that
    was decided is left alone. When patience is over, each of the group is told, and none is tried by itself once more.
    """

    async def once() -> Sequence[Answer | Exception] | StoreAway:
        try:
            return await work(asks)
        except StoreAway as away:
            # somebody holds a row, or one order takes too long: the group is taken apart, so that the others go on
            if isinstance(away, StoreBusy) or isinstance(away.__cause__, TimeoutError):
                return away
            raise

    try:
        done = await repeat(msgspec.structs.replace(FAILOVER, retry_for_s=patience_s), StoreAway, once)
    except StoreAway as away:
        return [away] * len(asks)
    if isinstance(done, StoreAway):
        raise done
    return done


async def open_all(database: Database, gateway: str, openings: Sequence[Opening]) -> list[Opened | Exception]:
    """Transaction 1: each order pending with all of its stock reserved, or refused and nothing of it written.

    An order that was there already is answered as it is; a cart that was bought under another key is `CartBought`.
    """
    wishes = [one.order for one in openings]
    said = {one.order.number: one.assessed for one in openings if one.assessed is not None}
    async with database.transaction() as tx:
        shelves = await inventory.lock(tx, (line.sku for wish in wishes for line in wish.lines))
        outcomes, taken = await _judge_and_open(tx, shelves, wishes)
        fresh = [wish for wish in wishes if wish.number in taken]
        if fresh:
            ids = {wish.number: outcome.id for wish in fresh if isinstance(outcome := outcomes[wish.number], Opened)}
            await inventory.hold(tx, [Hold(ids[wish.number], taken[wish.number]) for wish in fresh])
            amounts = {ids[wish.number]: Money(wish.total_minor, wish.currency) for wish in fresh}
            await payments.expect(tx, amounts, gateway=gateway)
            assessed = {ids[wish.number]: said[wish.number] for wish in fresh if wish.number in said}
            if assessed:
                await fraud.keep(tx, assessed)
    return [outcomes[wish.number] for wish in wishes]


async def settle_all(
    database: Database, region: str, settlements: Sequence[Settlement], *, hold_s: float = REVIEW_S
) -> list[Decided | None]:
    """Transaction 2: make the gateway's word each order's state; None for one that was decided before."""
    first: dict[int, Settlement] = {}
    for one in settlements:
        first.setdefault(one.order_id, one)
    async with database.transaction() as tx:
        decided = await settle_in(tx, first, region=region, hold_s=hold_s)
    return [decided.pop(one.order_id, None) for one in settlements]


async def settle_in(tx: Transaction, settlements: Mapping[int, Settlement], *, region: str, hold_s: float) -> dict[int, Decided]:
    """The same within the caller's transaction, by order; one that was decided before is left out.

    A bought order that is to be reviewed is held for `hold_s` from now on, whoever heard of its payment.
    """
    # stock before orders, as when they are opened: whoever opens one has its stock when its key makes it wait for us
    free = [order_id for order_id, one in settlements.items() if not one.is_bought]
    if free:
        await inventory.lock_held(tx, free)
    decided = await orders.decide_all(tx, [one.decision for one in settlements.values()])
    if decided:
        await payments.record(tx, {order_id: settlements[order_id].charge for order_id in decided})
        await _move_stock(tx, decided.values())
        bought = [one.id for one in decided.values() if one.is_bought]
        if bought:
            await fraud.hold(tx, bought, seconds=hold_s)
        await log.publish(tx, [_fact(one, region) for one in decided.values()])
    return decided


async def _move_stock(tx: Transaction, decided: Iterable[Decided]) -> None:
    bought = [one.id for one in decided if one.is_bought]
    if bought:
        await inventory.sell(tx, bought)
    free = [one.id for one in decided if not one.is_bought]
    if free:
        await inventory.release(tx, free)


async def _judge_and_open(
    tx: Transaction, shelves: Shelves, wishes: Sequence[NewOrder]
) -> tuple[dict[str, Opened | Exception], dict[str, list[Taken]]]:
    """What became of each order, by number, and what the new ones took from the shelves.

    An order that turns out to be there already gives its units back, and those it left without are judged again. One that
    is refused to the end may be there as well: what it is refused for may be just what it has.
    """
    outcomes: dict[str, Opened | Exception] = {}
    taken: dict[str, list[Taken]] = {}
    waiting, refused = list(wishes), list[NewOrder]()
    while waiting:
        admitted, refused = [], []
        for wish in waiting:
            try:
                taken[wish.number] = shelves.take(Line(line.sku, line.quantity) for line in wish.lines)
                admitted.append(wish)
            except OutOfStock as short:
                outcomes[wish.number] = short
                refused.append(wish)
        there_already = False
        for wish, opened in zip(admitted, await orders.open_all(tx, admitted) if admitted else [], strict=True):
            if opened.was_there:
                shelves.give_back(taken.pop(wish.number))
                there_already = True
            outcomes[wish.number] = _answer(opened)
        waiting = refused if there_already else []
    there = await orders.find_opened(tx, refused)
    outcomes.update({number: _answer(opened) for number, opened in there.items()})
    return outcomes, taken


def _answer(opened: Opened) -> Opened | CartBought:
    return opened if opened.same_key else CartBought(number=opened.number)


def _fact(decided: Decided, region: str) -> OrderPlaced | OrderDeclined:
    if not decided.is_bought:
        return OrderDeclined(decided.id, decided.shopper_id)
    return OrderPlaced(decided.id, decided.shopper_id, decided.number, decided.cart_version, decided.cart_change, region)
