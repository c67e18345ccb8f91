"""Errors told to people: a page for every address outside the API, where programs get problem documents."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from litestar import Response
from litestar.config.app import AppConfig
from litestar.enums import MediaType
from litestar.plugins import InitPlugin

from securecart.app import Shop
from securecart.errors import SecureCartError, StoreAway
from securecart.patience import DYNAMODB
from securecart.web import again
from securecart.web.mishaps import mishap_of
from securecart.web.storefront.pages import AnyRequest, render

__all__ = ["Mishaps"]

FOR_PROGRAMS = ("/api", "/console/ring/", "/healthz", "/readyz", "/metrics")

TOLD: dict[int, tuple[str, str]] = {
    400: ("We could not read that", "Something in the address or the form was not as we expect it. Go back and try again."),
    403: ("This page is a little old", "For your safety we did not take the form. Go back, load the page again and repeat it."),
    404: ("This page is not here", "It may have moved, or the address has a typing error."),
    405: ("This page is not here", "This address takes a form; open it from the shop."),
    413: ("That was too much", "The form held more than we can take. Go back and shorten it."),
    429: ("A little too fast", "We have seen many requests from you in a short time. Wait a minute and try again."),
    500: ("Something went wrong", "It was not you. We have noted it; nothing was ordered or charged by this page."),
    503: ("Back in a moment", "A part of the shop is restarting. Your cart is safe; try again in a few seconds."),
}


CARTS_AWAY = (
    "Carts cannot be reached at the moment",
    "Your cart is safe, and nothing was changed. Look around and search in the meantime, and try this again in a few seconds.",
)


class Mishaps(InitPlugin):
    """Puts a page before each of the application's problem documents, for addresses that people open."""

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Wrap every exception handler that is there already."""
        app_config.exception_handlers = {kind: _for_people_or(handler) for kind, handler in app_config.exception_handlers.items()}
        return app_config


def _for_people_or(for_programs: Any) -> Any:
    def handle(request: AnyRequest, error: Exception) -> Response[Any]:
        if request.url.path.startswith(FOR_PROGRAMS):
            if isinstance(error, StoreAway):
                again.note(request.scope, error)
            answer: Response[Any] = for_programs(request, error)
            return answer
        return error_page(request, error)

    return handle


def error_page(request: AnyRequest, error: Exception) -> Response[str]:
    """The page for an error; it needs no store, so it can be shown when all of them are away."""
    mishap = mishap_of(request, error)
    status, headers = mishap.status, mishap.headers
    heading, text = TOLD.get(status, TOLD[500 if status >= HTTPStatus.INTERNAL_SERVER_ERROR else 400])
    if isinstance(error, StoreAway) and error.facts.get("store") == DYNAMODB.name:
        heading, text = CARTS_AWAY
    if status == HTTPStatus.UNPROCESSABLE_ENTITY and isinstance(error, SecureCartError):
        text = error.message
    facts = {"status": status, "heading": heading, "text": text, **_frame(request)}
    if request.headers.get("hx-request") == "true" and status == HTTPStatus.SERVICE_UNAVAILABLE:
        # what is on the page stays there, and the corner of it says why nothing happened
        headers |= {"hx-retarget": "#toast", "hx-reswap": "innerHTML", "hx-reselect": ".away"}
        return Response(render("parts/away.html", facts), status_code=status, headers=headers, media_type=MediaType.HTML)
    return Response(render("error.html", facts), status_code=status, headers=headers, media_type=MediaType.HTML)


def _frame(request: AnyRequest) -> dict[str, Any]:
    shop: Shop | None = request.app.state.get("shop")
    return {
        "shop_name": shop.settings.shop_name if shop else "SecureCart",
        "aisles": request.app.state.get("aisles", []),
        "cart_count": 0,
        "cart_away": True,
        "signed_in": False,
        "session": None,
        "csrf_token": "",
        "path": request.url.path,
    }
