"""A shopper reads what they wrote, also where reads go to replicas: the writer's position travels with the shopper.

Whatever changed the orders database for a shopper asks how far the writer has written, and that travels three ways: in a
cookie, for browsers; in a header, which a program may send back; and in the cache under the shopper, for programs that do
not, and for the shopper's other devices. A read passes over the replicas that are behind the furthest of the three. Where
the cache may have forgotten, and neither cookie nor header came, the writer is read. With one database node nobody can be
behind, and none of this happens.
"""

from __future__ import annotations

import time

from litestar.types import Message, Scope

from securecart.app import Shop
from securecart.errors import StoreAway
from securecart.sessions import Session
from securecart.stores.postgres import NEWEST, Position
from securecart.web.shoppers import AnyRequest

__all__ = ["COOKIE", "HEADER", "leave", "of", "tell"]

HEADER = "x-securecart-position"
COOKIE = "securecart_position"
# Far longer than a replica may be behind: it stands still while nobody writes.
SECONDS = 600
DIGITS_MAX = 19
# A cache that was away comes back empty; what it forgot is on every replica that serves, this long after the lag allowed.
FORGETFUL_S = 1.0

_STATE = "position"


async def leave(shop: Shop, request: AnyRequest, session: Session | None) -> None:
    """After a change of the orders database: have this shopper's reads see it, whichever node they go to."""
    if not shop.database.has_replicas:
        return
    try:
        position = await shop.database.position()
    except StoreAway:  # the change is made; until its position is known only the writer knows it
        position = NEWEST
    request.scope["state"][_STATE] = position
    if session is not None:
        await shop.cache.put(_key(session.shopper_id), str(position).encode(), seconds=SECONDS)


async def of(shop: Shop, request: AnyRequest, session: Session) -> Position | None:
    """How far a node must have come to be read for this shopper; None: any will do."""
    if not shop.database.has_replicas:
        return None
    given = max(_number(request.headers.get(HEADER)), _number(request.cookies.get(COOKIE)))
    kept = await shop.cache.get(_key(session.shopper_id))
    if kept is not None:
        return Position(max(given, _number(kept.decode(errors="replace"))))
    return Position(given) if given else NEWEST if _may_have_forgotten(shop) else None


async def tell(message: Message, scope: Scope) -> None:
    """Send the position that this request has left along with its answer."""
    if message["type"] == "http.response.start" and (position := scope["state"].get(_STATE)) is not None:
        secure = "; Secure" if scope["scheme"] == "https" else ""
        cookie = f"{COOKIE}={position}; Path=/; Max-Age={SECONDS}; HttpOnly; SameSite=lax{secure}"
        said = [(HEADER.encode(), str(position).encode()), (b"set-cookie", cookie.encode())]
        message["headers"] = [*message["headers"], *said]


def _may_have_forgotten(shop: Shop) -> bool:
    breaker = shop.cache.breaker
    return breaker.is_open() or time.monotonic() < breaker.back_at + shop.settings.replica_lag_seconds + FORGETFUL_S


def _number(text: str | None) -> int:
    """The position in a cookie or header, 0 where there is none that makes sense."""
    if text is None or len(text) > DIGITS_MAX or not (text.isascii() and text.isdigit()):
        return 0
    return min(int(text), NEWEST)


def _key(shopper_id: str) -> str:
    return f"position:{shopper_id}"
