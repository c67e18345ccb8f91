"""The JSON API under /api: each file decodes, calls one verb, encodes."""

from securecart.web.api import accounts, cart, catalog, checkout, docs, fraud, health, orders, stock, webhooks

__all__ = ["routes"]

routes = [
    *health.routes,
    *docs.routes,
    *catalog.routes,
    *stock.routes,
    *accounts.routes,
    *cart.routes,
    *checkout.routes,
    *orders.routes,
    *fraud.routes,
    *webhooks.routes,
]
