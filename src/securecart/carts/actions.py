"""What can be done with a cart. A change is read, worked out, and written on condition of the version it was read at.

The client library sends a request again when its answer is lost. Each change carries a random name, so a write
that meets itself is recognised and counted once.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

from aiodynamo.client import Table
from aiodynamo.errors import ConditionalCheckFailed, ItemNotFound, TransactionCanceled, TransactionConflict
from aiodynamo.expressions import Condition, F
from aiodynamo.models import KeySchema, KeySpec, KeyType, ReturnValues
from aiodynamo.operations import Delete, Put

from securecart.carts.model import Cart, Lines, checked, joined, with_quantity, without
from securecart.errors import CartChanged
from securecart.stores.dynamodb import DynamoDB, TableSpec
from securecart.values import Line

TABLE = TableSpec("carts", KeySchema(KeySpec("shopper_id", KeyType.string)), expires="expires_at")

DAY_S = 86_400
ATTEMPTS = 12


async def load(dynamodb: DynamoDB, shopper_id: str) -> Cart:
    """The shopper's cart as it is now; an empty one when there is none or its time is over."""
    async with dynamodb.table(TABLE) as table:
        return await _read(table, shopper_id)


async def replace(
    dynamodb: DynamoDB, shopper_id: str, lines: Sequence[Line], *, days: int, if_version: int | None = None
) -> Cart:
    """The cart holds exactly these lines from now on; one write, and no read unless a version was asked for."""
    wanted = checked(lines)
    if if_version is not None:
        return await _change(dynamodb, shopper_id, lambda _: wanted, days=days, if_version=if_version)
    update = F("lines").set(_listed(wanted)) & F("version").add(1)
    update = update & F("change").set(_name()) & F("expires_at").set(_after(days))
    async with dynamodb.table(TABLE) as table:
        written = await table.update_item({"shopper_id": shopper_id}, update, return_values=ReturnValues.all_new)
    return _cart(written or {})


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
    async with dynamodb.table(TABLE) as table:
        for _ in range(ATTEMPTS):
            guest = await _read(table, guest_id)
            if not guest.lines:
                return
            account = await _read(table, account_id)
            item = _item(account_id, Cart(joined(account.lines, guest.lines), account.version + 1, _name()), days)
            try:
                await table.client.transact_write_items(
                    [
                        Put(table.name, item, condition=_at(account)),
                        Delete(table.name, {"shopper_id": guest_id}, condition=_at(guest)),
                    ]
                )
            except (TransactionCanceled, TransactionConflict):
                continue
            return
    raise CartChanged


async def take_out(dynamodb: DynamoDB, shopper_id: str, cart: Cart) -> None:
    """Take what was bought out of the cart: all of it when nothing changed since, the bought units otherwise."""
    async with dynamodb.table(TABLE) as table:
        try:
            await table.delete_item({"shopper_id": shopper_id}, condition=_at(cart))
        except ConditionalCheckFailed:
            left = await _read(table, shopper_id)
            if not left.lines:
                return
        else:
            return
    await _change(dynamodb, shopper_id, lambda lines: without(lines, cart.lines), days=30)


async def _change(
    dynamodb: DynamoDB, shopper_id: str, rule: Callable[[Lines], Lines], *, days: int, if_version: int | None = None
) -> Cart:
    name = _name()
    async with dynamodb.table(TABLE) as table:
        for _ in range(ATTEMPTS):
            cart = await _read(table, shopper_id)
            if cart.change == name:
                return cart  # written by the try before, whose answer was lost
            if if_version not in {None, cart.version}:
                raise CartChanged(version=cart.version)
            changed = Cart(rule(cart.lines), cart.version + 1, name)
            try:
                await table.put_item(_item(shopper_id, changed, days), condition=_at(cart))
            except (ConditionalCheckFailed, TransactionConflict):
                continue
            return changed
    raise CartChanged


async def _read(table: Table, shopper_id: str) -> Cart:
    try:
        item = await table.get_item({"shopper_id": shopper_id}, consistent_read=True)
    except ItemNotFound:
        return Cart()
    return _cart(item)


def _cart(item: dict[str, Any]) -> Cart:
    alive = item.get("expires_at", 0) > time.time()
    lines = tuple(Line(line["sku"], line["quantity"]) for line in item.get("lines", ())) if alive else ()
    return Cart(lines, item.get("version", 0), item.get("change", ""))


def _item(shopper_id: str, cart: Cart, days: int) -> dict[str, Any]:
    return {
        "shopper_id": shopper_id,
        "lines": _listed(cart.lines),
        "version": cart.version,
        "change": cart.change,
        "expires_at": _after(days),
    }


def _listed(lines: Lines) -> list[dict[str, Any]]:
    return [{"sku": line.sku, "quantity": line.quantity} for line in lines]


def _at(cart: Cart) -> Condition:
    """The cart is still as it was read; the name tells apart two carts that happen to have the same count."""
    if cart.change == "":
        return F("shopper_id").does_not_exist()
    return F("version").equals(cart.version) & F("change").equals(cart.change)


def _name() -> str:
    return secrets.token_hex(8)


def _after(days: int) -> int:
    return int(time.time()) + days * DAY_S
