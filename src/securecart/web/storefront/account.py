"""Logging in and out, making an account, and what an account shows: its orders and addresses."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import urlencode

from litestar import Response, get, post

from securecart import accounts
from securecart.accounts import Account
from securecart.app import Shop
from securecart.errors import BadInput, EmailTaken, Unauthorized
from securecart.sessions import Session
from securecart.web import positions
from securecart.web.limits import limit
from securecart.web.my_orders import my_orders
from securecart.web.shoppers import drop_cookie, must_know, sign_in, sign_out
from securecart.web.storefront import forms
from securecart.web.storefront.forms import Form
from securecart.web.storefront.pages import AnyRequest, Visit, page, see_other, visit

__all__ = ["routes"]

RECENT = 3
PAGE_LENGTH = 20
HOME = "/account"


@get("/login")
async def ask_login(request: AnyRequest, shop: Shop, session: Session | None) -> Response[str]:
    """The form to log in."""
    return await _ask(await visit(request, shop, session), "login.html", Form())


@post("/login", guards=[limit("login", 20)], status_code=HTTPStatus.OK)
async def login(request: AnyRequest, shop: Shop, session: Session | None) -> Response[str]:
    """Log in; the cart that a guest filled comes along."""
    here = await visit(request, shop, session)
    form = await forms.read(request)
    forms.check_email(form)
    if not form.values.get("password"):
        form.errors["password"] = "Fill in your password."  # noqa: S105 - a sentence
    if form.errors:
        return await _ask(here, "login.html", form, HTTPStatus.UNPROCESSABLE_ENTITY)
    try:
        account = await accounts.authenticate(shop.database, form.values["email"], form.values["password"])
    except Unauthorized as error:
        form.errors[""] = error.message
        return await _ask(here, "login.html", form, HTTPStatus.UNAUTHORIZED)
    return await _enter(here, account, form)


@get("/register")
async def ask_register(request: AnyRequest, shop: Shop, session: Session | None) -> Response[str]:
    """The form to make an account."""
    return await _ask(await visit(request, shop, session), "register.html", Form())


@post("/register", guards=[limit("register", 20)], status_code=HTTPStatus.OK)
async def register(request: AnyRequest, shop: Shop, session: Session | None) -> Response[str]:
    """Make an account and log in; the cart that a guest filled comes along."""
    here = await visit(request, shop, session)
    form = await forms.read(request)
    forms.check_email(form)
    if not form.values.get("name"):
        form.errors["name"] = "Fill in your name."
    if not form.values.get("password"):
        form.errors["password"] = "Choose a password."  # noqa: S105 - a sentence
    if form.errors:
        return await _ask(here, "register.html", form, HTTPStatus.UNPROCESSABLE_ENTITY)
    try:
        hashed = await accounts.hash_password(form.values["password"])
        async with shop.database.transaction() as tx:
            account = await accounts.register(
                tx, email=form.values["email"], password_hash=hashed, name=form.values["name"][:200]
            )
    except EmailTaken as error:
        form.errors["email"] = error.message
        return await _ask(here, "register.html", form, HTTPStatus.CONFLICT)
    except BadInput as error:
        form.refuse(error, {"email", "name", "password"})
        return await _ask(here, "register.html", form, HTTPStatus.UNPROCESSABLE_ENTITY)
    return await _enter(here, account, form)


@post("/logout", status_code=HTTPStatus.OK)
async def logout(request: AnyRequest, shop: Shop, session: Session | None) -> Response[str]:
    """Log out; the session is worth nothing from now on."""
    await sign_out(shop, session)
    response = see_other(Visit(request, shop, None), "/")
    drop_cookie(response)
    return response


@get("/logout")
async def ask_logout(request: AnyRequest, shop: Shop, session: Session | None) -> Response[str]:
    """A link cannot log anybody out; the button on the account's page can."""
    return see_other(Visit(request, shop, session), HOME)


@get("/account")
async def show(request: AnyRequest, shop: Shop, session: Session | None) -> Response[str]:
    """The account at a glance: the latest orders, name, addresses."""
    here = await visit(request, shop, session)
    must_know(request)
    if session is None or session.account_id is None:
        return see_other(here, f"/login?next={HOME}")
    written = await positions.of(shop, request, session)
    recent, _ = await my_orders(shop, session, after=None, limit=RECENT, written=written)
    async with shop.database.read(written) as read:
        addresses = await accounts.addresses(read, session.account_id)
    return await page(here, "account.html", orders=recent, addresses=addresses)


@get("/account/orders")
async def list_orders(request: AnyRequest, shop: Shop, session: Session | None) -> Response[str]:
    """Every order, newest first: the account's, or those a guest placed from this browser."""
    here = await visit(request, shop, session)
    must_know(request)
    if session is None:
        return see_other(here, "/login?next=/account/orders")
    written, after = await positions.of(shop, request, session), request.query_params.get("after") or None
    found, following = await my_orders(shop, session, after=after, limit=PAGE_LENGTH, written=written)
    next_page = f"/account/orders?{urlencode({'after': following})}" if following else ""
    return await page(here, "orders.html", orders=found, next_page=next_page)


async def _ask(here: Visit, template: str, form: Form, status: int = 200) -> Response[str]:
    """The form, for a visitor who has a session from here on, so that the form can carry its token."""
    after = forms.local_path(form.values.get("next") or str(here.request.query_params.get("next", "")), HOME)
    if here.session is not None and here.session.account_id is not None:
        return see_other(here, after)
    await here.need_session()
    return await page(here, template, status, form=form, next=after)


async def _enter(here: Visit, account: Account, form: Form) -> Response[str]:
    here.session = await sign_in(here.shop, here.session, account)
    here.new_session = True
    await positions.leave(here.shop, here.request, here.session)
    return see_other(here, forms.local_path(form.values.get("next", ""), HOME))


routes = [ask_login, login, ask_register, register, logout, ask_logout, show, list_orders]
