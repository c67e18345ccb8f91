"""The graph: one client for Neptune and for LadybugDB behind the same door, openCypher over HTTP/1.1.

A room keeps its statements in `queries.cypher`, each with a name, and sends them by `ask` or `write` with parameters. Addresses
that begin with https are signed with AWS's credentials where there are any; one with a password in it sends that. Whatever says
that the graph cannot answer becomes `StoreAway`; what it refuses is a fault of ours and comes as `Refused`.
"""

from __future__ import annotations

import asyncio
import functools
import time
from base64 import b64encode
from http import HTTPStatus
from io import BytesIO
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import aiohttp
import msgspec

from securecart.errors import StoreAway, StoreBusy
from securecart.patience import GRAPH, Breaker, repeat
from securecart.stores.graph.check import RULES, Refusal, refusals
from securecart.stores.graph.problems import Conflict, Refused, Throttled, TooSlow, Unwell, problem_of
from securecart.stores.graph.signing import Signer, signer_for
from securecart.stores.graph.statements import Statement, chained, either, statements_in, statements_of

__all__ = [
    "RULES",
    "Graph",
    "Refusal",
    "Refused",
    "Row",
    "Statement",
    "chained",
    "connect",
    "either",
    "refusals",
    "statements_in",
    "statements_of",
]

Row = dict[str, Any]

CONNECTIONS_MAX = 64
LARGE_BYTES = 2**20
# The engine ends a statement that takes too long and says so; only one that cannot say anything is given up here.
GRACE_S = 2.0
ENGINES_SHARE = 0.8
FORM = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
# What an engine that is down, starting or out of order looks like from here; the breaker counts these.
UNWELL = (OSError, TimeoutError, aiohttp.ClientError, Unwell)


class Graph:
    """A connected client; without an address the graph is away, always."""

    def __init__(self, url: str, session: aiohttp.ClientSession, *, timeout_s: float, signer: Signer | None = None) -> None:
        self.breaker = Breaker(GRAPH, self.answers)
        self._session = session
        self._timeout_s = timeout_s
        self._signer = signer
        self._turns = asyncio.Semaphore(CONNECTIONS_MAX)
        self._base, self._headers = _address(url)

    async def ask(self, statement: Statement, /, *, within_s: float | None = None, **parameters: Any) -> list[Row]:
        """The rows that a reading statement finds; `StoreAway` when there is no answer.

        It is asked again when that may help; with `within_s` it is asked once, and the engine is told to give up in time.
        """
        return await self._rows(statement, parameters, within_s, again=(Conflict, Throttled, *UNWELL))

    async def write(self, statement: Statement, /, **parameters: Any) -> list[Row]:
        """What a changing statement returns, once the change is kept; `StoreAway` or `StoreBusy` when it may not be.

        It is sent again only where the graph said that nothing was changed. Who hears `StoreAway` does not know whether it
        was: statements are written with MERGE, so that they may be sent again.
        """
        return await self._rows(statement, parameters, None, again=(Conflict, Throttled))

    async def answers(self) -> bool:
        """Whether anybody is there at this moment and says that it is well."""
        url = f"{self._base}/status"
        try:
            async with asyncio.timeout(GRACE_S):
                headers = await self._signed("GET", url, b"", {"Accept": "application/json"})
                async with self._session.get(url, headers=headers) as answer:
                    return answer.status == HTTPStatus.OK and (await answer.json(content_type=None)).get("status") == "healthy"
        except (*UNWELL, ValueError):
            return False

    async def close(self) -> None:
        """Close the connections."""
        self.breaker.close()
        await self._session.close()

    async def _rows(
        self, statement: Statement, parameters: Row, within_s: float | None, *, again: tuple[type[Exception], ...]
    ) -> list[Row]:
        if not self._base:
            raise _away()
        body = _body(statement, parameters, within_s)
        try:
            if within_s is not None:
                return await self._send(body, within_s)
            return await repeat(GRAPH, again, functools.partial(self._send, body, self._timeout_s + GRACE_S))
        except Conflict as conflict:
            raise StoreBusy(store=GRAPH.name, retry_after=2) from conflict
        except (Throttled, TooSlow, *UNWELL) as problem:
            raise _away() from problem

    async def _send(self, body: bytes, answer_s: float) -> list[Row]:
        self.breaker.admit()
        began = time.monotonic()
        try:
            async with asyncio.timeout(answer_s), self._turns:
                rows = await self._post(body)
        except TimeoutError:
            # one that was given little time says little of the engine
            self.breaker.missed(began, in_vain=answer_s >= self._timeout_s)
            raise
        except UNWELL:
            self.breaker.missed(began)
            raise
        except (Conflict, Refused, Throttled, TooSlow):
            self.breaker.heard()  # a refusal is an answer
            raise
        self.breaker.heard()
        return rows

    async def _post(self, body: bytes) -> list[Row]:
        url = f"{self._base}/openCypher"
        headers = await self._signed("POST", url, body, FORM)
        sent = body if len(body) < LARGE_BYTES else BytesIO(body)  # aiohttp sends what is large bit by bit
        async with self._session.post(url, data=sent, headers=headers) as answer:
            content = await answer.read()
        if answer.status != HTTPStatus.OK:
            raise problem_of(answer.status, content)
        try:
            rows: list[Row] = msgspec.json.decode(content)["results"]
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            raise Unwell("the answer broke off") from error
        return rows

    async def _signed(self, method: str, url: str, body: bytes, headers: dict[str, str]) -> dict[str, str]:
        if self._signer is None:
            return {**headers, **self._headers}
        return await self._signer.headers(method, url, body, headers)


async def connect(url: str, *, timeout_s: float = GRAPH.answer_s) -> Graph:
    """A client for the graph at `url`, whether or not it is there at the moment; `timeout_s` is a statement's longest time."""
    parts = urlsplit(url)
    signer = await asyncio.to_thread(signer_for, parts.hostname or "") if parts.scheme == "https" else None
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX + 1, keepalive_timeout=60),  # one more, to look whether it is back
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=GRAPH.connect_s),
    )
    return Graph(url, session, timeout_s=timeout_s, signer=signer)


def _address(url: str) -> tuple[str, dict[str, str]]:
    """The address without what is secret in it, and the header that says the secret."""
    parts = urlsplit(url)
    bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
    if parts.password is None:
        return bare, {}
    secret = b64encode(f"{unquote(parts.username or '')}:{unquote(parts.password)}".encode()).decode()
    return bare, {"Authorization": f"Basic {secret}"}


def _body(statement: Statement, parameters: Row, within_s: float | None) -> bytes:
    query: str = statement
    if within_s is not None:  # Neptune's own way to say so
        query = f"USING QUERY:TIMEOUTMILLISECONDS {max(1, int(within_s * 1_000 * ENGINES_SHARE))} {statement}"
    body = f"query={_escaped(query)}"
    if parameters:
        body += f"&parameters={_escaped(msgspec.json.encode(parameters).decode())}"
    return body.encode()


def _escaped(text: str) -> str:
    """As much as a form needs; `urlencode` takes longer over a large one than the engine does."""
    for sign, code in (("%", "%25"), ("&", "%26"), ("+", "%2B"), (";", "%3B")):
        text = text.replace(sign, code)
    return text


def _away() -> StoreAway:
    return StoreAway(store=GRAPH.name, retry_after=2)
