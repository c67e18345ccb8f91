"""What happens to every request on its way through: security headers and counted, timed answers."""

from __future__ import annotations

import time

from litestar.datastructures import MutableScopeHeaders
from litestar.middleware import ASGIMiddleware
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
    ("content-security-policy", "default-src 'self'; img-src 'self' data: https:; frame-ancestors 'none'; form-action 'self'; base-uri 'none'"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
)


class Traffic(ASGIMiddleware):
    """Counts and times each answer by its route's template, and sends the security headers with it."""

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass the request on and watch its answer go by."""
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
            await next_app(scope, receive, watch)
        finally:
            route = scope.get("path_template") or "unmatched"
            _requests.labels(scope.get("method", ""), route, str(status)).inc()
            _seconds.labels(route).observe(time.perf_counter() - started)
