"""What happens to every request on its way through: security headers and counted, timed answers."""

from __future__ import annotations

import time

from litestar.datastructures import MutableScopeHeaders
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
        "content-security-policy",
        "default-src 'self'; img-src 'self' data: https:; frame-ancestors 'none'; form-action 'self'; base-uri 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
)


class Traffic:
    """Stands around the whole application: counts and times each answer by its route, and adds the security headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and watch its answer go by."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableScopeHeaders.from_message(message)
                for name, content in SECURITY_HEADERS:
                    headers.setdefault(name, content)
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            route = scope.get("path_template") or "unmatched"
            _requests.labels(scope["method"], route, str(status)).inc()
            _seconds.labels(route).observe(time.perf_counter() - started)
