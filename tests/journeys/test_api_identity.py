"""Who is shopping and what they hold, through the HTTP API: guests, accounts, browsers with cookies, carts."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import msgspec
import pytest

from securecart import accounts, carts, sessions
from securecart.app import Shop
from securecart.values import Line
from tests.orders_for_tests import ADDRESS, a_product, a_sku

PASSWORD = "correct horse battery"
Answer = tuple[int, Any, Mapping[str, str]]


class Program:
    """A client with at most one bearer token, one cookie, and other headers it always sends."""

    def __init__(self, http: aiohttp.ClientSession, url: str, token: str = "", **headers: str) -> None:
        self._http = http
        self._url = url
        self.headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **headers}

    def having(self, token: str = "", **headers: str) -> Program:
        return Program(self._http, self._url, token, **headers)

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        given = {**self.headers, **headers, **({} if body is None else {"Content-Type": "application/json"})}
        sent = None if body is None else msgspec.json.encode(body)
        async with self._http.request(method, self._url + path, data=sent, headers=given) as response:
            raw = await response.read()
            return response.status, msgspec.json.decode(raw) if raw else None, response.headers

    async def guest(self) -> Program:
        status, answer, _ = await self.ask("POST", "/api/sessions")
        assert status == 201
        return self.having(answer["token"])

    async def put(self, quantities: dict[str, int]) -> Any:
        lines = [{"sku": sku, "quantity": quantity} for sku, quantity in quantities.items()]
        status, cart, _ = await self.ask("PUT", "/api/cart", {"lines": lines})
        assert status == 200, cart
        return cart

    async def held(self) -> dict[str, int]:
        _, cart, _ = await self.ask("GET", "/api/cart")
        return {line["sku"]: line["quantity"] for line in cart["lines"]}


@pytest.fixture
async def program(shop_url: str, uncounted: dict[str, str]) -> AsyncIterator[Program]:
    """A program of the shop's own, whose requests no limit counts."""
    async with aiohttp.ClientSession(headers=uncounted, cookie_jar=aiohttp.DummyCookieJar()) as http:
        yield Program(http, shop_url)


def an_email() -> str:
    return f"ada-{secrets.token_hex(6)}@example.com"


async def register(program: Program, email: str) -> tuple[Program, Any]:
    status, answer, _ = await program.ask("POST", "/api/accounts", {"email": email, "password": PASSWORD, "name": "Ada"})
    assert status == 201, answer
    return program.having(answer["token"]), answer


async def log_in(program: Program, email: str, password: str = PASSWORD) -> Answer:
    return await program.ask("POST", "/api/login", {"email": email, "password": password})


def assert_problem(answer: Answer, status: int, code: str, field: str | None = None) -> Any:
    given, document, headers = answer
    assert (given, document["status"], document["code"], document.get("field")) == (status, status, code, field), document
    assert headers["Content-Type"] == "application/problem+json"
    return document


async def test_a_guest_gets_a_token_and_is_known_by_it(program: Program) -> None:
    status, answer, _ = await program.ask("POST", "/api/sessions")
    assert (status, set(answer)) == (201, {"token", "shopper_id", "expires_at"})
    status, me, _ = await program.having(answer["token"]).ask("GET", "/api/me")
    assert (status, me) == (200, {"shopper_id": answer["shopper_id"], "account": None, "addresses": []})


async def test_without_a_token_or_with_a_wrong_one_nobody_is_known(program: Program) -> None:
    for stranger in (
        program,
        program.having("wrong"),
        program.having(Authorization="Basic dTpw"),
        program.having(Authorization="Bearer "),
    ):
        answer = await stranger.ask("GET", "/api/cart")
        assert_problem(answer, 401, "unauthorized")
        assert answer[2]["WWW-Authenticate"].startswith("Bearer")


async def test_registering_signs_in_brings_the_guest_s_cart_and_ends_the_guest_s_token(program: Program, shop: Shop) -> None:
    sku = await a_product(shop.database)
    guest = await program.guest()
    await guest.put({sku: 2})
    email = an_email()
    ada, answer = await register(guest, email)
    assert answer["account"] == {"id": answer["account"]["id"], "email": email, "name": "Ada", "staff": False}
    assert await ada.held() == {sku: 2}
    assert_problem(await guest.ask("GET", "/api/me"), 401, "unauthorized")
    _, me, _ = await ada.ask("GET", "/api/me")
    assert (me["account"], me["shopper_id"]) == (answer["account"], f"account:{answer['account']['id']}")


async def test_logging_in_gives_a_new_token_and_adds_the_guest_s_cart_once(program: Program, shop: Shop) -> None:
    sku, email = await a_product(shop.database), an_email()
    ada, _ = await register(program, email)
    await ada.put({sku: 3})
    guest = await program.guest()
    await guest.put({sku: 4})
    status, answer, _ = await log_in(guest, email)
    assert (status, set(answer)) == (200, {"token", "expires_at", "account"})
    again = program.having(answer["token"])
    assert await again.held() == {sku: 7}
    await log_in(guest, email)
    await log_in(again, email)
    assert await ada.held() == {sku: 7}
    assert_problem(await again.ask("GET", "/api/me"), 401, "unauthorized")


async def test_a_token_that_is_no_good_any_more_does_not_keep_anybody_from_logging_in(program: Program) -> None:
    email = an_email()
    await register(program, email)
    status, answer, _ = await log_in(program.having("long expired"), email)
    assert status == 200
    assert (await program.having(answer["token"]).ask("GET", "/api/me"))[0] == 200


async def test_logging_out_ends_the_token_and_no_other(program: Program) -> None:
    email = an_email()
    here, _ = await register(program, email)
    _, answer, _ = await log_in(program, email)
    elsewhere = program.having(answer["token"])
    assert (await here.ask("POST", "/api/logout"))[0] == 204
    assert_problem(await here.ask("GET", "/api/me"), 401, "unauthorized")
    assert (await elsewhere.ask("GET", "/api/me"))[0] == 200
    assert (await here.ask("POST", "/api/logout"))[0] == 204


async def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(program: Program) -> None:
    email = an_email()
    await register(program, email)
    wrong = await log_in(program, email, "not the password")
    unknown = await log_in(program, an_email())
    assert assert_problem(wrong, 401, "unauthorized") == assert_problem(unknown, 401, "unauthorized")


async def test_an_address_registers_once(program: Program) -> None:
    email = an_email()
    await register(program, email)
    answer = await program.ask("POST", "/api/accounts", {"email": email.upper(), "password": PASSWORD, "name": "Eve"})
    assert_problem(answer, 409, "email-taken", "email")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"password": "short"}, "password"),
        ({"email": "nobody"}, "email"),
        ({"email": "a" * 300}, "email"),
        ({"name": "a\x00b"}, "name"),
    ],
)
async def test_a_registration_that_cannot_be_names_its_field(program: Program, changes: dict[str, Any], field: str) -> None:
    answer = await program.ask("POST", "/api/accounts", {"email": an_email(), "password": PASSWORD, "name": "Ada", **changes})
    assert_problem(answer, 422, "bad-input", field)


async def test_nobody_registers_as_staff(program: Program) -> None:
    status, document, _ = await program.ask(
        "POST", "/api/accounts", {"email": an_email(), "password": PASSWORD, "name": "Eve", "staff": True}
    )
    assert (status, "staff" in document["detail"]) == (422, True)


async def test_me_shows_the_addresses_and_the_rights_given_at_log_in(program: Program, shop: Shop) -> None:
    email = an_email()
    ada, _ = await register(program, email)
    async with shop.database.transaction() as tx:
        account = await accounts.set_staff(tx, email, staff=True)
        await accounts.remember_address(tx, account.id, ADDRESS)
    _, me, _ = await ada.ask("GET", "/api/me")
    assert me["addresses"] == [msgspec.to_builtins(ADDRESS)]
    assert me["account"]["staff"] is False
    _, answer, _ = await log_in(program, email)
    assert answer["account"]["staff"] is True


async def test_a_browser_s_cookie_reads_but_changes_nothing_without_its_csrf_token(program: Program, shop: Shop) -> None:
    sku = await a_product(shop.database)
    session = await sessions.start_guest(shop.dynamodb, days=1)
    browser = program.having(Cookie=f"securecart_session={session.token}")
    assert (await browser.ask("GET", "/api/cart"))[0] == 200
    lines = {"lines": [{"sku": sku, "quantity": 1}]}
    for token in ("", "wrong", session.token):
        assert_problem(await browser.ask("PUT", "/api/cart", lines, **{"X-CSRF-Token": token}), 403, "forbidden")
    assert await browser.held() == {}
    status, _, _ = await browser.ask("PUT", "/api/cart", lines, **{"X-CSRF-Token": sessions.csrf_token(session.token)})
    assert status == 200
    assert await browser.held() == {sku: 1}


async def test_another_site_cannot_log_a_browser_in(program: Program) -> None:
    email = an_email()
    await register(program, email)
    for forged in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert_problem(await log_in(program.having(**forged), email), 403, "forbidden")


async def test_answers_that_hold_a_token_are_not_kept_by_caches(program: Program) -> None:
    email = an_email()
    registration = {"email": email, "password": PASSWORD, "name": "Ada"}
    for path, body in (
        ("/api/sessions", None),
        ("/api/accounts", registration),
        ("/api/login", {"email": email, "password": PASSWORD}),
    ):
        _, answer, headers = await program.ask("POST", path, body)
        assert answer["token"]
        assert headers["Cache-Control"] == "no-store"
        assert "Set-Cookie" not in headers


async def test_a_cart_shows_today_s_prices_and_its_version(program: Program, shop: Shop) -> None:
    cheap, dear = await a_product(shop.database, price_minor=199), await a_product(shop.database, price_minor=123_456)
    guest = await program.guest()
    status, empty, headers = await guest.ask("GET", "/api/cart")
    assert (status, headers["ETag"]) == (200, '"0"')
    assert empty == {"lines": [], "missing": [], "subtotal": {"amount_minor": 0, "currency": "USD"}, "version": 0}
    put = await guest.put({cheap: 3, dear: 1})
    status, cart, headers = await guest.ask("GET", "/api/cart")
    assert cart == put
    assert headers["ETag"] == f'"{cart["version"]}"'
    assert cart["subtotal"] == {"amount_minor": 3 * 199 + 123_456, "currency": "USD"}
    assert cart["lines"][0] == {
        "sku": cheap,
        "slug": cheap.lower(),
        "title": f"Thing {cheap}",
        "quantity": 3,
        "unit_price": {"amount_minor": 199, "currency": "USD"},
        "total": {"amount_minor": 597, "currency": "USD"},
    }
    assert [line["sku"] for line in cart["lines"]] == [cheap, dear]


async def test_a_price_that_a_program_sends_counts_for_nothing(program: Program, shop: Shop) -> None:
    sku = await a_product(shop.database, price_minor=250)
    guest = await program.guest()
    _, cart, _ = await guest.ask("POST", "/api/cart/lines", {"sku": sku, "quantity": 2, "unit_price": 1})
    assert cart["subtotal"]["amount_minor"] == 500


async def test_lines_are_added_set_and_taken_out_one_by_one(program: Program, shop: Shop) -> None:
    first, second = await a_product(shop.database), await a_product(shop.database)
    guest = await program.guest()
    for sku in (first, second, first):
        status, _, _ = await guest.ask("POST", "/api/cart/lines", {"sku": sku, "quantity": 2})
        assert status == 200
    assert await guest.held() == {first: 4, second: 2}
    _, cart, _ = await guest.ask("PUT", f"/api/cart/lines/{second}", {"quantity": 7})
    assert [line["quantity"] for line in cart["lines"]] == [4, 7]
    await guest.ask("PUT", f"/api/cart/lines/{first}", {"quantity": 0})
    assert await guest.held() == {second: 7}
    status, cart, _ = await guest.ask("DELETE", f"/api/cart/lines/{second}")
    assert (status, cart["lines"]) == (200, [])
    assert (await guest.ask("DELETE", f"/api/cart/lines/{second}"))[0] == 200


async def test_a_sku_that_is_not_sold_is_refused_and_changes_nothing(program: Program, shop: Shop) -> None:
    sku, unknown = await a_product(shop.database), a_sku()
    guest = await program.guest()
    await guest.put({sku: 1})
    lines = [{"sku": sku, "quantity": 5}, {"sku": unknown, "quantity": 1}]
    document = assert_problem(await guest.ask("PUT", "/api/cart", {"lines": lines}), 422, "bad-input", "lines")
    assert document["sku"] == unknown
    assert_problem(await guest.ask("POST", "/api/cart/lines", {"sku": unknown, "quantity": 1}), 422, "bad-input", "sku")
    assert_problem(await guest.ask("PUT", f"/api/cart/lines/{unknown}", {"quantity": 1}), 422, "bad-input", "sku")
    assert await guest.held() == {sku: 1}


async def test_what_is_not_sold_any_more_is_listed_as_missing_and_costs_nothing(program: Program, shop: Shop) -> None:
    sku, gone = await a_product(shop.database, price_minor=100), a_sku()
    _, answer, _ = await program.ask("POST", "/api/sessions")
    await carts.replace(shop.dynamodb, answer["shopper_id"], [Line(sku, 2), Line(gone, 1)], days=1)
    guest = program.having(answer["token"])
    _, cart, _ = await guest.ask("GET", "/api/cart")
    assert (cart["missing"], [line["sku"] for line in cart["lines"]]) == ([gone], [sku])
    assert cart["subtotal"]["amount_minor"] == 200
    _, cart, _ = await guest.ask("DELETE", f"/api/cart/lines/{gone}")
    assert cart["missing"] == []


async def test_a_cart_in_a_currency_without_prices_has_only_missing_lines(program: Program, shop: Shop) -> None:
    sku = await a_product(shop.database)
    guest = await program.guest()
    await guest.put({sku: 1})
    _, cart, _ = await guest.ask("GET", "/api/cart?currency=CHF")
    assert (cart["lines"], cart["missing"], cart["subtotal"]) == ([], [sku], {"amount_minor": 0, "currency": "CHF"})
    assert_problem(await guest.ask("GET", "/api/cart?currency=francs"), 422, "bad-input", "currency")


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/api/cart/lines", {"sku": "A", "quantity": 0}, "quantity"),
        ("POST", "/api/cart/lines", {"sku": "A", "quantity": 1000}, "quantity"),
        ("POST", "/api/cart/lines", {"sku": "A/B", "quantity": 1}, "sku"),
        ("PUT", "/api/cart/lines/A", {"quantity": -1}, "quantity"),
        ("PUT", "/api/cart", {"lines": [{"sku": "A", "quantity": 1.5}]}, "lines[0].quantity"),
    ],
)
async def test_a_line_that_cannot_be_names_its_field(program: Program, method: str, path: str, body: Any, field: str) -> None:
    guest = await program.guest()
    answer = await guest.ask(method, path, body)
    assert_problem(answer, 422, "bad-input", field)


async def test_if_match_guards_every_change(program: Program, shop: Shop) -> None:
    sku = await a_product(shop.database)
    guest = await program.guest()
    old = await guest.put({sku: 1})
    now = await guest.put({sku: 2})
    changes: list[tuple[str, str, Any]] = [
        ("PUT", "/api/cart", {"lines": []}),
        ("POST", "/api/cart/lines", {"sku": sku, "quantity": 1}),
        ("PUT", f"/api/cart/lines/{sku}", {"quantity": 9}),
        ("DELETE", f"/api/cart/lines/{sku}", None),
    ]
    for method, path, body in changes:
        answer = await guest.ask(method, path, body, **{"If-Match": f'"{old["version"]}"'})
        assert assert_problem(answer, 412, "precondition-failed")["version"] == now["version"]
    assert_problem(await guest.ask("PUT", "/api/cart", {"lines": []}, **{"If-Match": "what?"}), 422, "bad-input", "If-Match")
    assert await guest.held() == {sku: 2}
    version = now["version"]
    for (method, path, body), left in zip(changes[::-1], [0, 9, 10, 0], strict=True):
        status, cart, _ = await guest.ask(method, path, body, **{"If-Match": f'"{version}"'})
        assert (status, sum(line["quantity"] for line in cart["lines"])) == (200, left)
        version = cart["version"]


async def test_two_shoppers_never_see_each_other_s_cart(program: Program, shop: Shop) -> None:
    sku = await a_product(shop.database)
    one, other = await program.guest(), await program.guest()
    await one.put({sku: 1})
    assert await other.held() == {}


async def test_too_many_log_ins_from_one_place_are_slowed_down(shop_url: str) -> None:
    # From an address of its own, so that no other test is slowed down.
    connector = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
    async with aiohttp.ClientSession(connector=connector) as http:
        stranger = Program(http, shop_url)
        answers = await asyncio.gather(*(log_in(stranger, an_email()) for _ in range(45)))
    limited = [answer for answer in answers if answer[0] == 429]
    # 20 in each minute's window; two windows when a minute ends meanwhile
    assert len(answers) - len(limited) in range(20, 41)
    document = assert_problem(limited[0], 429, "too-many-requests")
    assert 0 < document["retry_after"] <= 60
    assert limited[0][2]["Retry-After"] == str(document["retry_after"])
    assert {answer[0] for answer in answers} == {401, 429}
