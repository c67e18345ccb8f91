"""What the shop sells: search it, look at one product, see the tree of categories."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from litestar import Response, get
from litestar.enums import MediaType
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, QueryParameter

from securecart import catalog
from securecart.app import Shop
from securecart.catalog import CategoryNode, Product, SearchQuery, SearchResults

__all__ = ["routes"]

SHORT_WHILE = "public, max-age=30"
ASK_AGAIN = "public, max-age=0, must-revalidate"

IfNoneMatch = Annotated[str | None, HeaderParameter(name="If-None-Match", description="The ETag of a copy that you have.")]

Facets = Annotated[list[str] | None, QueryParameter(name="facet", description="Name=value; repeat it to choose several.")]
SortBy = Annotated[str, QueryParameter(description="relevance, price_asc, price_desc, newest or name")]
After = Annotated[str | None, QueryParameter(description="The `next` of the page before.")]


@get("/api/products", tags=["catalog"])
async def list_products(  # noqa: PLR0913, PLR0917 - one argument a query parameter
    shop: Shop,
    q: str = "",
    category: str = "",
    facet: Facets = None,
    sort: SortBy = "relevance",
    after: After = None,
    limit: int = 24,
    currency: str | None = None,
) -> Response[SearchResults]:
    """Products that match the words and filters, a page at a time, with counts by category and facet."""
    query = SearchQuery(
        text=q,
        category=category,
        facets=facet or [],
        sort=sort,  # type: ignore[arg-type]
        currency=currency or shop.settings.currency,
        after=after,
        limit=limit,
    )
    results = await catalog.search(shop.database, shop.cache, query)
    return Response(results, headers={"Cache-Control": SHORT_WHILE})


@get(
    "/api/products/{slug:str}",
    tags=["catalog"],
    responses={
        HTTPStatus.OK: ResponseSpec(Product, description="The product, with its ETag", generate_examples=False),
        HTTPStatus.NOT_MODIFIED: ResponseSpec(None, description="Your copy is still right"),
    },
)
async def find_product(shop: Shop, slug: str, if_none_match: IfNoneMatch = None) -> Response[bytes]:
    """One product with its variants and prices; 304 when If-None-Match names the present ETag."""
    page = await catalog.product_json(shop.database, shop.cache, slug)
    headers = {"ETag": page.etag, "Cache-Control": ASK_AGAIN}
    if if_none_match is not None and _names(if_none_match, page.etag):
        return Response(b"", status_code=HTTPStatus.NOT_MODIFIED, headers=headers, media_type=MediaType.JSON)
    return Response(page.body, headers=headers, media_type=MediaType.JSON)


@get("/api/categories", tags=["catalog"])
async def list_categories(shop: Shop) -> Response[list[CategoryNode]]:
    """The top categories, what is below them, and how many products each holds."""
    tree = await catalog.category_tree(shop.database, shop.cache)
    return Response(tree, headers={"Cache-Control": SHORT_WHILE})


def _names(if_none_match: str, etag: str) -> bool:
    """Whether the header lists this tag; a weak tag is as good as a strong one here (RFC 9110, 13.1.2)."""
    given = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in given or "*" in given


routes = [list_products, find_product, list_categories]
