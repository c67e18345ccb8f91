"""The API's documentation page: Swagger UI from the shop's own disk, no outside host involved."""

from __future__ import annotations

from litestar import MediaType, get

__all__ = ["routes"]

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>SecureCart API</title>
<link rel="stylesheet" href="/static/vendor/swagger-ui.css">
</head>
<body>
<div id="docs" data-schema="/api/openapi.json"></div>
<script src="/static/vendor/swagger-ui-bundle.js"></script>
<script src="/static/docs.js"></script>
</body>
</html>
"""


@get("/api/docs", include_in_schema=False, media_type=MediaType.HTML, sync_to_thread=False)
def docs() -> str:
    """The page; `docs.js` points Swagger UI at the schema."""
    return PAGE


routes = [docs]
