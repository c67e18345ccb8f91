"""The console: pages for the shop's staff. What waits for a person, and why.

Every page works without scripts. Whoever is not logged in is sent to the log-in page, and whoever is no staff is told so.
"""

from litestar import Router
from litestar.exceptions import HTTPException

from securecart.errors import SecureCartError
from securecart.web.console import orders, reviews
from securecart.web.console.pages import told

__all__ = ["routes"]

routes = [
    Router(
        path="/console",
        route_handlers=[*reviews.routes, *orders.routes],
        exception_handlers=dict.fromkeys((SecureCartError, HTTPException, Exception), told),
        include_in_schema=False,
    ),
]
