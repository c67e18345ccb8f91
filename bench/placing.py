"""Buying a cart that is already there: one `POST /api/checkout`, whose answer must be the paid order at the cart's price."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from bench.harness import Options, RunningShop
from bench.load import Caller, Plan, Unexpected
from bench.prepared import Filled

__all__ = ["ADDRESS", "Placed", "buy", "order_request", "place_plan", "placed", "who", "wish"]

ADDRESS = {"name": "Ada Shopper", "line1": "1 Main Street", "city": "Springfield", "postcode": "12345", "country": "US"}


class Amount(Struct, frozen=True, gc=False):
    """The part of an amount that is compared."""

    amount_minor: int


class Placed(Struct, frozen=True, gc=False):
    """The part of an answered order that is compared and remembered."""

    number: str
    status: str
    total: Amount


_orders = msgspec.json.Decoder(Placed)


def place_plan(
    shop: RunningShop,
    options: Options,
    carts: Sequence[Filled],
    *,
    connections: int,
    servers: tuple[str, list[int]] | None = None,
) -> Plan:
    """Buy these carts, at the running shop or at `servers` (address, pids); the round ends early when there are no more."""
    url, web = servers or (shop.url, shop.pids.get("web", []))
    arguments: dict[str, Any] = {"url": url, "headers": shop.headers, "carts": carts}
    watch = {**shop.pids, "web": web}
    return Plan("bench.placing:buy", connections, options.warm_up_s, options.seconds, arguments, watch)


async def buy(caller: Caller) -> None:
    """One caller: buys cart after cart from the pile that all callers share."""
    pile: list[list[Any]] = caller.arguments["carts"]
    host = caller.arguments["url"].partition("//")[2]
    asked = order_request(host, caller.arguments["headers"])
    await caller.connect(caller.arguments["url"])
    while caller.running and pile:
        token, shopper_id, total_minor = pile.pop()
        body = await caller.ask("place", asked(token, secrets.token_hex(16), total_minor), status=201)
        caller.note((shopper_id, placed(body, total_minor).number, total_minor))


def order_request(host: str, headers: Mapping[str, str]) -> Callable[[str, str, int], bytes]:
    """Makes the bytes of one order's request out of token, key and total; nearly all of them are the same each time."""
    lines = ["POST /api/checkout HTTP/1.1", f"Host: {host}", "Accept: application/json", "Content-Type: application/json"]
    same = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items())])

    def message(token: str, key: str, total_minor: int) -> bytes:
        body = msgspec.json.encode(wish(total_minor, token))
        secret = f"Authorization: Bearer {token}\r\nX-Device-Id: {who(token)}"
        rest = f"{secret}\r\nIdempotency-Key: {key}\r\nContent-Length: {len(body)}"
        return f"{same}\r\n{rest}\r\n\r\n".encode() + body

    return message


def wish(total_minor: int, token: str) -> dict[str, Any]:
    """What the shopper with this session's token sends: picked up in the store, paid by a card of their own that always works."""
    shopper = who(token)
    return {
        "email": f"{shopper}@example.com",
        "shipping_address": {**ADDRESS, "line1": f"{int(shopper[:5], 16)} Main Street"},
        "shipping_method": "pickup",
        "payment_token": f"tok_card_{shopper}",
        "expected_total_minor": total_minor,
    }


def who(token: str) -> str:
    """A name for the shopper with this session's token, by which device, mailbox, door and card are theirs alone."""
    return hashlib.sha256(token.encode()).hexdigest()[:24]


def placed(body: bytes, total_minor: int) -> Placed:
    """The answered order; `Unexpected` unless it is paid and costs this much."""
    order = _orders.decode(body)
    if order.status != "paid" or order.total.amount_minor != total_minor:
        raise Unexpected(f"The order should be paid for {total_minor}, and is {body[:500].decode(errors='replace')}.")
    return order
