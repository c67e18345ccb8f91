"""The sandbox card gateway: `python -m securecart.sandbox.gateway --port P --data FOLDER`.

It stands where a card network would, behind HTTP, with its own book on disk, and takes its secret key from
`SECURECART_GATEWAY_KEY`. It is lenient in nothing: keys are required, money moves once, and some test cards
make it behave as badly as the real world does.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

import msgspec
import uvloop
from aiohttp import web
from msgspec import Meta, Struct

from securecart.sandbox.book import Book, Payment, Refused
from securecart.sandbox.cards import card_of

__all__ = ["create_app"]

BOOK = web.AppKey("book", Book)
Amount = Annotated[int, Meta(ge=1, le=10**12)]
Reference = Annotated[str, Meta(min_length=1, max_length=100)]
PAGE_MAX = 10_000
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Charge(Struct, frozen=True):
    """Money to capture from the card behind a token, or only to promise."""

    reference: Reference
    amount_minor: Amount
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$")]
    token: str
    capture: bool = True


class Look(Struct, frozen=True):
    """Tokens whose cards are wanted."""

    tokens: Annotated[tuple[str, ...], Meta(max_length=1_000)]


class Conclude(Struct, frozen=True):
    """A reference on which the last word is wanted."""

    reference: Reference


class Take(Struct, frozen=True):
    """Promised money to take."""

    amount_minor: Amount


class Approve(Struct, frozen=True):
    """The buyer's answer to the bank's question."""

    approved: bool = True


class GiveBack(Struct, frozen=True):
    """Money to give back of a payment."""

    amount_minor: Amount
    reason: str = ""


async def tokens(request: web.Request) -> web.StreamResponse:
    """The cards behind several tokens, null where there is none; nothing is charged."""
    named = (card_of(one) for one in (await _body(request, Look)).tokens)
    return _json({"items": [None if card is None else card.told for card in named]})


async def charge(request: web.Request) -> web.StreamResponse:
    """Capture money, promise it, or decline; some test cards answer late or not at all."""
    wish = await _body(request, Charge)
    card = card_of(wish.token)
    if card is None:
        raise Refused("token", f"There is no card behind the token {wish.token!r}.")
    key = _key(request)
    await asyncio.sleep(card.delay_s)
    payment = None
    if card.charges:
        # shielded: a caller who leaves does not undo what the card network does
        money = (wish.amount_minor, wish.currency)
        charged = request.app[BOOK].charge(key, wish.reference, money, card, capture=wish.capture)
        payment = await asyncio.shield(asyncio.ensure_future(charged))
    if not card.answers and request.transport is not None:
        request.transport.abort()
    return _json(payment)


async def token(request: web.Request) -> web.StreamResponse:
    """The card behind a token, which the book need not be asked for."""
    card = card_of(request.match_info["token"])
    return _json(card.told) if card else _problem(404, "token", "There is no card behind this token.")


async def conclude(request: web.Request) -> web.StreamResponse:
    """The last word on a reference."""
    return _json(await request.app[BOOK].conclude((await _body(request, Conclude)).reference))


async def approve(request: web.Request) -> web.StreamResponse:
    """The buyer approves a payment that waits, or does not."""
    wish = await _body(request, Approve)
    return _known(await request.app[BOOK].approve(request.match_info["id"], approved=wish.approved))


async def capture(request: web.Request) -> web.StreamResponse:
    """Take promised money."""
    wish = await _body(request, Take)
    _key(request)
    return _known(await request.app[BOOK].capture(request.match_info["id"], wish.amount_minor))


async def void(request: web.Request) -> web.StreamResponse:
    """Give a promise up."""
    _key(request)
    return _known(await request.app[BOOK].void(request.match_info["id"]))


async def refund(request: web.Request) -> web.StreamResponse:
    """Give money back."""
    wish = await _body(request, GiveBack)
    given = request.app[BOOK].refund(_key(request), request.match_info["id"], wish.amount_minor, wish.reason)
    return _json(await given)


async def find(request: web.Request) -> web.StreamResponse:
    """One payment by its id."""
    return _known(request.app[BOOK].find("id", request.match_info["id"]))


async def find_by_reference(request: web.Request) -> web.StreamResponse:
    """The payments of a reference: one or none."""
    payment = request.app[BOOK].find("reference", request.query.get("reference", ""))
    return _json({"items": [payment] if payment else []})


async def book(request: web.Request) -> web.StreamResponse:
    """The whole book, page by page, for reconciliation."""
    after, limit = _number(request, "after", 0, least=0), _number(request, "limit", 1000, least=1)
    items, following = request.app[BOOK].page(after, min(limit, PAGE_MAX))
    return _json({"items": items, "next": following})


async def totals(request: web.Request) -> web.StreamResponse:
    """Money captured and refunded by currency."""
    return _json(request.app[BOOK].totals())


async def healthz(_request: web.Request) -> web.StreamResponse:
    """Alive."""
    return web.Response(text="ok")


ROUTES = (
    web.get("/healthz", healthz),
    web.get("/v1/tokens/{token}", token),
    web.post("/v1/tokens", tokens),
    web.post("/v1/payments", charge),
    web.get("/v1/payments", find_by_reference),
    web.post("/v1/payments/conclude", conclude),
    web.get("/v1/payments/{id}", find),
    web.post("/v1/payments/{id}/approve", approve),
    web.post("/v1/payments/{id}/capture", capture),
    web.post("/v1/payments/{id}/void", void),
    web.post("/v1/payments/{id}/refunds", refund),
    web.get("/v1/book", book),
    web.get("/v1/totals", totals),
)


def create_app(folder: Path, key: str) -> web.Application:
    """The gateway on the book in `folder`, for callers who know `key`."""

    @web.middleware
    async def doorman(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "")
        if request.path != "/healthz" and not hmac.compare_digest(given.encode(), f"Bearer {key}".encode()):
            return _problem(401, "Authorization", "The secret key is missing or wrong.")
        try:
            return await handler(request)
        except Refused as refused:
            return _problem(422, refused.field, str(refused))
        except web.HTTPException as refused:
            return _problem(refused.status, None, refused.reason)

    async def with_book(app: web.Application) -> AsyncIterator[None]:
        app[BOOK] = Book(folder)
        yield
        await app[BOOK].close()

    app = web.Application(middlewares=[doorman])
    app.add_routes(ROUTES)
    app.cleanup_ctx.append(with_book)
    return app


async def _body(request: web.Request, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except msgspec.DecodeError as error:
        raise Refused(str(error).rpartition("$.")[2].rstrip("`"), str(error)) from error


def _number(request: web.Request, name: str, default: int, *, least: int) -> int:
    given = request.query.get(name, str(default))
    if not given.isascii() or not given.isdigit() or not least <= int(given[:20]) < 2**63:
        raise Refused(name, f"{name} is a whole number from {least}.")
    return int(given)


def _key(request: web.Request) -> str:
    key = request.headers.get("Idempotency-Key", "")
    if not key:
        raise Refused("Idempotency-Key", "This header is required: it makes asking again safe.")
    return f"{request.path} {key}"


def _known(payment: Payment | None) -> web.Response:
    return _json(payment) if payment else _problem(404, "id", "There is no such payment.")


def _json(content: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), content_type="application/json")


def _problem(status: int, field: str | None, detail: str) -> web.Response:
    document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "field": field, "detail": detail}
    return web.Response(status=status, body=msgspec.json.encode(document), content_type="application/problem+json")


async def _serve(port: int, folder: Path, key: str) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    runner = web.AppRunner(create_app(folder, key), access_log=None, shutdown_timeout=2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    await stopping.wait()
    await runner.cleanup()


def main() -> None:
    """Serve until SIGTERM."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--data", type=Path, required=True)
    given = arguments.parse_args()
    key = os.environ.get("SECURECART_GATEWAY_KEY", "")
    if not key:
        sys.exit("SECURECART_GATEWAY_KEY is not set: the gateway must know the secret key that its callers send.")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(given.port, given.data, key))


if __name__ == "__main__":
    main()
