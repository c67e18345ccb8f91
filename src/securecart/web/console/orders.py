"""One order: what it was judged by, what became of it, what is known of it since, and the ring around it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from litestar import Response, get, post
from litestar.params import FromPath, FromQuery

from securecart import checkout, fraud, orders
from securecart.app import Shop
from securecart.sessions import Session
from securecart.web import positions
from securecart.web.console.pages import HOME, Desk, page, see_other
from securecart.web.console.rings import ring_of
from securecart.web.shoppers import AnyRequest

__all__ = ["routes"]

NOTE_LENGTH_MAX = 500


@get("/orders/{number:str}")
async def show(
    request: AnyRequest, shop: Shop, operator: Session, number: FromPath[str], late: FromQuery[str | None] = None
) -> Response[str]:
    """The order; `late`: somebody was quicker than the operator whose decision led here."""
    async with shop.database.read(await positions.of(shop, request, operator)) as read:
        order = await orders.find(read, number)
        risk = await fraud.risk_of(read, number)
    countries = {risk.network_country, risk.card_country, order.shipping_address.country} - {None}
    facts: dict[str, Any] = {"order": order, "risk": risk, "ring": await ring_of(shop, number), "late": bool(late)}
    facts |= {"countries_differ": len(countries) > 1, "most": max((reason.points for reason in risk.reasons), default=0) or 1}
    return await page(Desk(request, shop, operator), "order.html", **facts)


@get("/find")
async def find(operator: Session, number: FromQuery[str] = "") -> Response[str]:
    """To the order whose number was typed."""
    del operator
    wanted = number.strip().upper()
    return see_other(f"/console/orders/{quote(wanted, safe='')}" if wanted else HOME)


@post("/orders/{number:str}/mark", status_code=HTTPStatus.OK, repeatable=True)
async def mark(request: AnyRequest, shop: Shop, operator: Session, number: FromPath[str]) -> Response[str]:
    """Say that the order is fraud, or is not; it counts for every order from now on that shares something with this one."""
    form = await request.form()
    said = {name: str(form.get(name) or "").strip() for name in ("verdict", "note")}
    if said["verdict"] in {"fraud", "good"}:
        note = said["note"][:NOTE_LENGTH_MAX]
        await checkout.mark(shop.till, [number], is_fraud=said["verdict"] == "fraud", said_by=operator.email, note=note)
        await positions.leave(shop, request, operator)
    return see_other(f"/console/orders/{number}#known")


routes = [show, find, mark]
