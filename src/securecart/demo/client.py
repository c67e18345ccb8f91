"""The shop's HTTP door as a household uses it: one connection pool, patience, and a session each.

An answer that says "not now" (no connection, 5xx, 429) is asked for again, with growing pauses; that is safe
because every request here may be repeated: a cart is put whole and a checkout carries its idempotency key.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from msgspec import Struct

from securecart.errors import ShopAway

__all__ = ["PASSWORD", "Answer", "Client", "Heard", "Problem", "connect", "email_of"]

PASSWORD = "demo-household-pass"  # noqa: S105 - the demo households' password is public
PATIENCE_S = 60.0
PAUSE_MIN_S = 0.1
PAUSE_MAX_S = 2.0
REQUEST_S = 30.0
LOST = (aiohttp.ClientError, OSError, TimeoutError)
NO_ANSWER = 0

# Method, path and status of every single request that was sent, repetitions too; the status is 0 where no answer came.
Heard = Callable[[str, str, int], None]


class Answer(Struct, frozen=True):
    """What the shop said."""

    status: int
    body: bytes


class Problem(Struct, frozen=True):
    """The part of a problem document that decides what to do next."""

    code: str = ""
    detail: str = ""


class Entry(Struct, frozen=True):
    """The part of a log-in's answer that is kept."""

    token: str


def email_of(household: int) -> str:
    """The e-mail address a household of the files shops under."""
    return f"household-{household}@demo.securecart.test"


class Client:
    """Sends requests to one shop for many households."""

    def __init__(self, http: aiohttp.ClientSession, url: str, tokens: Path, heard: Heard) -> None:
        self._http = http
        self._heard = heard
        self._url = url.rstrip("/")
        self._tokens_path = tokens
        self._headers: dict[int, dict[str, str]] = {
            household: _bearer(token) for household, token in _read_tokens(tokens).items()
        }
        self._waiting: set[asyncio.Timeout] = set()
        self.log_ins = 0
        self.repeats = 0

    def go_to(self, url: str) -> None:
        """Send everything to the same shop's door in another region from now on, also what waits for an answer."""
        self._url = url.rstrip("/")
        for waiting in self._waiting:
            waiting.reschedule(asyncio.get_running_loop().time())

    async def ask(
        self, household: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One request of a household, logged in first, or again when its session is gone."""
        if household not in self._headers:
            await self._sign_in(household)
        answer = await self._send(method, path, body, {**self._headers[household], **(headers or {})})
        if answer.status == HTTPStatus.UNAUTHORIZED:
            await self._sign_in(household)
            answer = await self._send(method, path, body, {**self._headers[household], **(headers or {})})
        return answer

    async def look(self, household: int, path: str) -> Answer:
        """One GET of a household, logged in first, sent once: without patience. Status 0 when no answer came."""
        if household not in self._headers:
            await self._sign_in(household)
        try:
            async with self._http.get(self._url + path, headers=self._headers[household], allow_redirects=False) as response:
                return Answer(response.status, await response.read())
        except LOST:
            return Answer(NO_ANSWER, b"")

    async def _sign_in(self, household: int) -> None:
        """Register the household, or log it in when it is known."""
        who = {"email": email_of(household), "password": PASSWORD}
        answer = await self._send("POST", "/api/accounts", msgspec.json.encode({**who, "name": f"Household {household}"}), {})
        if answer.status == HTTPStatus.CONFLICT:
            answer = await self._send("POST", "/api/login", msgspec.json.encode(who), {})
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise ShopAway(url=f"{self._url} (log-in of {who['email']}: {answer.status})", seconds=0)
        token = msgspec.json.decode(answer.body, type=Entry).token
        self._headers[household] = _bearer(token)
        self.log_ins += 1
        with self._tokens_path.open("a", encoding="ascii") as file:
            file.write(f"{household} {token}\n")

    async def _send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        """The shop's answer, waited for through breaks; `ShopAway` when none came for a minute."""
        began = asyncio.get_running_loop().time()
        pause = PAUSE_MIN_S
        while True:
            wait: float | None = None
            try:
                async with (
                    self._until_elsewhere(),
                    self._http.request(method, self._url + path, data=body, headers=headers) as said,
                ):
                    answer = Answer(said.status, await said.read())
                    wait = _asked_to_wait(said)
            except LOST:
                answer = None
            self._heard(method, path, answer.status if answer is not None else NO_ANSWER)
            if answer is not None and wait is None:
                return answer
            now = asyncio.get_running_loop().time()
            if answer is not None and answer.status == HTTPStatus.TOO_MANY_REQUESTS:
                began = now  # busy is not away
            if now - began > PATIENCE_S:
                raise ShopAway(url=self._url, seconds=round(PATIENCE_S))
            self.repeats += 1
            await asyncio.sleep(max(wait or 0.0, pause * random.uniform(0.5, 1.0)))  # noqa: S311 - spreads retries
            pause = min(pause * 2, PAUSE_MAX_S)

    @asynccontextmanager
    async def _until_elsewhere(self) -> AsyncIterator[None]:
        async with asyncio.timeout(REQUEST_S) as scope:
            self._waiting.add(scope)
            try:
                yield
            finally:
                self._waiting.discard(scope)


@asynccontextmanager
async def connect(
    url: str, internal_key: str, *, tokens: Path, connections: int, heard: Heard = lambda *_: None
) -> AsyncIterator[Client]:
    """A client of the shop at `url`. Its sessions are kept in the file `tokens`, so that the next run need not log in.

    `heard` is told of every single request of `Client.ask`.
    """
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if internal_key:
        headers["X-SecureCart-Internal-Key"] = internal_key
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=REQUEST_S),
        headers=headers,
        skip_auto_headers=("User-Agent", "Accept-Encoding"),
    ) as http:
        yield Client(http, url, tokens, heard)


def _asked_to_wait(response: aiohttp.ClientResponse) -> float | None:
    """Seconds to wait before asking again, or None for an answer that stands."""
    if response.status < HTTPStatus.INTERNAL_SERVER_ERROR and response.status != HTTPStatus.TOO_MANY_REQUESTS:
        return None
    given: Any = response.headers.get("Retry-After", "0")
    wait = float(given) if given.isdecimal() else 0.0
    # The shop says how long on 429; after a 5xx it only guesses, and a quicker look costs little.
    return wait if response.status == HTTPStatus.TOO_MANY_REQUESTS else 0.0


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _read_tokens(path: Path) -> dict[int, str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600, exist_ok=True)
    pairs = (line.split() for line in path.read_text(encoding="ascii").splitlines())
    return {int(pair[0]): pair[1] for pair in pairs if len(pair) == 2}  # noqa: PLR2004 - a torn last line is left out
