"""The door: openCypher over HTTP as Neptune speaks it, so many statements at once and so many in line."""

from __future__ import annotations

import asyncio
import functools
import hmac
import time
import uuid
from base64 import b64encode
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from aiohttp import web

from securecart.graph.file import VERSION, File
from securecart.graph.shapes import STATUS, Code, Problem, problem_of, value_of
from securecart.graph.statement import Ready, made_ready, with_parameters
from securecart.telemetry import log

__all__ = ["Door"]

BODY_BYTES_MAX = 8 * 2**20
IN_LINE_MAX = 64
# What still runs when the process is to end gets so long, and so long more to hear that it was ended.
FINISH_WITHIN_S = 3.0
HEAR_WITHIN_S = 1.0
USER = "securecart"


class Door:
    """Answers on one port of the loopback interface; with a `key`, only who knows it."""

    def __init__(self, file: File, *, concurrency: int, timeout_s: float, key: str) -> None:
        self._file = file
        self._concurrency = concurrency
        self._timeout_s = timeout_s
        self._authorization = f"Basic {b64encode(f'{USER}:{key}'.encode()).decode()}" if key else ""
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="statement")
        self._turns = asyncio.Semaphore(concurrency)
        self._writing = asyncio.Lock()  # LadybugDB has one writing transaction at a time
        self._inside = 0
        self._closing = False
        self._began = time.strftime("%a %b %d %H:%M:%S UTC %Y", time.gmtime())
        self._runner: web.AppRunner | None = None

    async def open(self, port: int) -> None:
        """Listen."""
        app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[self._guard])
        for path in ("/openCypher", "/opencypher"):
            app.router.add_post(path, self._by_post)
            app.router.add_get(path, self._by_get)
        app.router.add_get("/status", self._status)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=FINISH_WITHIN_S + HEAR_WITHIN_S)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()

    async def close(self) -> None:
        """Listen no more, let what runs finish or end it, and close the file."""
        assert self._runner is not None
        self._closing = True
        late = asyncio.get_running_loop().call_later(FINISH_WITHIN_S, self._file.interrupt)
        await self._runner.cleanup()
        late.cancel()
        self._file.interrupt()
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._file.close)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Whoever does not know the key is told so, and every error has Neptune's shape."""
        try:
            given = request.headers.get("Authorization", "")
            if self._authorization and not hmac.compare_digest(given.encode(), self._authorization.encode()):
                raise Problem("AccessDeniedException", "The key is missing or wrong.")  # noqa: TRY301 - told as all problems are
            answer: web.StreamResponse = await handler(request)
        except Problem as problem:
            return _told(problem.code, str(problem), STATUS[problem.code])
        except web.HTTPRequestEntityTooLarge:
            words = f"Request size exceeds max allowed value of {BODY_BYTES_MAX} bytes."
            return _told("BadRequestException", words, STATUS["BadRequestException"])
        except web.HTTPException as error:
            return _told("BadRequestException", error.reason, error.status)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller hears of it and the others are answered
            log.exception("a request failed", problem=repr(error))
            return _told("InternalFailureException", "The request failed; the log says why.", 500)
        return answer

    async def _by_get(self, request: web.Request) -> web.Response:
        return await self._answer(request.query)

    async def _by_post(self, request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            form = await request.post()
            return await self._answer({name: value for name, value in form.items() if isinstance(value, str)})
        try:
            asked = msgspec.json.decode(await request.read(), type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise Problem("BadRequestException", f"The body is no JSON map: {error}.") from error
        return await self._answer(asked)

    async def _answer(self, asked: Mapping[str, Any]) -> web.Response:
        query = asked.get("query")
        if not isinstance(query, str) or not query.strip():
            raise Problem("MissingParameterException", "There is no query.")
        ready = made_ready(query)
        pieces = with_parameters(ready, _parameters(asked.get("parameters")))
        if self._inside >= self._concurrency + IN_LINE_MAX:
            raise Problem("TooManyRequestsException", f"{self._inside} statements are at work or in line; try again later.")
        self._inside += 1
        try:
            columns, rows = await self._run(ready, pieces, time.monotonic() + self._seconds_for(ready, asked))
        finally:
            self._inside -= 1
        names = ready.columns if len(ready.columns) == len(columns) else columns
        results = [dict(zip(names, map(value_of, row), strict=True)) for row in rows]
        return web.Response(body=msgspec.json.encode({"results": results}), content_type="application/json")

    async def _run(self, ready: Ready, pieces: list[tuple[str, dict[str, Any]]], until: float) -> tuple[list[str], list[Any]]:
        try:
            async with asyncio.timeout(until - time.monotonic()):
                if ready.writes:
                    await self._writing.acquire()
                try:
                    await self._turns.acquire()
                except BaseException:
                    if ready.writes:
                        self._writing.release()
                    raise
        except TimeoutError as late:
            raise Problem("TimeLimitExceededException", "The statement waited in line for as long as it may take.") from late
        try:
            if self._closing:
                raise Problem("InternalFailureException", "The graph is being closed; nothing was changed.")
            left_ms = max(1, int((until - time.monotonic()) * 1_000))
            run = functools.partial(self._file.change if ready.writes else self._file.run, pieces, left_ms)
            return await asyncio.get_running_loop().run_in_executor(self._threads, run)
        except (RuntimeError, ValueError, TypeError, OverflowError) as error:
            raise problem_of(error) from error
        finally:
            self._turns.release()
            if ready.writes:
                self._writing.release()

    def _seconds_for(self, ready: Ready, asked: Mapping[str, Any]) -> float:
        """The least of what the setting, the hint in the statement and the request allow."""
        told = str(asked.get("queryTimeoutMilliseconds") or "")
        if told and not told.isdigit():
            raise Problem("InvalidParameterException", "queryTimeoutMilliseconds wants a whole number.")
        limits = [ready.timeout_ms, int(told) if told else None]
        return min([self._timeout_s, *(limit / 1_000 for limit in limits if limit)])

    async def _status(self, request: web.Request) -> web.Response:
        del request
        told = {
            "status": "healthy",
            "startTime": self._began,
            "dbEngineVersion": VERSION,
            "role": "writer",
            "opencypher": {"version": "9"},
            "rollingBackTrxCount": "0",
            "settings": {"clusterQueryTimeoutInMs": str(int(self._timeout_s * 1_000))},
            "serverStatistics": {"statementsInside": self._inside},
        }
        return web.Response(body=msgspec.json.encode(told), content_type="application/json")


def _parameters(given: Any) -> dict[str, Any]:
    """The parameters, which Neptune wants as JSON in a string; a map itself does as well."""
    if not given:
        return {}
    try:
        found = msgspec.json.decode(given, type=dict[str, Any]) if isinstance(given, str) else given
    except msgspec.DecodeError as error:
        raise Problem("InvalidParameterException", f"The parameters are no JSON map: {error}.") from error
    if not isinstance(found, dict):
        raise Problem("InvalidParameterException", "The parameters are no JSON map.")
    return found


def _told(code: Code, words: str, status: int) -> web.Response:
    name = str(uuid.uuid4())
    body = msgspec.json.encode({"requestId": name, "code": code, "detailedMessage": words})
    return web.Response(status=status, body=body, content_type="application/json", headers={"x-amzn-RequestId": name})
