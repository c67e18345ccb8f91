"""What can be done with a cart: every change is one conditional write, and is made exactly once.

The client library sends a request again when its answer is lost, so a write can be refused because an earlier
copy of itself went through. Each change has a random name and leaves it in the cart's trail; a write that was
sent more than once and is refused looks there before it tries again.
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from aiodynamo.errors import ConditionalCheckFailed, TransactionCanceled, TransactionConflict, TransactionInProgress
from aiodynamo.expressions import Condition, F, Parameters, SetAction, UpdateExpression
from aiodynamo.http.types import HttpImplementation, Request, Response
from aiodynamo.models import KeySchema, KeySpec, KeyType, ReturnValues
from aiodynamo.operations import Delete, Put

from securecart.carts.model import Bought, Cart, Lines, checked, joined, name_of_taking_out, with_quantity, without
from securecart.errors import CartChanged
from securecart.stores.dynamodb import DynamoDB, TableSpec
from securecart.values import Line

TABLE = TableSpec("carts", KeySchema(KeySpec("shopper_id", KeyType.string)), expires="expires_at")

DAY_S = 86_400
ATTEMPTS = 16
PAUSE_MS = 5
TRANSACTION_ITEMS = 100
SCAN_ITEMS = 500
AS_BOUGHT = "version = :version"
GONE_OR_AS_BOUGHT = f"attribute_not_exists(shopper_id) OR {AS_BOUGHT}"
CONDITION_FAILED = "ConditionalCheckFailed"

# What a write hears when another one came first: a changed version, or a transaction on the same item.
OVERTAKEN = (ConditionalCheckFailed, TransactionConflict, TransactionCanceled, TransactionInProgress)

Rule = Callable[[Lines], Lines]


async def load(dynamodb: DynamoDB, shopper_id: str) -> Cart:
    """The shopper's cart as the last change left it; an empty one of version 0 when there is none or its time is over."""
    return (await _read(dynamodb, shopper_id))[0]


async def replace(
    dynamodb: DynamoDB, shopper_id: str, lines: Sequence[Line], *, days: int, if_version: int | None = None
) -> Cart:
    """The cart holds exactly these lines from now on: one write and no read; `CartChanged` when it is not `if_version`."""
    name = _name()
    update = F("lines").set(_listed(checked(lines))) & F("trail").set([name]) & F("expires_at").set(_after(days))
    update &= UpdateExpression(set_updates=[(F("version"), _Risen(_first_version()))])
    # Without this a second copy of the write would undo what was put into the cart since the first.
    condition: Condition = F("trail").does_not_exist() | ~F("trail").contains(name)
    if if_version is not None:
        condition &= _at(if_version)
    for attempt in range(ATTEMPTS):
        try:
            async with dynamodb.table(TABLE) as table:
                item = await table.update_item(
                    {"shopper_id": shopper_id}, update, return_values=ReturnValues.all_new, condition=condition
                )
            return _cart(item or {})
        except ConditionalCheckFailed:
            now = await load(dynamodb, shopper_id)
            if if_version is None or name in now.trail:
                return now  # an earlier copy of this write went through
            raise CartChanged(version=now.version) from None
        except TransactionConflict:
            await _pause(attempt)
    raise CartChanged


async def add(dynamodb: DynamoDB, shopper_id: str, line: Line, *, days: int, if_version: int | None = None) -> Cart:
    """More of one SKU; `BadInput` when that is more than a cart holds, `CartChanged` when `if_version` is not its version."""
    return await _change(dynamodb, shopper_id, lambda lines: checked([*lines, line]), days=days, if_version=if_version)


async def set_quantity(
    dynamodb: DynamoDB, shopper_id: str, sku: str, quantity: int, *, days: int, if_version: int | None = None
) -> Cart:
    """So much of one SKU, 0 for none; `CartChanged` when `if_version` is given and not the cart's version."""
    return await _change(
        dynamodb, shopper_id, lambda lines: with_quantity(lines, sku, quantity), days=days, if_version=if_version
    )


async def merge(dynamodb: DynamoDB, guest_id: str, account_id: str, *, days: int) -> None:
    """The guest's cart joins the account's, and is gone: both in one transaction, so repeating it changes nothing."""
    for attempt in range(ATTEMPTS):
        guest, account = await asyncio.gather(load(dynamodb, guest_id), load(dynamodb, account_id))
        if not guest.lines:
            return
        after = account.after(_name(), joined(account.lines, guest.lines), first_version=_first_version())
        table = dynamodb.name_of(TABLE)
        steps: list[Put | Delete] = [
            Put(table, _item(account_id, after, _after(days)), _at(account.version)),
            Delete(table, {"shopper_id": guest_id}, _at(guest.version)),
        ]
        try:
            async with dynamodb.calls() as client:
                await client.transact_write_items(steps, request_token=after.change)
        except OVERTAKEN:
            # If it was an earlier copy of this transaction that came first, the guest's cart is gone and that is all.
            await _pause(attempt)
        else:
            return
    raise CartChanged


async def take_out(dynamodb: DynamoDB, shopper_id: str, cart: Cart) -> None:
    """Take what was bought out of the cart: all of it when nothing changed since, the bought units otherwise, and only once.

    A cart that has begun anew since, or has changed so often that its trail does not know the bought state any more, is
    left alone. Who knows only what was bought gives a version that no cart has, -1.
    """
    if cart.version <= 0:
        await _change(dynamodb, shopper_id, lambda lines: without(lines, cart.lines), days=None)
        return
    try:
        async with dynamodb.table(TABLE) as table:
            await table.delete_item({"shopper_id": shopper_id}, condition=_at(cart.version))
    except OVERTAKEN:
        now = await load(dynamodb, shopper_id)
        if cart.change in now.trail:
            name = name_of_taking_out(cart.change)
            await _change(dynamodb, shopper_id, lambda lines: without(lines, cart.lines), days=None, name=name)


async def take_out_many(dynamodb: DynamoDB, bought: Sequence[Bought]) -> list[Bought]:
    """Empty every cart that still is as it was bought, a hundred a transaction; safe to repeat.

    Answers those that were changed since: their bought lines are to be taken out by `take_out`.
    """
    changed: list[Bought] = []
    left = list(dict.fromkeys(bought))
    while left:
        first_of = {one.shopper_id: one for one in reversed(left)}  # a transaction may name an item once
        wave = list(first_of.values())
        left = [one for one in left if first_of[one.shopper_id] is not one]
        parts = [wave[start : start + TRANSACTION_ITEMS] for start in range(0, len(wave), TRANSACTION_ITEMS)]
        for unlike in await asyncio.gather(*(_empty(dynamodb, part, AS_BOUGHT) for part in parts)):
            # they are gone already, or changed; asking for both at once would cost every cart a third more
            changed += await _empty(dynamodb, unlike, GONE_OR_AS_BOUGHT) if unlike else []
    return changed


async def look_at_all(dynamodb: DynamoDB) -> AsyncIterator[list[tuple[str, Cart]]]:
    """Every cart whose time is not over, and whose it is, a page at a time."""
    start_key: dict[str, Any] | None = None
    while True:
        async with dynamodb.table(TABLE) as table:
            page = await table.scan_single_page(limit=SCAN_ITEMS, start_key=start_key)
        yield [(item["shopper_id"], _cart(item)) for item in page.items if item["expires_at"] > time.time()]
        start_key = page.last_evaluated_key
        if start_key is None:
            return


async def _empty(dynamodb: DynamoDB, part: list[Bought], condition: str) -> list[Bought]:
    """Delete these carts in one transaction, without those that do not meet the condition; answers these.

    The request is written out here: the library's expressions cost more than sending it.
    """
    table, unlike = dynamodb.name_of(TABLE), []
    for attempt in range(ATTEMPTS):
        steps = [
            {
                "Delete": {
                    "TableName": table,
                    "Key": {"shopper_id": {"S": one.shopper_id}},
                    "ConditionExpression": condition,
                    "ExpressionAttributeValues": {":version": {"N": str(one.version)}},
                }
            }
            for one in part
        ]
        try:
            async with dynamodb.calls() as client:
                payload = {"ClientRequestToken": _name(), "TransactItems": steps}
                await client.send_request(action="TransactWriteItems", payload=payload)
        except TransactionCanceled as cancelled:
            failed = [reason is not None and reason.code == CONDITION_FAILED for reason in cancelled.cancellation_reasons]
            unlike += [one for one, is_unlike in zip(part, failed, strict=True) if is_unlike]
            part = [one for one, is_unlike in zip(part, failed, strict=True) if not is_unlike]
            if not part:
                return unlike
            if not any(failed):
                await _pause(attempt)
        except (TransactionConflict, TransactionInProgress):
            await _pause(attempt)
        else:
            return unlike
    raise CartChanged


async def _change(
    dynamodb: DynamoDB,
    shopper_id: str,
    rule: Rule,
    *,
    days: int | None,
    if_version: int | None = None,
    name: str | None = None,
) -> Cart:
    """Apply the rule to the newest lines, again when another write comes first; with no `days` the expiry stays.

    A change with a `name` of its caller's is made once, and leaves its name even where it changes no line.
    """
    named, name, doubtful = name is not None, name or _name(), None
    for attempt in range(ATTEMPTS):
        cart, expires_at = await _read(dynamodb, shopper_id)
        if name in cart.trail:
            return cart
        if doubtful is not None and not cart.knows_since(doubtful.version):
            break  # so much has happened since that nobody can tell whether a copy of the write went through
        if if_version not in {None, cart.version}:
            raise CartChanged(version=cart.version)
        lines = rule(cart.lines)
        if lines == cart.lines and not named:
            return cart
        after = cart.after(name, lines, first_version=_first_version())
        item = _item(shopper_id, after, expires_at if days is None else _after(days))
        async with dynamodb.calls() as client:
            sender = _Sender(client.http)
            try:
                await dataclasses.replace(client, http=sender).put_item(
                    dynamodb.name_of(TABLE), item, condition=_at(cart.version)
                )
            except OVERTAKEN:
                doubtful = cart if sender.times > 1 else None
            else:
                return after
        await _pause(attempt)
    raise CartChanged


async def _read(dynamodb: DynamoDB, shopper_id: str) -> tuple[Cart, int]:
    """The cart and when it ends; DynamoDB removes what has ended hours or days later, so that is filtered here."""
    item = await dynamodb.get(TABLE, shopper_id)
    return (_cart(item), item["expires_at"]) if item is not None and item["expires_at"] > time.time() else (Cart(), 0)


def _cart(item: dict[str, Any]) -> Cart:
    lines = tuple(Line(line["sku"], line["quantity"]) for line in item["lines"])
    return Cart(lines, item["version"], item["trail"][-1], tuple(item["trail"]))


def _item(shopper_id: str, cart: Cart, expires_at: int) -> dict[str, Any]:
    return {
        "shopper_id": shopper_id,
        "lines": _listed(cart.lines),
        "version": cart.version,
        "trail": cart.trail,
        "expires_at": expires_at,
    }


def _listed(lines: Lines) -> list[dict[str, Any]]:
    return [{"sku": line.sku, "quantity": line.quantity} for line in lines]


def _at(version: int) -> Condition:
    """The cart has this version; version 0 is no cart, or one whose time is over."""
    if version == 0:
        return F("shopper_id").does_not_exist() | F("expires_at").lte(int(time.time()))
    return F("version").equals(version)


def _first_version() -> int:
    """Where a cart begins to count: at the clock, so that a cart filled anew after an order never has an old version."""
    return int(time.time() * 1000)


class _Sender:
    """Sends what the client gives it and counts how often: more than once where an answer was lost."""

    def __init__(self, send: HttpImplementation) -> None:
        self._send = send
        self.times = 0

    async def __call__(self, request: Request) -> Response:
        self.times += 1
        return await self._send(request)


@dataclasses.dataclass(frozen=True)
class _Risen(SetAction):
    """One more than the number that is there, or `first` where there is none; aiodynamo has no such expression."""

    first: int

    def encode(self, params: Parameters, field: F) -> str:
        """The expression in DynamoDB's words."""
        return f"if_not_exists({field.encode(params)}, {params.encode_value(self.first - 1)}) + {params.encode_value(1)}"


def _name() -> str:
    return secrets.token_hex(8)


def _after(days: int) -> int:
    return int(time.time()) + days * DAY_S


async def _pause(attempt: int) -> None:
    await asyncio.sleep(secrets.randbelow(PAUSE_MS * (attempt + 1)) / 1000)
