"""Templates of a room of pages, with the pieces, filters and files that every such room uses."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote as quote_url

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape

from securecart.web.assets import address_of
from securecart.web.countries import COUNTRIES

__all__ = ["templates_of"]


def templates_of(room: str) -> Environment:
    """The templates in the room's folder, and behind them those beside this file; every fact in them is escaped."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader(room), PackageLoader(__package__)]),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["asset"] = address_of
    made.filters["picture"] = _picture
    made.filters["country"] = lambda code: COUNTRIES.get(code, code)
    made.filters["words"] = lambda code: code.replace("_", " ").capitalize()
    made.filters["card_brand"] = lambda brand: brand.capitalize() if brand.islower() else brand
    made.filters["day"] = lambda at: f"{at:%B} {at.day}, {at.year}"
    made.filters["moment"] = _moment
    return made


def _picture(thing: Any) -> str:
    """The address of a product's or category's picture: its own, else the drawn one."""
    if own := getattr(thing, "image_url", ""):
        return str(own)
    trail = getattr(thing, "breadcrumb", None)
    category = getattr(thing, "category", "") or (trail[-1].slug if trail else thing.slug)
    return f"/picture/{quote_url(category, safe='')}/{quote_url(thing.slug, safe='')}.svg"


def _moment(at: datetime) -> str:
    return f"{at:%B} {at.day}, {at.year} at {at:%H:%M} UTC"
