"""What an error comes down to for people, whichever room's page tells them."""

from __future__ import annotations

from http import HTTPStatus

from litestar.exceptions import HTTPException
from msgspec import Struct

from securecart.errors import SecureCartError, StoreAway
from securecart.telemetry import log
from securecart.web import again
from securecart.web.shoppers import AnyRequest

__all__ = ["Mishap", "mishap_of"]


class Mishap(Struct, frozen=True):
    """The status of the answer and its headers."""

    status: int
    headers: dict[str, str]


def mishap_of(request: AnyRequest, error: Exception) -> Mishap:
    """The error as an answer; one that nobody planned is logged, and a store that is away may be asked again."""
    if isinstance(error, StoreAway):
        again.note(request.scope, error)
    status = _status_of(error)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("a page failed", method=request.method, path=request.url.path, exc_info=error)
    headers = {"cache-control": "no-store"}
    if isinstance(error, SecureCartError) and "retry_after" in error.facts:
        headers["retry-after"] = str(error.facts["retry_after"])
    elif isinstance(error, StoreAway):
        headers["retry-after"] = "2"
    return Mishap(status, headers)


def _status_of(error: Exception) -> int:
    if isinstance(error, SecureCartError):
        return error.status
    if isinstance(error, HTTPException):
        return error.status_code
    return int(HTTPStatus.INTERNAL_SERVER_ERROR)
