"""Staff and shoppers who log in at the doors of a running shop, and orders that wait for staff."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

import aiohttp
from msgspec import Struct

from securecart import accounts
from securecart.app import Shop
from securecart.orders import Order
from tests.integration.test_reviews import Says, a_till, held_order

__all__ = ["PASSWORD", "Visitor", "a_held_order", "an_account", "visiting"]

PASSWORD = "correct horse battery"
TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


class Visitor(Struct):
    """A browser without a window: it keeps cookies, and knows the security token of the page it saw last."""

    http: aiohttp.ClientSession
    token: str = ""

    async def open(self, path: str, *, status: int = HTTPStatus.OK) -> str:
        async with self.http.get(path) as answer:
            text = await answer.text()
            assert answer.status == status, text[:2000]
            found = TOKEN.search(text)
            self.token = found[1] if found else self.token
            return text

    async def send(self, path: str, *, status: int = HTTPStatus.SEE_OTHER, **fields: str) -> str:
        """Send a form; the address that the answer leads to."""
        async with self.http.post(path, data={"csrf_token": self.token, **fields}, allow_redirects=False) as answer:
            assert answer.status == status, (await answer.text())[:2000]
            return answer.headers.get("location", "")


async def an_account(shop: Shop, *, staff: bool) -> str:
    """The e-mail address of a new account."""
    email = f"{'olga' if staff else 'sam'}-{secrets.token_hex(4)}@example.com"
    hashed = await accounts.hash_password(PASSWORD)
    async with shop.database.transaction() as tx:
        await accounts.register(tx, email=email, password_hash=hashed, name="Olga" if staff else "Sam")
        if staff:
            await accounts.make_staff(tx, email)
    return email


@asynccontextmanager
async def visiting(url: str, headers: dict[str, str], email: str = "") -> AsyncIterator[Visitor]:
    """Somebody at the doors; logged in with the account of this address, if one is given."""
    async with aiohttp.ClientSession(url, cookie_jar=aiohttp.CookieJar(unsafe=True), headers=headers) as http:
        visitor = Visitor(http)
        if email:
            await visitor.open("/login?next=/console")
            await visitor.send("/login", email=email, password=PASSWORD, next="/console")
        yield visitor


async def a_held_order(shop: Shop) -> Order:
    """An order that the judge was unsure of."""
    order, _, _ = await held_order(shop, a_till(shop, Says("review")))
    return order
