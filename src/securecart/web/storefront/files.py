"""What pages embed: style, scripts and pictures, with addresses that let a browser keep them."""

from __future__ import annotations

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.params import FromPath

from securecart.errors import NotFound
from securecart.web import assets
from securecart.web.storefront import pictures

__all__ = ["routes"]

FOR_A_YEAR = "public, max-age=31536000, immutable"
FOR_AN_HOUR = "public, max-age=3600"
SLUG_LENGTH_MAX = 300


@get("/static/{name:path}", sync_to_thread=False)
def static(request: Request[None, None, State], name: FromPath[str]) -> Response[bytes]:
    """A file that pages link to; kept for a year under the address that names its digest."""
    asset = assets.find(name.lstrip("/"))
    if asset is None:
        raise NotFound(noun="file", key=name)
    keep = FOR_A_YEAR if request.query_params.get("v") == asset.digest else FOR_AN_HOUR
    headers = {"cache-control": keep, "etag": f'"{asset.digest}"'}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(b"", status_code=304, headers=headers, media_type=asset.media_type)
    return Response(asset.body, headers=headers, media_type=asset.media_type)


@get("/picture/{category:str}/{file:str}", sync_to_thread=False)
def picture(category: FromPath[str], file: FromPath[str]) -> Response[bytes]:
    """The drawn picture of a product or category; any slug has one."""
    if not file.endswith(".svg") or len(category) + len(file) > SLUG_LENGTH_MAX:
        raise NotFound(noun="picture", key=file)
    drawn = pictures.draw(category, file.removesuffix(".svg"))
    return Response(drawn, headers={"cache-control": FOR_A_YEAR}, media_type="image/svg+xml")


routes = [static, picture]
