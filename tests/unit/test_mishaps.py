"""What people read when something goes wrong: a page that needs no store, while programs get their problem document."""

from __future__ import annotations

import pytest
from litestar import Litestar, get
from litestar.params import FromPath
from litestar.testing import TestClient

from securecart.errors import BadInput, Forbidden, NotFound, SecureCartError, StoreAway, TooManyRequests
from securecart.web.problems import HANDLERS
from securecart.web.storefront.mishaps import Mishaps

ERRORS: dict[str, Exception] = {
    "input": BadInput(field="after", problem="This cursor is not one that the shop gave out."),
    "forbidden": Forbidden(problem="The token is old."),
    "missing": NotFound(noun="product", key="<script>"),
    "hurry": TooManyRequests(retry_after=17),
    "bug": ZeroDivisionError("secret detail"),
    "away": StoreAway(store="orders database"),
}


@get(["/{what:str}", "/api/{what:str}"], sync_to_thread=False)
def fail(what: FromPath[str]) -> None:
    raise ERRORS[what]


CLIENT = TestClient(Litestar([fail], plugins=[Mishaps()], exception_handlers=HANDLERS, logging_config=None))


@pytest.mark.parametrize("what", ERRORS)
def test_people_get_a_page_and_programs_a_problem_with_the_same_status(what: str) -> None:
    page, problem = CLIENT.get(f"/{what}"), CLIENT.get(f"/api/{what}")
    error = ERRORS[what]
    assert page.status_code == problem.status_code == (error.status if isinstance(error, SecureCartError) else 500)
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["cache-control"] == "no-store"
    assert problem.headers["content-type"] == "application/problem+json"
    assert page.text.count("<h1>") == 1
    assert "secret detail" not in page.text
    assert "<script>" not in page.text


def test_the_page_says_what_to_do_and_when() -> None:
    assert "try again in a few seconds" in CLIENT.get("/away").text
    assert CLIENT.get("/away").headers["retry-after"] == "2"
    assert CLIENT.get("/hurry").headers["retry-after"] == "17"
    assert "not one that the shop gave out" in CLIENT.get("/input").text


def test_an_address_that_leads_nowhere_and_a_wrong_method_get_pages_too() -> None:
    assert "This page is not here" in CLIENT.get("/no/such/page").text
    assert CLIENT.post("/away").status_code == 405
    assert CLIENT.post("/away").headers["content-type"].startswith("text/html")
