"""The catalogue over HTTP: lists, pages, categories, and the answers that save sending them again."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import aiohttp
import pytest

from securecart import catalog
from securecart.app import Shop
from securecart.catalog import NewProduct, NewVariant


@pytest.fixture(scope="module")
async def slug(shop: Shop) -> str:
    name = f"t{secrets.token_hex(5)}"
    goods = [
        NewProduct(
            f"{name}-{n}",
            f"Thing {name} {n}",
            [NewVariant(f"{name}-{n}", {"USD": 100 + n})],
            categories=[name],
            attributes={"Size": "Big" if n % 2 else "Small"},
        )
        for n in range(5)
    ]
    await catalog.import_products(shop.database, shop.cache, goods)
    return name


@pytest.fixture
async def client(shop_url: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(shop_url) as session:
        yield session


async def test_a_copy_that_is_still_right_is_not_sent_again(client: aiohttp.ClientSession, slug: str) -> None:
    async with client.get(f"/api/products/{slug}-1") as answer:
        etag = answer.headers["ETag"]
        assert answer.headers["Cache-Control"] == "public, max-age=0, must-revalidate"
        assert (await answer.json())["variants"][0]["prices"] == [{"amount_minor": 101, "currency": "USD"}]
    for names in (etag, f'"other", W/{etag}', "*"):
        async with client.get(f"/api/products/{slug}-1", headers={"If-None-Match": names}) as answer:
            assert (answer.status, answer.headers["ETag"], await answer.read()) == (304, etag, b"")
    async with client.get(f"/api/products/{slug}-1", headers={"If-None-Match": '"other"'}) as answer:
        assert answer.status == 200


async def test_a_list_goes_on_where_its_cursor_says(client: aiohttp.ClientSession, slug: str) -> None:
    parameters = {"category": slug, "sort": "price_desc", "limit": "2"}
    seen: list[int] = []
    while True:
        async with client.get("/api/products", params=parameters) as answer:
            page = await answer.json()
        assert page["total"] == 5
        seen += [card["price"]["amount_minor"] for card in page["items"]]
        if page["next"] is None:
            break
        parameters["after"] = page["next"]
    assert seen == [104, 103, 102, 101, 100]


async def test_facets_can_be_repeated(client: aiohttp.ClientSession, slug: str) -> None:
    async with client.get("/api/products", params=[("q", slug), ("facet", "Size=Big"), ("facet", "Size=Small")]) as answer:
        page = await answer.json()
    sizes = next(facet for facet in page["facets"] if facet["name"] == "Size")
    assert page["total"] == 5
    assert [(value["value"], value["count"], value["selected"]) for value in sizes["values"]] == [
        ("Small", 3, True),
        ("Big", 2, True),
    ]


@pytest.mark.parametrize(
    ("parameters", "status", "field"),
    [
        ({"sort": "best"}, 422, "sort"),
        ({"limit": "0"}, 422, "limit"),
        ({"limit": "many"}, 422, "limit"),
        ({"after": "x"}, 422, "after"),
        ({"facet": "Size"}, 422, "facet"),
        ({"category": "cellar"}, 404, None),
    ],
)
async def test_what_makes_no_sense_is_a_problem_document(
    client: aiohttp.ClientSession, parameters: dict[str, str], status: int, field: str | None
) -> None:
    async with client.get("/api/products", params=parameters) as answer:
        problem = await answer.json(content_type="application/problem+json")
        assert (answer.status, problem.get("field")) == (status, field)


async def test_categories_come_as_a_tree_with_counts(client: aiohttp.ClientSession, slug: str) -> None:
    async with client.get("/api/categories") as answer:
        tree = await answer.json()
    assert next(node for node in tree if node["slug"] == slug)["count"] == 5


async def test_an_unknown_product_is_404(client: aiohttp.ClientSession) -> None:
    async with client.get("/api/products/never-heard-of") as answer:
        assert answer.status == 404
