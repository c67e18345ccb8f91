"""The storefront: pages that a browser shows with or without scripts.

Every page is rendered here from the same rooms that the API uses. A form is an ordinary form that ends in a
redirect; htmx, where it runs, sends the same form and takes the part of the answer that changed.
"""

from litestar import Router

from securecart.web.storefront import account, browse, cart, checkout, files, orders
from securecart.web.storefront.mishaps import Mishaps

__all__ = ["plugins", "routes"]

routes = [
    Router(
        path="/",
        route_handlers=[*browse.routes, *cart.routes, *checkout.routes, *orders.routes, *account.routes, *files.routes],
        include_in_schema=False,
    )
]

plugins = [Mishaps()]
