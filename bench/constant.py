"""The look-up's limit: the shop's own server set-up, answering one product's bytes from a constant.

`python -m bench.constant --port P --body FILE`. Everything that the shop adds (stores, sessions, counters) is
absent; what is left is what the server, the framework's routing and the network cost.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from litestar import Litestar, Response, get
from litestar.handlers import HTTPRouteHandler

from securecart.web.__main__ import serve
from securecart.web.doors import listen_alone

__all__ = ["main"]


def answering(body: bytes) -> HTTPRouteHandler:
    """A route like the product's that knows one answer."""

    @get("/api/products/{slug:str}", sync_to_thread=False, media_type="application/json")
    def constant(slug: str) -> Response[bytes]:
        del slug
        return Response(body, media_type="application/json")

    return constant


def main() -> None:
    """Serve the constant until SIGTERM."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--body", type=Path, required=True)
    given = arguments.parse_args()
    application: Any = Litestar([answering(given.body.read_bytes())], openapi_config=None, logging_config=None)
    serve(application, listen_alone(given.port))


if __name__ == "__main__":
    main()
