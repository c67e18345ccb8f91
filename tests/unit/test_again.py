"""Requests done again: which, how often, how long, and that the client gets one answer with nothing of the others in it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import pytest
from litestar.types import Message, Receive, Scope, Send

from securecart.errors import StoreAway, StoreBusy
from securecart.web.again import BODY_BYTES_MAX, Again, note

LOST = StoreAway(store="orders database", retry_after=2)
BUSY = StoreBusy(store="orders database", retry_after=1)
CARTS = StoreAway(store="cart and session store", retry_after=2)


class Handler:
    """A route, declared repeatable or not."""

    def __init__(self, *, repeatable: bool) -> None:
        self.opt = {"repeatable": repeatable}


class App:
    """Fails as told, one try after the other, and then answers with the body that it was sent."""

    def __init__(self, *failures: StoreAway, repeatable: bool = True, then: Callable[[], object] = lambda: None) -> None:
        self.failures = list(failures)
        self.repeatable = repeatable
        self.then = then
        self.bodies: list[bytes] = []
        self.tries = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.tries += 1
        assert "seen" not in scope["state"], "what a try leaves behind is not the next one's"
        scope["state"]["seen"] = True
        scope["path_template"] = "/route"
        cast("dict[str, Any]", scope)["route_handler"] = Handler(repeatable=self.repeatable)
        body, more = b"", True
        while more:
            part: Any = await receive()
            body, more = body + part["body"], part["more_body"]
        self.bodies.append(body)
        self.then()
        if self.failures:
            note(scope, self.failures.pop(0))
            await _answer(send, 503, b"away")
        else:
            await _answer(send, 200, b"got " + body)


async def _answer(send: Send, status: int, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"retry-after", b"2")]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def ask(app: App, *, method: str = "GET", parts: tuple[bytes, ...] = (b"",), patience_s: float = 5.0) -> tuple[int, bytes]:
    """The one answer that the client gets."""
    waiting = [{"type": "http.request", "body": part, "more_body": part is not parts[-1]} for part in parts]
    sent: list[Message] = []

    async def receive() -> Any:
        assert waiting, "a body is read from the network once"
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = cast("Scope", {"type": "http", "method": method, "state": {}})
    await Again(app, patience_s=patience_s)(scope, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert scope["path_template"] == "/route"
    return sent[0]["status"], sent[1]["body"]  # type: ignore[typeddict-item]


async def test_what_goes_well_is_done_once() -> None:
    app = App()
    assert (await ask(app), app.tries) == ((200, b"got "), 1)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_it_is_done_again_when_the_database_was_lost(method: str) -> None:
    app = App(LOST, LOST)
    assert (await ask(app, method=method), app.tries) == ((200, b"got "), 3)


async def test_each_try_hears_the_whole_body() -> None:
    app = App(LOST)
    assert await ask(app, method="POST", parts=(b"one ", b"two ", b"three")) == (200, b"got one two three")
    assert app.bodies == [b"one two three"] * 2


async def test_a_change_that_its_route_does_not_call_repeatable_is_done_once() -> None:
    app = App(LOST, repeatable=False)
    assert (await ask(app, method="POST"), app.tries) == ((503, b"away"), 1)


async def test_other_methods_and_other_stores_are_left_alone() -> None:
    for method, error in (("PUT", LOST), ("DELETE", LOST), ("GET", CARTS)):
        app = App(error)
        assert (await ask(app, method=method), app.tries) == ((503, b"away"), 1)


async def test_a_busy_database_is_asked_twice_and_no_more() -> None:
    app = App(BUSY, BUSY, BUSY)
    assert (await ask(app, method="POST"), app.tries) == ((503, b"away"), 2)


async def test_a_body_too_large_to_keep_is_not_done_again() -> None:
    app = App(LOST)
    assert await ask(app, method="POST", parts=(b"x" * BODY_BYTES_MAX, b"y")) == (503, b"away")


async def test_patience_ends_and_the_503_is_told() -> None:
    app = App(*[LOST] * 1_000)
    began = time.monotonic()
    assert await ask(app, method="POST", patience_s=0.6) == (503, b"away")
    assert app.tries > 1
    assert time.monotonic() - began < 3


async def test_a_try_that_used_all_patience_is_not_followed_by_another() -> None:
    app = App(LOST, then=lambda: time.sleep(0.05))
    assert (await ask(app, method="POST", patience_s=0.01), app.tries) == ((503, b"away"), 1)
