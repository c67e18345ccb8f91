"""Who is shopping: find the session of a request, guard it against forged requests, sign in and out.

Programs send `Authorization: Bearer TOKEN`. Browsers carry the token in a cookie that scripts cannot read;
what a browser sends with that cookie counts only with the session's CSRF token beside it (header
`X-CSRF-Token` or form field `csrf_token`), because another site can make a browser send the cookie but not
the token.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from litestar import Request, Response
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType

from securecart import carts, sessions
from securecart.accounts import Account
from securecart.app import Shop
from securecart.carts import Cart
from securecart.checkout import marks
from securecart.errors import Forbidden, StoreAway, Unauthorized
from securecart.sessions import Session

__all__ = [
    "COOKIE",
    "AnyRequest",
    "cart_of",
    "cookie_of",
    "drop_cookie",
    "find_session",
    "let_go_of_bought",
    "must_know",
    "provide_operator",
    "provide_session",
    "provide_shopper",
    "same_origin",
    "sign_in",
    "sign_out",
]

COOKIE = "securecart_session"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
FORMS = (RequestEncodingType.URL_ENCODED, RequestEncodingType.MULTI_PART)

AnyRequest = Request[Any, Any, Any]


async def provide_session(request: AnyRequest, shop: NamedDependency[Shop]) -> Session | None:
    """The request's session, or None; `Forbidden` when a browser's change comes without its CSRF token.

    None also while nobody can look the session up (`must_know` tells the difference): whoever it is may look around.
    """
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    bearer = given.strip() if scheme.lower() == "bearer" else ""
    token = bearer or request.cookies.get(COOKIE)
    try:
        session = await find_session(request, shop, token) if token else None
    except StoreAway as away:
        if request.method not in SAFE_METHODS:
            raise
        request.state.session_away = away
        return None
    if bearer:
        if session is None:
            raise Unauthorized(problem="This token is unknown or has expired; log in again.")
    elif request.method not in SAFE_METHODS:
        if session is not None:
            await _check_csrf(request, session)
        else:
            same_origin(request)
    return session


async def find_session(request: AnyRequest, shop: Shop, token: str) -> Session | None:
    """The token's session, None when there is none.

    While DynamoDB is away it is, for reading, what is remembered of it; `StoreAway` when that is nothing, or for a change.
    """
    try:
        session = await sessions.find(shop.dynamodb, token)
    except StoreAway:
        if request.method not in SAFE_METHODS:
            raise
        session = await shop.memory.recall(token)
        if session is None:
            raise
        return session
    if session is not None:
        await shop.memory.note(session)
    return session


def must_know(request: AnyRequest) -> None:
    """`StoreAway` when the visitor may have a session that nobody can look up now: "log in" would be wrong to say then."""
    away = getattr(request.state, "session_away", None)
    if away is not None:
        raise away


async def provide_shopper(request: AnyRequest, session: NamedDependency[Session | None]) -> Session:
    """The request's session; `Unauthorized` when there is none."""
    if session is None:
        must_know(request)
        raise Unauthorized(problem="Send a bearer token: POST /api/sessions gives a guest's, POST /api/login an account's.")
    return session


async def provide_operator(shopper: NamedDependency[Session]) -> Session:
    """The session of one of the shop's staff; `Unauthorized` for a guest, `Forbidden` for anybody else."""
    if shopper.account_id is None:
        raise Unauthorized(problem="Log in with an account of the shop's staff.")
    if not shopper.staff:
        raise Forbidden(problem=f"This is for the shop's staff, and {shopper.email} is not among them.")
    return shopper


def same_origin(request: AnyRequest) -> None:
    """`Forbidden` when a browser says that another site sent this request."""
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise Forbidden(problem="This request came from another site.")
    origin = request.headers.get("origin")
    if origin and urlsplit(origin).netloc != request.headers.get("host"):
        raise Forbidden(problem="This request came from another site.")


async def cart_of(shop: Shop, session: Session) -> Cart:
    """What the shopper holds: nothing where an order has just bought it and the carts' reader has not been there yet."""
    cart = await carts.load(shop.dynamodb, session.shopper_id)
    if cart.lines:
        mark = await marks.look(shop.cache, session.shopper_id)
        if mark is not None and mark.cart_change == cart.change:
            return Cart()
    return cart


async def let_go_of_bought(shop: Shop, session: Session) -> None:
    """Before a cart is changed: take out what an order has just bought, where the carts' reader has not been there yet."""
    mark = await marks.look(shop.cache, session.shopper_id)
    if mark is None or not mark.cart_change:
        return
    cart = await carts.load(shop.dynamodb, session.shopper_id)
    if cart.change == mark.cart_change:
        await carts.take_out(shop.dynamodb, session.shopper_id, cart)


async def sign_in(shop: Shop, session: Session | None, account: Account) -> Session:
    """A new session for the account: the old token ends, and what a guest had in the cart comes along."""
    signed_in = await sessions.start_for(
        shop.dynamodb,
        account_id=account.id,
        email=account.email,
        name=account.name,
        staff=account.staff,
        days=shop.settings.session_days,
    )
    if session is not None:
        if session.account_id is None:
            await let_go_of_bought(shop, session)
            await carts.merge(shop.dynamodb, session.shopper_id, signed_in.shopper_id, days=shop.settings.cart_days)
        await sign_out(shop, session)
    return signed_in


async def sign_out(shop: Shop, session: Session | None) -> None:
    """End the session; its token is worth nothing from now on."""
    if session is not None:
        await sessions.end(shop.dynamodb, session.token)
        await shop.memory.forget(session.token)


def cookie_of(shop: Shop, session: Session) -> Cookie:
    """The cookie that carries a browser's token."""
    secure = shop.settings.web_url.startswith("https:")
    days = shop.settings.session_days
    return Cookie(COOKIE, value=session.token, max_age=days * 86_400, path="/", httponly=True, samesite="lax", secure=secure)


def drop_cookie(response: Response[Any]) -> None:
    """Take the token out of the browser."""
    response.delete_cookie(COOKIE)


async def _check_csrf(request: AnyRequest, session: Session) -> None:
    given = request.headers.get("x-csrf-token", "")
    if not given and request.content_type[0] in FORMS:
        given = str((await request.form()).get("csrf_token", ""))
    if not sessions.csrf_matches(session.token, given):
        raise Forbidden(problem="The form's security token is missing or old; load the page again and repeat.")
