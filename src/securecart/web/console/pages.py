"""How a page of the console is made: its templates, what its frame shows, and what it says when something goes wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from litestar import Response
from litestar.enums import MediaType
from msgspec import Struct

from securecart import fraud, sessions
from securecart.app import Shop
from securecart.errors import SecureCartError, Unauthorized
from securecart.sessions import Session
from securecart.web import positions
from securecart.web.console.words import about, due, percent
from securecart.web.mishaps import mishap_of
from securecart.web.rendering import templates_of
from securecart.web.shoppers import AnyRequest

__all__ = ["HOME", "Desk", "page", "see_other", "told"]

HEADERS = {"cache-control": "no-store", "vary": "cookie"}
HOME = "/console/reviews"
TEMPLATES = templates_of(__package__)
TEMPLATES.filters |= {
    "percent": percent,
    "about": about,
    "due": lambda at: due(at, datetime.now(UTC)),
    "is_over": lambda at: at < datetime.now(UTC),
}

HEADINGS = {
    HTTPStatus.FORBIDDEN: "This is not for you",
    HTTPStatus.NOT_FOUND: "This is not here",
    HTTPStatus.CONFLICT: "This has changed meanwhile",
    HTTPStatus.UNPROCESSABLE_ENTITY: "This could not be taken",
    HTTPStatus.SERVICE_UNAVAILABLE: "Back in a moment",
}


class Desk(Struct, frozen=True):
    """One request of one of the shop's staff."""

    request: AnyRequest
    shop: Shop
    operator: Session


async def page(desk: Desk, template: str, status: int = HTTPStatus.OK, **facts: Any) -> Response[str]:
    """The rendered page in the console's frame; nobody keeps it."""
    shop, operator = desk.shop, desk.operator
    async with shop.database.read(await positions.of(shop, desk.request, operator)) as read:
        waiting = await fraud.count_waiting(read)
    frame = {
        "shop_name": shop.settings.shop_name,
        "operator": operator,
        "waiting_count": waiting,
        "csrf_token": sessions.csrf_token(operator.token),
        "path": desk.request.url.path,
    }
    return _answer(template, frame | facts, status, HEADERS)


def see_other(path: str) -> Response[str]:
    """Send the browser on to `path` with a GET, as after every form that worked."""
    return Response("", status_code=HTTPStatus.SEE_OTHER, media_type=MediaType.HTML, headers={**HEADERS, "location": path})


def told(request: AnyRequest, error: Exception) -> Response[str]:
    """The page for an error, which needs no store; whoever is not logged in is sent to the log-in page."""
    if isinstance(error, Unauthorized):
        back = request.url.path if request.method == "GET" else HOME
        return see_other(f"/login?{urlencode({'next': back})}")
    mishap = mishap_of(request, error)
    heading = HEADINGS.get(HTTPStatus(mishap.status), "Something went wrong")
    if mishap.status == HTTPStatus.FORBIDDEN and request.method == "POST":
        heading = "The form was not taken"
    shop: Shop = request.app.state.shop
    facts = {
        "shop_name": shop.settings.shop_name,
        "operator": None,
        "waiting_count": 0,
        "csrf_token": "",
        "path": request.url.path,
        "status": mishap.status,
        "heading": heading,
        "text": error.message if isinstance(error, SecureCartError) else "It was noted. Go back and try again.",
    }
    return _answer("error.html", facts, mishap.status, mishap.headers)


def _answer(template: str, facts: dict[str, Any], status: int, headers: dict[str, str]) -> Response[str]:
    body = TEMPLATES.get_template(template).render(facts)
    return Response(body, status_code=status, media_type=MediaType.HTML, headers=headers)
