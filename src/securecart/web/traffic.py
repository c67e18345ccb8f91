"""What happens to every request on its way through: security headers and counted, timed answers."""

from __future__ import annotations

import functools
import time

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import Counter, Histogram

__all__ = ["Traffic"]

_requests = Counter("securecart_requests_total", "Requests answered.", ["method", "route", "status"])
_seconds = Histogram(
    "securecart_request_seconds",
    "Time from request to the end of its answer.",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

SECURITY_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data: https:; frame-ancestors 'none'; form-action 'self'; base-uri 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


class Traffic:
    """Stands around the whole application: counts and times each answer by its route, and adds the security headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and watch its answer go by."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(pair for pair in SECURITY_HEADERS if pair[0] not in given)]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            route = scope.get("path_template") or "unmatched"
            counter, histogram = _metrics(scope["method"], route, status)
            counter.inc()
            histogram.observe(time.perf_counter() - started)


@functools.cache
def _metrics(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """The counter and the histogram of such an answer; finding them by their labels costs more than counting."""
    return _requests.labels(method, route, str(status)), _seconds.labels(route)
