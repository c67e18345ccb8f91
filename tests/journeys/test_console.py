"""What the shop's staff sees of fraud and decides, at the console's doors, the API and the command line."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from pathlib import Path

import aiohttp
import msgspec
import pytest

from securecart import fraud
from securecart.app import Shop
from securecart.stores import graph
from securecart.web.console.rings import ring_of
from tests.commands import securecart
from tests.integration.test_reviews import risk
from tests.operators import PASSWORD, a_held_order, a_ring, an_account, visiting
from tests.shopping import captured, find

PAGES = (
    *("/console/", "/console/reviews", "/console/orders/{}", "/console/find?number={}"),
    *("/console/rings", "/console/things/device/{}", "/console/things/network/10.0.0.0/24"),
)
DRAWINGS = ("/console/ring/{}", "/console/ring/device/{}", "/console/ring/network/10.0.0.0%2F24")
FORMS = ("/console/orders/{}/release", "/console/orders/{}/cancel", "/console/orders/{}/mark")


async def test_the_console_is_for_staff_only(shop: Shop, shop_url: str, uncounted: dict[str, str]) -> None:
    number = (await a_held_order(shop)).number
    pages, forms = ([path.format(number) for path in paths] for paths in (PAGES, FORMS))
    async with visiting(shop_url, uncounted) as nobody:
        for path in pages:
            async with nobody.http.get(path, allow_redirects=False) as answer:
                assert (answer.status, answer.headers["location"].split("?")[0]) == (HTTPStatus.SEE_OTHER, "/login"), path
        await nobody.open("/login")
        for path in forms:
            assert (await nobody.send(path)).startswith("/login?next="), path
    async with visiting(shop_url, uncounted, await an_account(shop, staff=False)) as shopper:
        for path in pages:
            assert "This is not for you" in await shopper.open(path, status=HTTPStatus.FORBIDDEN)
        await shopper.open("/account")
        for path in forms:
            await shopper.send(path, status=HTTPStatus.FORBIDDEN)
    assert (await risk(shop, number)).is_held


async def test_an_operator_sees_the_queue_and_decides(shop: Shop, shop_url: str, uncounted: dict[str, str]) -> None:
    good, bad = await a_held_order(shop), await a_held_order(shop)
    email = await an_account(shop, staff=True)
    async with visiting(shop_url, uncounted, email) as operator:
        page = await operator.open("/console/reviews")
        assert good.number in page
        assert "known fraud from this device: 2" in page
        assert await operator.send(f"/console/orders/{good.number}/release") == f"/console/reviews?decided={good.number}"
        await operator.send(f"/console/orders/{bad.number}/cancel")
        page = await operator.open(f"/console/reviews?decided={bad.number}")
        assert f"was cancelled by {email}" in page
        assert f'href="/console/orders/{good.number}"' not in page
        assert (await find(shop, good.number)).status == "paid"
        assert (await find(shop, bad.number)).status == "cancelled"
        assert await captured(shop, good.number, bad.number) == [good.total.amount_minor]
        late = await operator.send(f"/console/orders/{good.number}/cancel")
        assert "Nothing was changed by you" in await operator.open(late)
    assert (await find(shop, good.number)).status == "paid"


async def test_forms_need_the_token_and_pages_are_kept_by_nobody(shop: Shop, shop_url: str, uncounted: dict[str, str]) -> None:
    number = (await a_held_order(shop)).number
    async with visiting(shop_url, uncounted, await an_account(shop, staff=True)) as operator:
        for path in ("/console/reviews", f"/console/orders/{number}"):
            async with operator.http.get(path) as answer:
                assert answer.headers["cache-control"] == "no-store"
                assert "'unsafe-inline'" not in answer.headers["content-security-policy"]
                assert " style=" not in await answer.text()
        operator.token = "forged"
        for path in FORMS:
            await operator.send(path.format(number), status=HTTPStatus.FORBIDDEN)
        assert "This is not here" in await operator.open("/console/find?number=%C3%A9%0d%0aX", status=HTTPStatus.NOT_FOUND)
        assert "This is not here" in await operator.open("/console/orders/SC-NONE", status=HTTPStatus.NOT_FOUND)
        assert "cursor" in await operator.open("/console/reviews?after=zz", status=HTTPStatus.UNPROCESSABLE_ENTITY)
    assert (await risk(shop, number)).is_held


async def test_an_operator_marks_an_order_and_may_think_again(shop: Shop, shop_url: str, uncounted: dict[str, str]) -> None:
    number = (await a_held_order(shop)).number
    email = await an_account(shop, staff=True)
    async with visiting(shop_url, uncounted, email) as operator:
        await operator.open(f"/console/orders/{number}")
        await operator.send(f"/console/orders/{number}/mark", verdict="fraud", note="the bank <called>")
        page = await operator.open(f"/console/orders/{number}")
        assert "Known fraud" in page
        assert "the bank &lt;called&gt;" in page
        mark = (await risk(shop, number)).mark
        assert mark is not None
        assert (mark.is_fraud, mark.said_by, mark.note) == (True, email, "the bank <called>")
        await operator.send(f"/console/orders/{number}/mark", verdict="perhaps")
        assert (await risk(shop, number)).mark == mark
        await operator.send(f"/console/orders/{number}/mark", verdict="good")
        assert "Not fraud" in await operator.open(f"/console/orders/{number}")


async def test_the_queue_goes_on_page_by_page(shop: Shop, shop_url: str, uncounted: dict[str, str]) -> None:
    for _ in range(21):
        await a_held_order(shop)
    async with shop.database.read() as read:
        expected, _ = await fraud.waiting(read, after=None, limit=1000)
    seen: list[str] = []
    async with visiting(shop_url, uncounted, await an_account(shop, staff=True)) as operator:
        path = "/console/reviews"
        while path:
            page = await operator.open(path)
            seen += [part.split('"')[0] for part in page.split('<h2><a href="/console/orders/')[1:]]
            _, _, following = page.partition('rel="next" href="')
            path = following.split('"')[0].replace("&amp;", "&")
    assert seen == [one.number for one in expected]


# Rings ----------------------------------------------------------------------------------------------------------


async def test_drawings_are_for_staff_only_and_tell_programs_what_is_wrong(
    shop: Shop, shop_url: str, uncounted: dict[str, str]
) -> None:
    ring = await a_ring(shop)
    for email, status in (
        ("", HTTPStatus.UNAUTHORIZED),
        (await an_account(shop, staff=False), HTTPStatus.FORBIDDEN),
        (await an_account(shop, staff=True), HTTPStatus.OK),
    ):
        async with visiting(shop_url, uncounted) as visitor:
            if email:
                await visitor.open("/login?next=/account")
                await visitor.send("/login", email=email, password=PASSWORD)
            for path in DRAWINGS:
                async with visitor.http.get(path.format(ring.held.number), allow_redirects=False) as answer:
                    kind = "application/json" if status == HTTPStatus.OK else "application/problem+json"
                    assert (answer.status, answer.content_type) == (status, kind), path
                    assert status != HTTPStatus.OK or answer.headers["cache-control"] == "no-store"
            for path in ("/console/ring/cat/x", "/console/things/cat/x") if status == HTTPStatus.OK else ():
                await visitor.open(path, status=HTTPStatus.NOT_FOUND)


async def test_an_order_is_drawn_with_what_it_shares(shop: Shop, shop_url: str, uncounted: dict[str, str]) -> None:
    ring = await a_ring(shop)
    async with visiting(shop_url, uncounted, await an_account(shop, staff=True)) as operator:
        drawing = json.loads(await operator.open(f"/console/ring/{ring.held.number}"))
        nodes = {node["key"]: node for node in drawing["nodes"]}
        assert {f"account:{account}" for account in ring.accounts} < set(nodes)
        device = nodes[f"device:{ring.device}"]
        assert (device["frauds"], device["accounts"], device["is_fraud"]) == (2, 6, False)
        assert device["words"] == "11 orders, 6 accounts, 2 known fraud"
        assert {(link["source"], link["target"]) for link in drawing["links"]} > {
            (f"order:{ring.held.number}", device["key"]),
        }
        assert all(link["source"] in nodes and link["target"] in nodes for link in drawing["links"])
        around = json.loads(await operator.open(f"/console/ring/device/{ring.device}"))
        assert {node["id"] for node in around["nodes"] if node["is_fraud"]} == set(ring.frauds)
        page = await operator.open("/console/rings")
        assert f'href="/console/things/device/{ring.device}"' in page


async def test_what_many_share_says_how_many_are_not_shown(shop: Shop, shop_url: str, uncounted: dict[str, str]) -> None:
    ring = await a_ring(shop, accounts=60, orders_each=1)
    async with visiting(shop_url, uncounted, await an_account(shop, staff=True)) as operator:
        assert "21 of the accounts not shown" in await operator.open(f"/console/things/device/{ring.device}")


async def test_while_the_graph_is_away_the_page_says_so_and_shows_the_rest(shop: Shop) -> None:
    away = await graph.connect("")
    try:
        assert await ring_of(msgspec.structs.replace(shop, graph=away), "SC-ANY") is None
    finally:
        await away.close()


# Programs -------------------------------------------------------------------------------------------------------


async def test_the_api_lists_decides_and_marks_for_staff(shop: Shop, shop_url: str, uncounted: dict[str, str]) -> None:
    good, bad = await a_held_order(shop), await a_held_order(shop)
    async with aiohttp.ClientSession(shop_url, headers=uncounted) as http:
        staff, shopper = [
            {"Authorization": f"Bearer {await _token(http, await an_account(shop, staff=is_staff))}"}
            for is_staff in (True, False)
        ]
        for headers, status in ((shopper, HTTPStatus.FORBIDDEN), ({}, HTTPStatus.UNAUTHORIZED)):
            for verb, path in (
                ("GET", "/api/fraud/reviews"),
                ("GET", f"/api/fraud/orders/{good.number}"),
                ("POST", f"/api/fraud/reviews/{good.number}/release"),
                ("POST", f"/api/fraud/reviews/{good.number}/cancel"),
            ):
                async with http.request(verb, path, headers=headers) as answer:
                    assert (answer.status, answer.content_type) == (status, "application/problem+json"), path
            async with http.post("/api/fraud/marks", json={"orders": [good.number]}, headers=headers) as answer:
                assert answer.status == status
        async with http.get("/api/fraud/reviews?limit=100", headers=staff) as answer:
            listed = await answer.json()
        assert {good.number, bad.number} <= {one["number"] for one in listed["items"]}
        assert listed["waiting"] >= 2
        async with http.get(f"/api/fraud/orders/{good.number}", headers=staff) as answer:
            judged = await answer.json()
            assert answer.headers["cache-control"] == "no-store"
        assert (judged["verdict"], judged["reasons"][0]["words"]) == ("review", "known fraud from this device: 2")
        async with http.post(f"/api/fraud/reviews/{good.number}/release", headers=staff) as answer:
            assert (answer.status, (await answer.json())["status"]) == (HTTPStatus.OK, "paid")
        async with http.post(f"/api/fraud/reviews/{bad.number}/cancel", headers=staff) as answer:
            assert (answer.status, (await answer.json())["status"]) == (HTTPStatus.OK, "cancelled")
        async with http.post(f"/api/fraud/reviews/{bad.number}/release", headers=staff) as answer:
            assert (answer.status, (await answer.json())["code"]) == (HTTPStatus.CONFLICT, "order-state-conflict")
        for changed in ([bad.number], []):
            async with http.post("/api/fraud/marks", json={"orders": [bad.number], "note": "x"}, headers=staff) as answer:
                assert await answer.json() == {"changed": changed}
        async with http.post("/api/fraud/marks", json={"orders": [good.number, "SC-NONE"]}, headers=staff) as answer:
            assert answer.status == HTTPStatus.NOT_FOUND
    assert (await risk(shop, good.number)).mark is None


async def _token(http: aiohttp.ClientSession, email: str) -> str:
    async with http.post("/api/login", json={"email": email, "password": PASSWORD}) as answer:
        assert answer.status == HTTPStatus.OK
        return str((await answer.json())["token"])


# The command line -----------------------------------------------------------------------------------------------


async def _said(home: Path, *words: str) -> str:
    return (await asyncio.to_thread(securecart, "fraud", *words, "--home", str(home), expect=0)).stdout


async def test_the_command_line_lists_explains_decides_and_marks(shop: Shop, shop_home: Path) -> None:
    good, bad = (await a_held_order(shop)).number, (await a_held_order(shop)).number
    listed = json.loads(await _said(shop_home, "review", "--json"))
    assert {good, bad} <= {one["number"] for one in listed["items"]}
    told = await _said(shop_home, "explain", good)
    assert "review, 0.40" in told
    assert "known fraud from this device: 2" in told
    assert "waits for a person" in told
    assert json.loads(await _said(shop_home, "review", "--release", good, "--json"))["status"] == "paid"
    assert json.loads(await _said(shop_home, "review", "--cancel", bad, "--json"))["status"] == "cancelled"
    assert json.loads(await _said(shop_home, "mark", bad, "--note", "seen before", "--json")) == {"changed": [bad]}
    assert json.loads(await _said(shop_home, "mark", bad, "--json")) == {"changed": []}
    assert "seen before" in await _said(shop_home, "explain", bad)
    assert json.loads(await _said(shop_home, "mark", bad, "--not-fraud", "--json")) == {"changed": [bad]}
    ring = await a_ring(shop, accounts=9)
    found = {one["id"]: one for one in json.loads(await _said(shop_home, "rings", "--limit", "1000", "--json"))}
    assert (found[ring.device]["kind"], found[ring.device]["accounts"], found[ring.device]["frauds"]) == ("device", 10, 2)
    assert ring.device in await _said(shop_home, "rings")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("explain", "SC-NONE"), "There is no order 'SC-NONE' here."),
        (("mark", "SC-NONE"), "There is no order 'SC-NONE' here."),
        (("review", "--release", "SC-NONE"), "There is no order 'SC-NONE' here."),
        (("review", "--release", "A", "--cancel", "B"), "Name one order, with --release or with --cancel."),
    ],
)
async def test_what_the_command_line_cannot_do_is_one_sentence(
    shop: Shop, shop_home: Path, arguments: tuple[str, ...], problem: str
) -> None:
    del shop
    done = await asyncio.to_thread(securecart, "fraud", *arguments, "--home", str(shop_home), expect=1)
    assert (done.stdout, done.stderr) == ("", f"securecart: {problem}\n")
