"""Staff and shoppers who log in at the doors of a running shop, and orders that wait for staff."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

import aiohttp
import msgspec
from msgspec import Struct

from securecart import accounts, checkout, fraud
from securecart.app import Shop
from securecart.fraud import Lesson, Origin
from securecart.orders import Order, new_number
from tests.integration.test_reviews import Says, a_till, held_order
from tests.orders_for_tests import a_product, a_wish
from tests.readers_for_tests import readers_held
from tests.shopping import a_buyer

__all__ = ["PASSWORD", "Ring", "Visitor", "a_held_order", "a_ring", "an_account", "visiting"]

HOUR = 3_600_000_000

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
            await accounts.set_staff(tx, email, staff=True)
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


class Ring(Struct):
    """A device that several accounts share, one of whose orders waits; a card and an address that some of them share."""

    held: Order
    device: str
    accounts: list[str]
    frauds: list[str]


async def a_ring(shop: Shop, *, accounts: int = 5, orders_each: int = 2) -> Ring:
    """A held order in a ring that the graph knows: two of the other accounts' orders are known fraud."""
    device, card = secrets.token_hex(12), secrets.token_hex(12)
    sku = await a_product(shop.database, price_minor=21_525, stock=10)
    buyer = await a_buyer(shop, sku, 2)
    wish = a_wish(token=f"tok_card_us_{card}")
    address = msgspec.structs.replace(wish.shipping_address, line1=f"{secrets.randbelow(10**9)} Harbour Road")
    wish = msgspec.structs.replace(wish, email=f"{secrets.token_hex(4)}@example.com", shipping_address=address)
    origin = Origin(device, f"10.{secrets.randbelow(256)}.{secrets.randbelow(256)}.0/24", "RO")
    held = await checkout.place(a_till(shop, Says("review")), buyer, wish, "key", currency="USD", origin=origin)
    async with shop.database.fresh() as fresh:
        lessons = await fraud.lessons(fresh, [(await fraud.risk_of(fresh, held.number)).order_id])
    own, others = lessons[0].attempt, [f"guest:{secrets.token_hex(8)}" for _ in range(accounts)]
    for place, account in enumerate(others):
        for turn in range(orders_each):
            at = own.at - (place * orders_each + turn + 1) * HOUR
            theirs = msgspec.structs.replace(
                own,
                at=at,
                account=account,
                card=own.card if place == 0 else secrets.token_hex(12),
                address=own.address if place <= 1 else secrets.token_hex(12),
                email=secrets.token_hex(12),
            )
            known = own.at if place in {0, 2} and turn == 0 else None
            lessons.append(Lesson(place, new_number(), "paid", theirs, known))
    async with readers_held(shop):
        await fraud.teach(shop.graph, lessons)
    return Ring(held, device, others, [lesson.number for lesson in lessons if lesson.fraud_at is not None])
