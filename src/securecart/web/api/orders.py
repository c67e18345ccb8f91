"""A shopper's orders, and taking one back."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from litestar import Response, get, post
from litestar.params import FromPath, FromQuery, QueryParameter
from msgspec import Meta, Struct

from securecart import checkout, orders
from securecart.app import Shop
from securecart.checkout import marks
from securecart.errors import Forbidden, OrderStateConflict
from securecart.orders import Order, OrderSummary
from securecart.sessions import Session
from securecart.values import Text
from securecart.web import positions
from securecart.web.api.checkout import IdempotencyKey
from securecart.web.limits import limit
from securecart.web.my_orders import my_orders
from securecart.web.shoppers import AnyRequest

__all__ = ["routes"]


class OrderPage(Struct, frozen=True):
    """A page of orders, newest first, and the cursor of the next one."""

    items: list[OrderSummary]
    next: str | None


class RefundRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Money to give back, in minor units of the order's currency; all that is left when no amount is named."""

    reason: Text
    amount_minor: Annotated[int, Meta(ge=1)] | None = None


@get("/api/orders", tags=["orders"])
async def list_orders(
    request: AnyRequest,
    shop: Shop,
    shopper: Session,
    after: FromQuery[str | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 20,
) -> OrderPage:
    """The shopper's own orders."""
    written = await positions.of(shop, request, shopper)
    items, following = await my_orders(shop, shopper, after=after, limit=limit, written=written)
    return OrderPage(items, following)


@get("/api/orders/{number:str}", tags=["orders"])
async def find_order(request: AnyRequest, shop: Shop, shopper: Session, number: FromPath[str]) -> Order:
    """One order with its lines and its history; 404 for an order of somebody else."""
    async with shop.database.read(await positions.of(shop, request, shopper)) as read:
        return await orders.find(read, number, shopper_id=None if shopper.staff else shopper.shopper_id)


@post("/api/orders/{number:str}/cancel", status_code=HTTPStatus.OK, tags=["orders"], repeatable=True)
async def cancel_order(
    request: AnyRequest, shop: Shop, shopper: Session, number: FromPath[str], idempotency_key: IdempotencyKey
) -> Order:
    """Cancel an order that is not shipped: the goods go back to stock and the money back to the card."""
    owner = None if shopper.staff else shopper.shopper_id
    order = await checkout.cancel(shop.till, number, shopper_id=owner, key=idempotency_key)
    await positions.leave(shop, request, shopper)
    if owner is not None:
        await marks.leave(shop.cache, owner, order)
    return order


@post(
    "/api/orders/{number:str}/payment", status_code=HTTPStatus.OK, tags=["orders"], guards=[limit("payment", 60)], repeatable=True
)
async def look_at_payment(request: AnyRequest, shop: Shop, shopper: Session, number: FromPath[str]) -> Order:
    """Ask the gateway what became of a pending payment, after the buyer did what the bank wanted; safe to repeat."""
    owner = None if shopper.staff else shopper.shopper_id
    order = await checkout.look_again(shop.till, number, shopper_id=owner)
    await positions.leave(shop, request, shopper)
    return order


@post("/api/orders/{number:str}/ship", tags=["orders"], repeatable=True)
async def ship_order(request: AnyRequest, shop: Shop, shopper: Session, number: FromPath[str]) -> Response[Order]:
    """Send an order on its way, for the shop's staff: 200 when shipped, 202 while promised money is not taken yet."""
    if not shopper.staff:
        raise Forbidden(problem="Only the shop's staff may ship.")
    order = await checkout.ship(shop.till, number)
    await positions.leave(shop, request, shopper)
    if order.shipped_at is None and order.status != "authorised":
        raise OrderStateConflict(number=number, state=order.status.replace("_", " "), verb="shipped")
    return Response(order, status_code=HTTPStatus.OK if order.shipped_at else HTTPStatus.ACCEPTED)


@post("/api/orders/{number:str}/refunds", status_code=HTTPStatus.OK, tags=["orders"], repeatable=True)
async def refund_order(
    request: AnyRequest, shop: Shop, shopper: Session, number: FromPath[str], data: RefundRequest, idempotency_key: IdempotencyKey
) -> Order:
    """Give back some or all of an order's money; for the shop's staff."""
    if not shopper.staff:
        raise Forbidden(problem="Only the shop's staff may refund; a shopper may cancel the order.")
    order = await checkout.refund(shop.till, number, amount_minor=data.amount_minor, reason=data.reason, key=idempotency_key)
    await positions.leave(shop, request, shopper)
    return order


routes = [list_orders, find_order, cancel_order, look_at_payment, ship_order, refund_order]
