"""Fraud, for the shop's staff: the orders that wait for a person, what an order was judged by, what orders turned out to be."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from litestar import get, post
from litestar.params import FromPath, FromQuery, QueryParameter
from msgspec import Meta, Struct

from securecart import checkout, fraud
from securecart.app import Shop
from securecart.fraud import Risk, Waiting
from securecart.orders import Order
from securecart.sessions import Session
from securecart.values import Text
from securecart.web import positions
from securecart.web.api.accounts import PRIVATE
from securecart.web.shoppers import AnyRequest

__all__ = ["routes"]


class ReviewPage(Struct, frozen=True):
    """A page of held orders, the soonest due first; how many there are in all, and the cursor of the next page."""

    items: list[Waiting]
    waiting: int
    next: str | None


class NewMarks(Struct, frozen=True, forbid_unknown_fields=True):
    """Orders that are fraud, or are not, and how one knows."""

    orders: Annotated[list[Text], Meta(min_length=1, max_length=1000)]
    is_fraud: bool = True
    note: Annotated[str, Meta(max_length=500)] = ""


class Marked(Struct, frozen=True):
    """The orders of which that was not known before."""

    changed: list[str]


@get("/api/fraud/reviews", response_headers=PRIVATE, tags=["fraud"])
async def list_reviews(
    request: AnyRequest,
    shop: Shop,
    operator: Session,
    after: FromQuery[str | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 20,
) -> ReviewPage:
    """The orders that wait for a person, for the shop's staff."""
    async with shop.database.read(await positions.of(shop, request, operator)) as read:
        items, following = await fraud.waiting(read, after=after, limit=limit)
        return ReviewPage(items, await fraud.count_waiting(read), following)


@post("/api/fraud/reviews/{number:str}/release", status_code=HTTPStatus.OK, tags=["fraud"], repeatable=True)
async def release_order(request: AnyRequest, shop: Shop, operator: Session, number: FromPath[str]) -> Order:
    """Let a held order go on; 409 when it does not wait, or not any more. For the shop's staff."""
    order = await checkout.release(shop.till, number, said_by=operator.email)
    await positions.leave(shop, request, operator)
    return order


@post("/api/fraud/reviews/{number:str}/cancel", status_code=HTTPStatus.OK, tags=["fraud"], repeatable=True)
async def cancel_order(request: AnyRequest, shop: Shop, operator: Session, number: FromPath[str]) -> Order:
    """Take a held order back: its goods return to stock and nothing is charged; 409 as for a release. For the shop's staff."""
    order = await checkout.refuse(shop.till, number, said_by=operator.email)
    await positions.leave(shop, request, operator)
    return order


@get("/api/fraud/orders/{number:str}", response_headers=PRIVATE, tags=["fraud"])
async def find_risk(request: AnyRequest, shop: Shop, operator: Session, number: FromPath[str]) -> Risk:
    """What an order was judged by, with the reasons, and what became of that; for the shop's staff."""
    async with shop.database.read(await positions.of(shop, request, operator)) as read:
        return await fraud.risk_of(read, number)


@post("/api/fraud/marks", status_code=HTTPStatus.OK, tags=["fraud"], repeatable=True)
async def mark_orders(request: AnyRequest, shop: Shop, operator: Session, data: NewMarks) -> Marked:
    """Say of orders that they are fraud, or are not; it counts from now on. 404 and no change when one is not known."""
    changed = await checkout.mark(shop.till, data.orders, is_fraud=data.is_fraud, said_by=operator.email, note=data.note)
    await positions.leave(shop, request, operator)
    return Marked(changed)


routes = [list_reviews, release_order, cancel_order, find_risk, mark_orders]
