"""The sandbox gateway's own book, fetched page by page: what the card network says it captured and gave back."""

from __future__ import annotations

from http import HTTPStatus

import aiohttp
import msgspec
from msgspec import Struct

from securecart.errors import GatewayAway
from securecart.patience import GATEWAY_BOOK
from securecart.settings import Settings

__all__ = ["Book", "read_book"]

PAGE = 10_000


class Entry(Struct, frozen=True, gc=False):
    """The part of a payment that is compared; amounts in minor units."""

    reference: str
    status: str
    amount_minor: int
    refunded_minor: int


class Page(Struct, frozen=True):
    """Some entries, and where the next page begins."""

    items: list[Entry]
    next: int | None


class Book(Struct):
    """The entries by column, as a statement takes them: a million fit into memory and into one statement."""

    references: list[str] = []
    statuses: list[str] = []
    amounts_minor: list[int] = []
    refunded_minor: list[int] = []

    def add(self, reference: str, status: str, amount_minor: int, refunded_minor: int = 0) -> None:
        """Write an entry."""
        self.references.append(reference)
        self.statuses.append(status)
        self.amounts_minor.append(amount_minor)
        self.refunded_minor.append(refunded_minor)

    @property
    def columns(self) -> tuple[list[str], list[str], list[int], list[int]]:
        """What the statements about money take as their first parameters."""
        return self.references, self.statuses, self.amounts_minor, self.refunded_minor


async def read_book(settings: Settings) -> Book:
    """The whole book of the sandbox gateway; `GatewayAway` when it gives no answer."""
    book, after = Book(), 0
    headers = {"Authorization": f"Bearer {settings.gateway_key}"}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=GATEWAY_BOOK.answer_s)) as http:
        while True:
            page = await _page(http, f"{settings.gateway_url.rstrip('/')}/v1/book?after={after}&limit={PAGE}")
            for entry in page.items:
                book.add(entry.reference, entry.status, entry.amount_minor, entry.refunded_minor)
            if page.next is None:
                return book
            after = page.next


async def _page(http: aiohttp.ClientSession, url: str) -> Page:
    try:
        async with http.get(url) as response:
            body = await response.read()
            if response.status == HTTPStatus.OK:
                return msgspec.json.decode(body, type=Page)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise GatewayAway(store="card gateway", retry_after=2) from error
    raise GatewayAway(store="card gateway", retry_after=2)
