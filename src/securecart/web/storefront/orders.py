"""An order's page, which is also the confirmation, and taking the order back."""

from __future__ import annotations

from http import HTTPStatus

from litestar import Response, get, post
from litestar.params import FromPath

from securecart import checkout, orders
from securecart.app import Shop
from securecart.checkout import marks
from securecart.errors import OrderStateConflict
from securecart.sessions import Session
from securecart.web import positions
from securecart.web.shoppers import must_know
from securecart.web.storefront.cart import Notice
from securecart.web.storefront.pages import AnyRequest, Visit, page, see_other, visit

__all__ = ["routes"]


@get("/orders/{number:str}")
async def show(request: AnyRequest, shop: Shop, session: Session | None, number: FromPath[str]) -> Response[str]:
    """One order, for its buyer only; somebody else's looks like one that does not exist."""
    must_know(request)
    if session is None:
        return see_other(Visit(request, shop, session), f"/login?next=/orders/{number}")
    return await _show(await visit(request, shop, session), session, number)


@post("/orders/{number:str}/cancel", status_code=HTTPStatus.OK, repeatable=True)
async def cancel(request: AnyRequest, shop: Shop, session: Session | None, number: FromPath[str]) -> Response[str]:
    """Cancel an order that is not shipped: the goods go back to stock and the money to the card."""
    here = await visit(request, shop, session)
    if session is None:
        return see_other(here, f"/login?next=/orders/{number}")
    try:
        order = await checkout.cancel(shop.till, number, shopper_id=session.shopper_id, key=f"page-{number}")
    except OrderStateConflict as error:
        return await _show(here, session, number, Notice(error.message, "bad"), status=error.status)
    await marks.leave(shop.cache, session.shopper_id, order)
    await positions.leave(shop, request, session)
    return see_other(here, f"/orders/{number}")


@get("/orders/{number:str}/cancel")
async def back(request: AnyRequest, shop: Shop, session: Session | None, number: FromPath[str]) -> Response[str]:
    """Somebody loaded the address of the button again."""
    return see_other(Visit(request, shop, session), f"/orders/{number}")


async def _show(here: Visit, session: Session, number: str, notice: Notice | None = None, status: int = 200) -> Response[str]:
    async with here.shop.database.read(await positions.of(here.shop, here.request, session)) as read:
        order = await orders.find(read, number, shopper_id=session.shopper_id)
    just_placed = here.request.query_params.get("placed") == "1"
    can_cancel = order.status in {"paid", "authorised"} and order.shipped_at is None
    facts = {"order": order, "just_placed": just_placed, "notice": notice, "can_cancel": can_cancel}
    return await page(here, "order.html", status, **facts)


routes = [show, cancel, back]
