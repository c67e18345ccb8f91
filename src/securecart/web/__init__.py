"""The doors: a JSON API under /api, a storefront of server-rendered pages, a console for staff, in one ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ASGIApp

from securecart import __version__
from securecart.app import Shop, open_shop
from securecart.settings import Settings
from securecart.web import api, console, positions, storefront
from securecart.web.again import Again
from securecart.web.problems import HANDLERS
from securecart.web.shoppers import provide_operator, provide_session, provide_shopper
from securecart.web.traffic import Traffic

__all__ = ["create_app"]

BODY_BYTES_MAX = 256 * 1024


def create_app(settings: Settings) -> ASGIApp:
    """The application; its stores open when the server starts it and close when it stops."""

    @asynccontextmanager
    async def shop_is_open(app: Litestar) -> AsyncIterator[None]:
        async with open_shop(settings) as shop:
            app.state.shop = shop
            yield

    application = Litestar(
        route_handlers=[*api.routes, *storefront.routes, *console.routes],
        lifespan=[shop_is_open],
        dependencies={
            "shop": Provide(provide_shop, sync_to_thread=False),
            "session": Provide(provide_session),
            "shopper": Provide(provide_shopper),
            "operator": Provide(provide_operator),
        },
        exception_handlers=HANDLERS,
        plugins=storefront.plugins,
        openapi_config=_documented(),
        request_max_body_size=BODY_BYTES_MAX,
        logging_config=None,
        before_send=[positions.tell],
    )
    return Traffic(Again(application, patience_s=settings.failover_patience_seconds))


def provide_shop(state: State) -> Shop:
    """The opened stores."""
    shop: Shop = state.shop
    return shop


def _documented() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="SecureCart",
        version=__version__,
        description="Shop through this API as the storefront does. Errors are RFC 9457 problem documents.",
        path="/api/openapi.json",
        render_plugins=[JsonRenderPlugin(path="/")],
        components=Components(security_schemes={"token": SecurityScheme(type="http", scheme="bearer")}),
        security=[{"token": []}],
    )
