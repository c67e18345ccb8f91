"""The console: pages for the shop's staff. What waits for a person, why, and who shares what with whom.

Every page works without scripts; a script draws the ring around an order, and the table below the picture says the same.
Whoever is not logged in is sent to the log-in page, and whoever is no staff is told so.
"""

from litestar import Router
from litestar.datastructures import ResponseHeader
from litestar.exceptions import HTTPException

from securecart.errors import SecureCartError
from securecart.web.console import orders, reviews, rings
from securecart.web.console.pages import told

__all__ = ["routes"]

UNKEPT = ResponseHeader(name="Cache-Control", value="no-store", documentation_only=False)

routes = [
    Router(
        path="/console",
        route_handlers=[*reviews.routes, *orders.routes, *rings.routes],
        exception_handlers=dict.fromkeys((SecureCartError, HTTPException, Exception), told),
        include_in_schema=False,
    ),
    Router(path="/console/ring", route_handlers=rings.drawings, response_headers=[UNKEPT], include_in_schema=False),
]
