"""How a page is made: the templates, what every page knows, and the answer that carries it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from litestar import Request, Response
from litestar.enums import MediaType

from securecart import catalog, sessions
from securecart.app import Shop
from securecart.carts import Cart
from securecart.errors import StoreAway
from securecart.sessions import Session
from securecart.web.rendering import templates_of
from securecart.web.shoppers import cart_of, cookie_of, must_know

__all__ = ["AnyRequest", "Visit", "answer", "by_htmx", "frame", "page", "render", "see_other", "visit", "visit_with_cart"]

AnyRequest = Request[Any, Any, Any]


AISLES = 10
TEMPLATES = templates_of(__package__)


class Visit:
    """One request to the storefront: the shop, the session (if any) and what the frame of each page shows."""

    def __init__(self, request: AnyRequest, shop: Shop, session: Session | None) -> None:
        self.request = request
        self.shop = shop
        self.session = session
        self.new_session = False
        self.cart = Cart((), 0, "")
        self.cart_away = False

    async def need_session(self) -> Session:
        """The session, started as a guest's when there is none; the answer then sets its cookie."""
        if self.session is None:
            must_know(self.request)
            self.session = await sessions.start_guest(self.shop.dynamodb, days=self.shop.settings.session_days)
            self.new_session = True
        return self.session

    async def load_cart(self) -> Cart:
        """What the shopper holds; nothing without a session."""
        if self.session is not None:
            self.cart = await cart_of(self.shop, self.session)
        return self.cart


async def visit(request: AnyRequest, shop: Shop, session: Session | None) -> Visit:
    """Begin a page: who is here and what is in the cart. A cart store that is away leaves the count out."""
    here = Visit(request, shop, session)
    try:
        must_know(request)
        await here.load_cart()
    except StoreAway:
        here.cart_away = True
    return here


async def visit_with_cart(request: AnyRequest, shop: Shop, session: Session | None) -> Visit:
    """Begin a page that is nothing without the cart; `StoreAway` while the cart cannot be looked at."""
    must_know(request)
    here = Visit(request, shop, session)
    await here.load_cart()
    return here


async def page(here: Visit, template: str, status: int = 200, **facts: Any) -> Response[str]:
    """The rendered page, framed by what every page shows."""
    return answer(here, render(template, {**await frame(here), **facts}), status)


def answer(here: Visit, body: str, status: int = 200) -> Response[str]:
    """An HTML answer; private to the visitor, and with the cookie of a session that was just started."""
    cookies = [cookie_of(here.shop, here.session)] if here.new_session and here.session else []
    headers = {"cache-control": "private, no-cache" if here.session else "no-cache", "vary": "cookie, hx-request"}
    return Response(body, status_code=status, media_type=MediaType.HTML, headers=headers, cookies=cookies)


def see_other(here: Visit, path: str) -> Response[str]:
    """Send the browser on to `path` with a GET, as after every form that worked."""
    response = answer(here, "", 303)
    response.headers["location"] = path
    return response


def by_htmx(request: AnyRequest) -> bool:
    """Whether the script asks for a part of a page rather than the browser for all of it."""
    return request.headers.get("hx-request") == "true" and request.headers.get("hx-request-type") != "full"


def render(template: str, facts: Mapping[str, Any]) -> str:
    """The template filled with the facts; every fact is escaped."""
    return TEMPLATES.get_template(template).render(facts)


async def frame(here: Visit) -> dict[str, Any]:
    """What the frame of every page shows."""
    session = here.session
    aisles = await _aisles(here.shop)
    here.request.app.state.aisles = aisles  # an error's page shows them without asking any store
    return {
        "shop_name": here.shop.settings.shop_name,
        "aisles": aisles,
        "cart_count": sum(line.quantity for line in here.cart.lines),
        "cart_away": here.cart_away,
        "signed_in": session is not None and session.account_id is not None,
        "session": session,
        "csrf_token": sessions.csrf_token(session.token) if session else "",
        "path": here.request.url.path,
    }


async def _aisles(shop: Shop) -> list[catalog.CategoryNode]:
    """The departments for the bar at the top, the fullest first; none while the catalogue is away."""
    try:
        tree = await catalog.category_tree(shop.database, shop.cache)
    except StoreAway:
        return []
    return sorted((node for node in tree if node.count), key=lambda node: -node.count)[:AISLES]
