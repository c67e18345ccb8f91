"""Does a request again that a dying database caught, before its client hears of it.

A GET, and whatever its route declares `repeatable` (its idempotency key, or its nature, makes it safe), that ends with the
orders database away is done again as long as its patience lasts, if no byte of an answer was sent: a page for a second,
a purchase for as long as a new writer is waited for. After that the client gets the 503 with its Retry-After. A database
that is busy rather than away is asked twice and no more: a queue does not get shorter by standing in it more often.
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, ReceiveMessage, Scope, Send
from prometheus_client import Counter

from securecart.errors import StoreAway, StoreBusy
from securecart.patience import FAILOVER, POSTGRES, WEB_READS, repeat

__all__ = ["REPEATABLE", "Again", "note"]

REPEATABLE = "repeatable"
BODY_BYTES_MAX = 256 * 1024
BUSY_TRIES_MAX = 2

_ERROR = "went_wrong"
_again = Counter("securecart_requests_repeated_total", "Requests done again because the orders database was lost.", ["method"])


def note(scope: Scope, error: StoreAway) -> None:
    """Called by whoever turns an error into an answer: what this answer says."""
    scope["state"][_ERROR] = error


class Again:
    """Stands around the application. `patience_s` is how long a repeatable change may take in all."""

    def __init__(self, app: ASGIApp, *, patience_s: float) -> None:
        self._app = app
        self._changes = msgspec.structs.replace(FAILOVER, retry_for_s=patience_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, more than once if need be."""
        if scope["type"] != ScopeType.HTTP or scope["method"] not in {"GET", "HEAD", "POST"}:
            await self._app(scope, receive, send)
            return
        request = _Request(self._app, scope, receive, send)
        try:
            await repeat(WEB_READS if scope["method"] != "POST" else self._changes, _HeldBack, request.try_once)
        except _HeldBack as held:
            await held.let_go(send)


class _HeldBack(Exception):
    """An answer that was not sent, because the request may be done again."""

    def __init__(self, messages: list[Message]) -> None:
        super().__init__()
        self._messages = messages

    async def let_go(self, send: Send) -> None:
        """Send it after all."""
        for message in self._messages:
            await send(message)


class _Request:
    def __init__(self, app: ASGIApp, scope: HTTPScope, receive: Receive, send: Send) -> None:
        self._app = app
        self._scope = scope
        self._receive = receive
        self._send = send
        self._heard: list[ReceiveMessage] = []
        self._bytes = 0
        self._busy = 0
        self._tries = 0

    async def try_once(self) -> None:
        """Do it; `_HeldBack` when it may be done again."""
        self._tries += 1
        if self._tries > 1:
            _again.labels(self._scope["method"]).inc()
        scope: Any = {**self._scope, "state": dict(self._scope.get("state") or {})}  # each try writes into a scope of its own
        held: list[Message] = []
        replay = iter(list(self._heard))

        async def hear() -> ReceiveMessage:
            return next(replay, None) or await self._hear_more()

        async def answer(message: Message) -> None:
            if held or (message["type"] == "http.response.start" and self._may_be_repeated(scope)):
                held.append(message)
            else:
                await self._send(message)

        try:
            await self._app(scope, hear, answer)
        finally:
            if "path_template" in scope:
                self._scope["path_template"] = scope["path_template"]  # for whoever counts answers by their route
        if held:
            raise _HeldBack(held)

    async def _hear_more(self) -> ReceiveMessage:
        message = await self._receive()
        if message["type"] == "http.request":
            self._bytes += len(message["body"])
            self._heard.append(message)
        return message

    def _may_be_repeated(self, scope: Any) -> bool:
        error = scope["state"].get(_ERROR)
        if not isinstance(error, StoreAway) or error.facts.get("store") != POSTGRES.name or self._bytes > BODY_BYTES_MAX:
            return False
        if isinstance(error, StoreBusy):
            self._busy += 1
            if self._busy >= BUSY_TRIES_MAX:
                return False
        handler = scope.get("route_handler")
        return self._scope["method"] != "POST" or bool(handler is not None and handler.opt.get(REPEATABLE))
