"""Who is shopping: guest sessions, accounts, logging in and out."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from litestar import get, post
from litestar.datastructures import ResponseHeader
from litestar.di import Provide
from msgspec import Meta, Struct

from securecart import accounts, sessions
from securecart.accounts import Account
from securecart.app import Shop
from securecart.errors import Unauthorized
from securecart.sessions import Session
from securecart.values import Address
from securecart.web import positions
from securecart.web.limits import limit
from securecart.web.shoppers import AnyRequest, provide_session, sign_in, sign_out

__all__ = ["PRIVATE", "routes"]


class GuestSession(Struct, frozen=True):
    """A token for `Authorization: Bearer`; `expires_at` in epoch seconds, later with each day it is used."""

    token: str
    shopper_id: str
    expires_at: int


class SignedIn(Struct, frozen=True):
    """A token for `Authorization: Bearer`, and whose it is."""

    token: str
    expires_at: int
    account: Account


class Registration(Struct, frozen=True, forbid_unknown_fields=True):
    """A new account."""

    email: Annotated[str, Meta(max_length=254)]
    password: str
    name: Annotated[str, Meta(max_length=200)] = ""


class LogIn(Struct, frozen=True, forbid_unknown_fields=True):
    """An account's e-mail and password."""

    email: Annotated[str, Meta(max_length=254)]
    password: Annotated[str, Meta(max_length=1000)]


class Shopper(Struct, frozen=True):
    """The shopper behind the token; a guest has no account and no addresses."""

    shopper_id: str
    account: Account | None
    addresses: list[Address]


async def session_to_leave(request: AnyRequest, shop: Shop) -> Session | None:
    """The session that ends with this request; a token that has expired must not stand in the way of a new one."""
    try:
        return await provide_session(request, shop)
    except Unauthorized:
        return None


LEAVING = {"session": Provide(session_to_leave)}
# What is answered here is a secret or personal: no cache on the way may keep it.
PRIVATE = [ResponseHeader(name="Cache-Control", value="no-store", documentation_only=False)]


@post("/api/sessions", response_headers=PRIVATE, guards=[limit("sessions", 120)], tags=["shoppers"])
async def start_session(shop: Shop) -> GuestSession:
    """Begin to shop as a guest."""
    session = await sessions.start_guest(shop.dynamodb, days=shop.settings.session_days)
    return GuestSession(session.token, session.shopper_id, session.expires_at)


@post("/api/accounts", response_headers=PRIVATE, dependencies=LEAVING, guards=[limit("register", 20)], tags=["shoppers"])
async def register(request: AnyRequest, shop: Shop, session: Session | None, data: Registration) -> SignedIn:
    """Open an account and log in; a guest's cart comes along, and the guest's token ends."""
    password_hash = await accounts.hash_password(data.password)
    async with shop.database.transaction() as tx:
        account = await accounts.register(tx, email=data.email, password_hash=password_hash, name=data.name)
    signed_in = await sign_in(shop, session, account)
    await positions.leave(shop, request, signed_in)
    return SignedIn(signed_in.token, signed_in.expires_at, account)


@post(
    "/api/login",
    response_headers=PRIVATE,
    status_code=HTTPStatus.OK,
    dependencies=LEAVING,
    guards=[limit("login", 20)],
    tags=["shoppers"],
)
async def log_in(shop: Shop, session: Session | None, data: LogIn) -> SignedIn:
    """Log in under a new token; a guest's cart joins the account's, and the guest's token ends."""
    account = await accounts.authenticate(shop.database, data.email, data.password)
    signed_in = await sign_in(shop, session, account)
    return SignedIn(signed_in.token, signed_in.expires_at, account)


@post("/api/logout", status_code=HTTPStatus.NO_CONTENT, dependencies=LEAVING, tags=["shoppers"])
async def log_out(shop: Shop, session: Session | None) -> None:
    """End the token that came with the request."""
    await sign_out(shop, session)


@get("/api/me", response_headers=PRIVATE, tags=["shoppers"])
async def who_am_i(request: AnyRequest, shop: Shop, shopper: Session) -> Shopper:
    """The shopper behind the token."""
    if shopper.account_id is None:
        return Shopper(shopper.shopper_id, None, [])
    async with shop.database.read(await positions.of(shop, request, shopper)) as read:
        known = await accounts.addresses(read, shopper.account_id)
    account = Account(shopper.account_id, shopper.email, shopper.name, shopper.staff)
    return Shopper(shopper.shopper_id, account, known)


routes = [start_session, register, log_in, log_out, who_am_i]
