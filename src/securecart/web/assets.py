"""The files that pages link to: style sheets, scripts, icons and what npm brought, each under an address that names its content.

A changed file gets a new address (`?v=` and a digest), so browsers may keep what they have for a year.
"""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from importlib.resources import files
from mimetypes import guess_type

from msgspec import Struct

from securecart import downloads
from securecart.errors import DownloadFailed

__all__ = ["Asset", "address_of", "find"]

# The rooms of pages; each has its files in a folder `static`, and no two have one of the same name.
ROOMS = ("storefront", "console")
# What npm brought: the address below /static, the package, the file in it.
VENDOR = {
    "vendor/htmx.min.js": ("htmx.org", "dist/htmx.min.js"),
    "vendor/echarts.min.js": ("echarts", "dist/echarts.min.js"),
    "vendor/swagger-ui.css": ("swagger-ui-dist", "swagger-ui.css"),
    "vendor/swagger-ui-bundle.js": ("swagger-ui-dist", "swagger-ui-bundle.js"),
}


class Asset(Struct, frozen=True):
    """A file as it is sent."""

    body: bytes
    media_type: str
    digest: str


@cache
def find(name: str) -> Asset | None:
    """The asset of this name, read once; None when there is none."""
    body = _own().get(name) or _vendored(name)
    if body is None:
        return None
    media_type = "text/javascript" if name.endswith(".js") else guess_type(name)[0] or "application/octet-stream"
    return Asset(body, media_type, blake2b(body, digest_size=6).hexdigest())


@cache
def address_of(name: str) -> str:
    """Where the asset is found, or "" when this installation does not have it."""
    asset = find(name)
    return f"/static/{name}?v={asset.digest}" if asset else ""


@cache
def _own() -> dict[str, bytes]:
    folders = [files(__package__).joinpath(room, "static") for room in ROOMS]
    return {entry.name: entry.read_bytes() for folder in folders for entry in folder.iterdir() if entry.is_file()}


def _vendored(name: str) -> bytes | None:
    package, file = VENDOR.get(name, ("", ""))
    if not package:
        return None
    try:
        return (downloads.path_of(package) / file).read_bytes()
    except (DownloadFailed, OSError):
        return None  # the pages work without it
