"""The shopper's cart; prices come from the catalogue each time it is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated

from litestar import Response, delete, get, post, put
from litestar.params import FromPath, HeaderParameter, QueryParameter
from msgspec import Meta, Struct

from securecart import carts, catalog
from securecart.app import Shop
from securecart.carts import Cart
from securecart.catalog import PricedItem
from securecart.errors import BadInput, CartChanged, PreconditionFailed
from securecart.sessions import Session
from securecart.values import Line, Money
from securecart.web.limits import limit
from securecart.web.shoppers import cart_of, let_go_of_bought

__all__ = ["CartLine", "CartView", "routes", "view_of"]

IfMatch = Annotated[
    str | None,
    HeaderParameter(name="If-Match", description="The cart's version, as its ETag gave it; 412 when the cart has changed since."),
]
Currency = Annotated[str | None, QueryParameter(pattern="^[A-Z]{3}$", description="ISO 4217 code; the shop's own when left out.")]


class CartLine(Struct, frozen=True):
    """A line of the cart at today's price."""

    sku: str
    slug: str
    title: str
    quantity: int
    unit_price: Money
    total: Money


class CartView(Struct, frozen=True):
    """The cart at today's prices; `missing` names SKUs that are not sold any more, or not in this currency."""

    lines: list[CartLine]
    missing: list[str]
    subtotal: Money
    version: int


class Lines(Struct, frozen=True, forbid_unknown_fields=True):
    """All that the cart shall hold."""

    lines: list[Line]


class NewQuantity(Struct, frozen=True, forbid_unknown_fields=True):
    """How much of a SKU the cart shall hold; 0 takes it out."""

    quantity: Annotated[int, Meta(ge=0, le=999)]


@get("/api/cart", tags=["cart"])
async def show(shop: Shop, shopper: Session, currency: Currency = None) -> Response[CartView]:
    """The cart at today's prices."""
    return await _answer(shop, await cart_of(shop, shopper), currency)


@put("/api/cart", guards=[limit("cart", 600)], tags=["cart"])
async def replace(shop: Shop, shopper: Session, data: Lines, if_match: IfMatch = None) -> Response[CartView]:
    """Put exactly these lines into the cart."""
    items = await _sold(shop, [line.sku for line in data.lines], field="lines")
    await let_go_of_bought(shop, shopper)
    with _precondition(if_match) as version:
        cart = await carts.replace(
            shop.dynamodb, shopper.shopper_id, data.lines, days=shop.settings.cart_days, if_version=version
        )
    return _as_response(view_of(cart, items, shop.settings.currency))


@post("/api/cart/lines", status_code=HTTPStatus.OK, guards=[limit("cart", 600)], tags=["cart"])
async def add(shop: Shop, shopper: Session, data: Line, if_match: IfMatch = None) -> Response[CartView]:
    """Put more of one SKU into the cart."""
    await _sold(shop, [data.sku], field="sku")
    await let_go_of_bought(shop, shopper)
    with _precondition(if_match) as version:
        cart = await carts.add(shop.dynamodb, shopper.shopper_id, data, days=shop.settings.cart_days, if_version=version)
    return await _answer(shop, cart, None)


@put("/api/cart/lines/{sku:str}", guards=[limit("cart", 600)], tags=["cart"])
async def set_quantity(
    shop: Shop, shopper: Session, sku: FromPath[str], data: NewQuantity, if_match: IfMatch = None
) -> Response[CartView]:
    """Hold so much of one SKU."""
    if data.quantity:
        await _sold(shop, [sku], field="sku")
    return await _set(shop, shopper, sku, data.quantity, if_match)


@delete("/api/cart/lines/{sku:str}", status_code=HTTPStatus.OK, guards=[limit("cart", 600)], tags=["cart"])
async def remove(shop: Shop, shopper: Session, sku: FromPath[str], if_match: IfMatch = None) -> Response[CartView]:
    """Take one SKU out of the cart."""
    return await _set(shop, shopper, sku, 0, if_match)


def view_of(cart: Cart, items: dict[str, PricedItem], currency: str) -> CartView:
    """The cart with the prices of these items."""
    lines = [_priced(line, items[line.sku]) for line in cart.lines if line.sku in items]
    return CartView(
        lines=lines,
        missing=[line.sku for line in cart.lines if line.sku not in items],
        subtotal=Money(sum(line.total.amount_minor for line in lines), currency),
        version=cart.version,
    )


async def _set(shop: Shop, shopper: Session, sku: FromPath[str], quantity: int, if_match: str | None) -> Response[CartView]:
    await let_go_of_bought(shop, shopper)
    with _precondition(if_match) as version:
        cart = await carts.set_quantity(
            shop.dynamodb, shopper.shopper_id, sku, quantity, days=shop.settings.cart_days, if_version=version
        )
    return await _answer(shop, cart, None)


async def _sold(shop: Shop, skus: Sequence[str], *, field: str) -> dict[str, PricedItem]:
    items = await catalog.price_cached(shop.database, shop.cache, skus, shop.settings.currency)
    unknown = [sku for sku in skus if sku not in items]
    if unknown:
        raise BadInput(field=field, problem=f"There is nothing on sale with the SKU {unknown[0]!r}.", sku=unknown[0])
    return items


async def _answer(shop: Shop, cart: Cart, currency: str | None) -> Response[CartView]:
    wanted = currency or shop.settings.currency
    items = await catalog.price_cached(shop.database, shop.cache, [line.sku for line in cart.lines], wanted)
    return _as_response(view_of(cart, items, wanted))


def _as_response(view: CartView) -> Response[CartView]:
    return Response(view, headers={"ETag": f'"{view.version}"', "Cache-Control": "no-store"})


def _priced(line: Line, item: PricedItem) -> CartLine:
    total = Money(line.quantity * item.price.amount_minor, item.price.currency)
    return CartLine(line.sku, item.slug, item.title, line.quantity, item.price, total)


@contextmanager
def _precondition(if_match: str | None) -> Iterator[int | None]:
    """The version that the request asks for, if any; a cart of another version is then `PreconditionFailed`."""
    try:
        version = None if if_match in {None, "*"} else int(str(if_match).strip('"'))
    except ValueError as error:
        raise BadInput(field="If-Match", problem="If-Match is the version that the cart's ETag gave.") from error
    try:
        yield version
    except CartChanged as error:
        if version is None:
            raise
        raise PreconditionFailed(noun="cart", **error.facts) from error


routes = [show, replace, add, set_quantity, remove]
