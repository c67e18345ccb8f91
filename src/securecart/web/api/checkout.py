"""What the cart costs, and buying it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from litestar import Response, post
from litestar.params import HeaderParameter
from msgspec import Struct

from securecart import checkout
from securecart.app import Shop
from securecart.checkout import PlaceOrder, Quote
from securecart.checkout.model import AskQuote
from securecart.errors import CartEmpty, PaymentDeclined
from securecart.orders import Order
from securecart.sessions import Session
from securecart.values import CountryCode, CurrencyCode
from securecart.web import origins, positions
from securecart.web.limits import limit
from securecart.web.shoppers import AnyRequest, cart_of

__all__ = ["IdempotencyKey", "routes"]

IdempotencyKey = Annotated[
    str,
    HeaderParameter(
        name="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="Any string that is new for each order; a request sent again with it is answered with the first order.",
    ),
]
DeviceId = Annotated[
    str | None,
    HeaderParameter(
        name=origins.DEVICE_HEADER,
        description="A secret that an app makes once and keeps on its device: 16 to 200 printable characters.",
    ),
]


class QuoteRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the cart would go; the currency and the first shipping method are the shop's where none is named."""

    country: CountryCode
    shipping_method: str | None = None
    currency: CurrencyCode | None = None


@post("/api/checkout/quote", status_code=HTTPStatus.OK, tags=["checkout"], repeatable=True)
async def quote(shop: Shop, shopper: Session, data: QuoteRequest) -> Quote:
    """What the cart would cost, with shipping and tax; nothing is ordered or reserved."""
    cart = await cart_of(shop, shopper)
    if not cart.lines:
        raise CartEmpty
    ask = AskQuote(data.country, data.currency or shop.settings.currency, data.shipping_method)
    return await checkout.quote(shop.till, cart, ask)


@post("/api/checkout", guards=[limit("checkout", 60)], tags=["checkout"], repeatable=True)
async def place(
    request: AnyRequest,
    shop: Shop,
    shopper: Session,
    data: PlaceOrder,
    idempotency_key: IdempotencyKey,
    device_id: DeviceId = None,
) -> Response[Order]:
    """Buy what is in the cart: 201 with the bought order, 202 while the payment's outcome is not known, 402 when declined.

    An order that waits for its buyer (3-D Secure) says in `payment.action` what the browser needs.
    """
    del device_id  # `origin_of` reads it; here it is for the documentation
    origin = origins.origin_of(request, shop)
    order = await checkout.place(shop.till, shopper, data, idempotency_key, currency=shop.settings.currency, origin=origin)
    await positions.leave(shop, request, shopper)
    if order.status == "declined":
        reason = order.payment.decline_reason if order.payment else ""
        raise PaymentDeclined(field="payment_token", reason=reason.replace("_", " "), number=order.number)
    status = HTTPStatus.ACCEPTED if order.status == "pending" else HTTPStatus.CREATED
    return Response(order, status_code=status, headers={"Location": f"/api/orders/{order.number}"})


routes = [quote, place]
