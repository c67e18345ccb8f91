"""The cart's page, and putting things into it and taking them out."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import urlsplit

from litestar import Response, get, post
from litestar.di import Provide
from msgspec import Struct

from securecart import carts, catalog, inventory, sessions
from securecart.app import Shop
from securecart.carts import Cart
from securecart.catalog import PricedItem
from securecart.errors import BadInput, CartChanged, Forbidden
from securecart.sessions import Session
from securecart.values import Line, Money
from securecart.web.shoppers import COOKIE, find_session, let_go_of_bought
from securecart.web.storefront import forms
from securecart.web.storefront.pages import AnyRequest, Visit, answer, by_htmx, frame, page, render, see_other, visit_with_cart

__all__ = ["CartLine", "priced_lines", "routes"]

QUANTITY_MAX = 999


class CartLine(Struct, frozen=True):
    """A line of the cart as it stands on a page."""

    item: PricedItem
    quantity: int
    total: Money
    available: int


class Notice(Struct, frozen=True):
    """A sentence above the page; `kind` is "bad", "warn" or nothing."""

    text: str
    kind: str = ""


RAN_OUT = Notice("Something ran out while you were checking out. Nothing was ordered or charged.", "bad")


async def session_of_cart_form(request: AnyRequest, shop: Shop) -> Session | None:
    """The visitor's session; `Forbidden` for a form that another site may have sent.

    A page that was loaded before the visitor had a session holds no token, so what the browser itself says of
    the form's origin counts as well. A browser that says nothing must bring the token.
    """
    cookie = request.cookies.get(COOKIE)
    session = await find_session(request, shop, cookie) if cookie else None
    if _comes_from_here(request):
        return session
    given = (await forms.read(request)).values.get("csrf_token", "")
    if session is None or not sessions.csrf_matches(session.token, given):
        raise Forbidden(problem="The form's security token is missing or old; load the page again and repeat.")
    return session


@get("/cart")
async def show(request: AnyRequest, shop: Shop, session: Session | None) -> Response[str]:
    """What is in the cart, what it costs now, and what stands in the way of buying it."""
    short = request.query_params.get("short") == "1"
    return await _show(await visit_with_cart(request, shop, session), RAN_OUT if short else None)


@post("/cart/add", dependencies={"session": Provide(session_of_cart_form)}, status_code=HTTPStatus.OK)
async def add(request: AnyRequest, shop: Shop, session: Session | None) -> Response[str]:
    """Put a product into the cart."""
    here = Visit(request, shop, session)
    form = await forms.read(request)
    sku, quantity = form.values.get("sku", ""), _quantity(form.values.get("quantity", "1"))
    item = (await catalog.price_cached(shop.database, shop.cache, [sku], shop.settings.currency)).get(sku) if sku else None
    if item is None or not quantity:
        return await _refuse(here, "Choose a product." if item is None else f"Choose a quantity from 1 to {QUANTITY_MAX}.")
    shopper = await here.need_session()
    await let_go_of_bought(shop, shopper)
    try:
        here.cart = await carts.add(shop.dynamodb, shopper.shopper_id, Line(sku, quantity), days=shop.settings.cart_days)
    except (BadInput, CartChanged) as error:
        return await _refuse(here, error.message)
    if by_htmx(request):
        return answer(here, render("parts/added.html", {**await frame(here), "item": item, "quantity": quantity, "problem": ""}))
    return see_other(here, "/cart")


@post("/cart/quantity", dependencies={"session": Provide(session_of_cart_form)}, status_code=HTTPStatus.OK)
async def change(request: AnyRequest, shop: Shop, session: Session | None) -> Response[str]:
    """Change how many of a product are in the cart; 0 takes it out."""
    here = await visit_with_cart(request, shop, session)
    form = await forms.read(request)
    sku, quantity = form.values.get("sku", ""), _quantity(form.values.get("quantity", ""))
    if session is None or sku not in {line.sku for line in here.cart.lines}:
        return see_other(here, "/cart")
    if quantity is None:
        return await _show(here, Notice(f"Give a whole number from 0 to {QUANTITY_MAX}.", "bad"), status=422)
    try:
        await carts.set_quantity(shop.dynamodb, session.shopper_id, sku, quantity, days=shop.settings.cart_days)
    except (BadInput, CartChanged) as error:
        return await _show(here, Notice(error.message, "bad"), status=error.status)
    return see_other(here, "/cart")


@get(["/cart/add", "/cart/quantity"])
async def back(request: AnyRequest, shop: Shop, session: Session | None) -> Response[str]:
    """Somebody loaded the address of a form again: the cart is what they want to see."""
    return see_other(Visit(request, shop, session), "/cart")


async def priced_lines(shop: Shop, cart: Cart) -> tuple[list[CartLine], list[Line]]:
    """The lines with today's prices and stock, and those whose product is not sold any more."""
    skus = [line.sku for line in cart.lines]
    if not skus:
        return [], []
    items = await catalog.price_cached(shop.database, shop.cache, skus, shop.settings.currency)
    async with shop.database.read() as read:
        available = await inventory.available(read, skus)
    known = [(line, items[line.sku]) for line in cart.lines if line.sku in items]
    lines = [
        CartLine(item, line.quantity, Money(item.price.amount_minor * line.quantity, item.price.currency), available[line.sku])
        for line, item in known
    ]
    return lines, [line for line in cart.lines if line.sku not in items]


async def _show(here: Visit, notice: Notice | None = None, status: int = 200) -> Response[str]:
    shop = here.shop
    lines, missing = await priced_lines(shop, here.cart)
    return await page(
        here,
        "cart.html",
        status,
        lines=lines,
        missing=missing,
        notice=notice,
        subtotal=Money(sum(line.total.amount_minor for line in lines), shop.settings.currency),
        can_check_out=not missing and all(line.quantity <= line.available for line in lines),
        cart_days=shop.settings.cart_days,
    )


async def _refuse(here: Visit, problem: str) -> Response[str]:
    await here.load_cart()
    if by_htmx(here.request):
        return answer(here, render("parts/added.html", {**await frame(here), "problem": problem}))
    return await _show(here, Notice(problem, "bad"), status=422)


def _quantity(text: str) -> int | None:
    """The number from 0 to 999 that was typed, else None."""
    return int(text) if text.isascii() and text.isdigit() and int(text) <= QUANTITY_MAX else None


def _comes_from_here(request: AnyRequest) -> bool:
    """Whether the browser vouches that a page of this shop sent the form."""
    if site := request.headers.get("sec-fetch-site"):
        return site == "same-origin"
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == request.headers.get("host")


routes = [show, add, change, back]
