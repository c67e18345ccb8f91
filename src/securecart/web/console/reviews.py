"""The orders that wait for a person, the soonest due first, and what the person decides."""

from __future__ import annotations

from http import HTTPStatus
from typing import Protocol
from urllib.parse import urlencode

from litestar import Response, get, post
from litestar.params import FromPath, FromQuery

from securecart import checkout, fraud
from securecart.app import Shop
from securecart.checkout import Till
from securecart.errors import OrderStateConflict
from securecart.orders import Order
from securecart.sessions import Session
from securecart.web import positions
from securecart.web.console.pages import HOME, Desk, page, see_other
from securecart.web.shoppers import AnyRequest

__all__ = ["routes"]

PAGE_LENGTH = 20


class Decide(Protocol):
    """Decides on a held order by somebody's word."""

    async def __call__(self, till: Till, number: str, *, said_by: str) -> Order:
        """The order as it is then; `OrderStateConflict` when it does not wait any more."""


@get("/", sync_to_thread=False)
def begin(operator: Session) -> Response[str]:
    """The console begins with what waits."""
    del operator
    return see_other(HOME)


@get("/reviews")
async def queue(
    request: AnyRequest, shop: Shop, operator: Session, after: FromQuery[str | None] = None, decided: FromQuery[str | None] = None
) -> Response[str]:
    """The queue; `decided` is the order that was just decided on, of which the page says what became."""
    written = await positions.of(shop, request, operator)
    async with shop.database.read(written) as read:
        held, following = await fraud.waiting(read, after=after or None, limit=PAGE_LENGTH)
        before = await fraud.risk_of(read, decided) if decided else None
    next_page = f"{HOME}?{urlencode({'after': following})}" if following else ""
    return await page(
        Desk(request, shop, operator), "reviews.html", held=held, next_page=next_page, before=before, later=bool(after)
    )


@post("/orders/{number:str}/release", status_code=HTTPStatus.OK, repeatable=True)
async def release(request: AnyRequest, shop: Shop, operator: Session, number: FromPath[str]) -> Response[str]:
    """Let a held order go on."""
    return await _decide(Desk(request, shop, operator), number, checkout.release)


@post("/orders/{number:str}/cancel", status_code=HTTPStatus.OK, repeatable=True)
async def cancel(request: AnyRequest, shop: Shop, operator: Session, number: FromPath[str]) -> Response[str]:
    """Take a held order back: the goods return to stock, and the money that was promised is given up."""
    return await _decide(Desk(request, shop, operator), number, checkout.refuse)


async def _decide(desk: Desk, number: str, decide: Decide) -> Response[str]:
    """Back to the queue, which says what became of the order; to the order itself where somebody was quicker."""
    try:
        await decide(desk.shop.till, number, said_by=desk.operator.email)
    except OrderStateConflict:
        return see_other(f"/console/orders/{number}?late=1")
    await positions.leave(desk.shop, desk.request, desk.operator)
    return see_other(f"{HOME}?{urlencode({'decided': number})}")


routes = [begin, queue, release, cancel]
