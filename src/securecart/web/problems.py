"""Errors as RFC 9457 problem documents, one shape for every door that speaks JSON."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from securecart.errors import BadInput, SecureCartError
from securecart.telemetry import log

__all__ = ["HANDLERS", "MEDIA_TYPE"]

MEDIA_TYPE = "application/problem+json"


def from_shop(_request: Request[Any, Any, Any], error: SecureCartError) -> Response[bytes]:
    """An error that the shop raised on purpose."""
    headers = {"Retry-After": str(error.facts["retry_after"])} if "retry_after" in error.facts else {}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="securecart"'
    return _problem(error.status, error.code(), error.message, {"field": error.field, **error.facts}, headers)


def from_validation(_request: Request[Any, Any, Any], error: ValidationException) -> Response[bytes]:
    """Input that does not fit its type: which field, and what was expected."""
    found: list[dict[str, Any]] = [dict(one) for one in error.extra or [] if isinstance(one, dict)]
    problems = [{"field": one.get("key"), "problem": one.get("message")} for one in found]
    first = problems[0] if problems else {"field": None, "problem": error.detail}
    detail = f"{first['field']}: {first['problem']}" if first["field"] else str(first["problem"])
    return _problem(BadInput.status, BadInput.code(), detail, {"field": first["field"], "errors": problems}, {})


def from_framework(_request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What the framework refuses by itself: no such path, wrong method, broken JSON, body too large."""
    code = HTTPStatus(error.status_code).name.lower().replace("_", "-")
    return _problem(error.status_code, code, error.detail, {}, error.headers or {})


def from_bug(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """An error nobody planned: logged whole, told in one sentence."""
    log.error("unplanned error", method=request.method, path=request.url.path, exc_info=error)
    return _problem(500, SecureCartError.code(), "Something went wrong inside the shop; it was noted.", {}, {})


HANDLERS: dict[int | type[Exception], Any] = {
    SecureCartError: from_shop,
    ValidationException: from_validation,
    HTTPException: from_framework,
    Exception: from_bug,
}


def _problem(status: int, code: str, detail: str, facts: dict[str, Any], headers: dict[str, str]) -> Response[bytes]:
    document = {
        "type": f"https://securecart.dev/problems/{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        **{name: fact for name, fact in facts.items() if fact is not None and name != "problem"},
    }
    return Response(msgspec.json.encode(document), status_code=status, headers=headers, media_type=MEDIA_TYPE)
