"""Where a wish to buy comes from: the device, the network, the country.

A browser keeps a secret of its own in a cookie, which outlives log-in and log-out; a program sends one in `X-Device-Id`. Neither
leaves this module but as a digest. The address is the one that rate limits count by: a proxy on this machine may name it in
`X-Forwarded-For`. The country is taken from a header only where the setting `country_header` names one, because
only a proxy that the shop trusts to write it makes it true.
"""

from __future__ import annotations

import re
import secrets
from typing import Any

from litestar import Request, Response

from securecart import fraud
from securecart.app import Shop
from securecart.errors import BadInput
from securecart.fraud import Origin

__all__ = ["DEVICE_COOKIE", "DEVICE_HEADER", "keep_device", "origin_of"]

DEVICE_COOKIE = "securecart_device"
DEVICE_HEADER = "X-Device-Id"
TWO_YEARS_S = 2 * 365 * 86_400
DEVICE = re.compile(r"[!-~]{16,200}")
UNKNOWN_COUNTRY = "XX"  # what some proxies write
COUNTRY = re.compile(r"[A-Z]{2}")

AnyRequest = Request[Any, Any, Any]


def origin_of(request: AnyRequest, shop: Shop) -> Origin:
    """Where this request comes from; `BadInput` when a program names its device in a way that cannot be one."""
    given = request.headers.get(DEVICE_HEADER, "")
    if given and not DEVICE.fullmatch(given):
        raise BadInput(field=DEVICE_HEADER, problem="A device's id has 16 to 200 printable characters without spaces.")
    device = given or _kept(request)
    address = request.client.host if request.client else ""
    return Origin(fraud.digest_of(device) if device else None, fraud.network_key(address), _country(request, shop))


def keep_device(request: AnyRequest, shop: Shop, response: Response[Any]) -> Response[Any]:
    """Have the browser keep a device's secret from now on, unless it does already."""
    if not _kept(request):
        response.set_cookie(
            DEVICE_COOKIE,
            secrets.token_urlsafe(24),
            max_age=TWO_YEARS_S,
            path="/",
            httponly=True,
            samesite="lax",
            secure=shop.settings.web_url.startswith("https:"),
        )
    return response


def _kept(request: AnyRequest) -> str:
    kept = request.cookies.get(DEVICE_COOKIE, "")
    return kept if DEVICE.fullmatch(kept) else ""


def _country(request: AnyRequest, shop: Shop) -> str | None:
    name = shop.settings.country_header
    told = request.headers.get(name, "").strip().upper() if name else ""
    return told if COUNTRY.fullmatch(told) and told != UNKNOWN_COUNTRY else None
