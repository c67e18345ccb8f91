"""Where a card gateway sends its notices."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from litestar import post
from litestar.params import HeaderParameter

from securecart import checkout
from securecart.app import Shop
from securecart.web.shoppers import AnyRequest

__all__ = ["routes"]

Signature = Annotated[str, HeaderParameter(name="Stripe-Signature", description="Stripe's proof that the notice is its own.")]


@post("/api/webhooks/stripe", status_code=HTTPStatus.NO_CONTENT, tags=["webhooks"], security=[])
async def stripe(request: AnyRequest, shop: Shop, signature: Signature = "") -> None:
    """A notice from Stripe, signed with the endpoint's secret: 204 once it is acted upon, 503 to have it sent again."""
    await checkout.hear(shop.till, await request.body(), signature)


routes = [stripe]
