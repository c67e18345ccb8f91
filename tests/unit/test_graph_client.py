"""The graph's client without a graph: error codes, the signature field by field, and an address that is none."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from botocore.credentials import Credentials

from securecart.errors import StoreAway, StoreBusy
from securecart.graph.shapes import STATUS
from securecart.graph.shapes import problem_of as told_of
from securecart.patience import GRAPH
from securecart.stores import graph
from securecart.stores.graph import Statement
from securecart.stores.graph.problems import CODES, Conflict, Refused, Throttled, TooSlow, Unwell, problem_of
from securecart.stores.graph.signing import Signer, signer_for

HOST = "shop.cluster-abc123.eu-central-1.neptune.amazonaws.com"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (500, "ConcurrentModificationException", Conflict),
        (400, "ConstraintViolationException", Conflict),
        (500, "ThrottlingException", Throttled),
        (429, "TooManyRequestsException", Throttled),
        (429, "", Throttled),
        (500, "TimeLimitExceededException", TooSlow),
        (500, "MemoryLimitExceededException", TooSlow),
        (500, "InternalFailureException", Unwell),
        (503, "", Unwell),
        (400, "MalformedQueryException", Refused),
        (403, "AccessDeniedException", Refused),
    ],
)
def test_a_code_says_what_may_be_done(status: int, code: str, kind: type[Exception]) -> None:
    body = json.dumps({"requestId": "x", "code": code, "detailedMessage": "so it is"}).encode()
    found = problem_of(status, body)
    assert type(found) is kind
    assert "so it is" in str(found)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'"text"'])
def test_an_answer_that_is_none_is_no_refusal_of_the_statement(body: bytes) -> None:
    assert type(problem_of(502, body)) is Unwell


def test_every_code_of_the_local_graph_is_known_to_the_client() -> None:
    refusing = {code for code, status in STATUS.items() if status in {400, 403}}
    assert set(STATUS) - refusing <= set(CODES)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("Interrupted."), "TimeLimitExceededException"),
        (RuntimeError("Buffer manager exception: Unable to allocate memory!"), "MemoryLimitExceededException"),
        (RuntimeError("Parser exception: Invalid input"), "MalformedQueryException"),
        (RuntimeError("Binder exception: Table Nope does not exist."), "BadRequestException"),
        (
            RuntimeError("Cannot start a new write transaction. Only one write transaction at a time"),
            "ConcurrentModificationException",
        ),
        (RuntimeError("IO exception: disk"), "InternalFailureException"),
        (ValueError("invalid literal for int()"), "InvalidParameterException"),
    ],
)
def test_ladybugs_words_become_neptunes(error: Exception, code: str) -> None:
    assert told_of(error).code == code


def test_a_request_is_signed_field_by_field() -> None:
    body = b"query=RETURN+1&parameters=%7B%7D"
    signer = Signer(Credentials("AKIDEXAMPLE", "secret", "token"), "eu-central-1")
    sent = signer.sign("POST", f"https://{HOST}:8182/openCypher", body, graph.FORM)
    when = sent["X-Amz-Date"]
    day = when[:8]
    scope = f"{day}/eu-central-1/neptune-db/aws4_request"
    signed = {
        "accept": "application/json",
        "content-type": "application/x-www-form-urlencoded",
        "host": f"{HOST}:8182",
        "x-amz-date": when,
        "x-amz-security-token": "token",
    }
    asked = "\n".join(
        [
            "POST",
            "/openCypher",
            "",
            *(f"{name}:{value}" for name, value in sorted(signed.items())),
            "",
            ";".join(sorted(signed)),
            hashlib.sha256(body).hexdigest(),
        ]
    )
    to_sign = "\n".join(["AWS4-HMAC-SHA256", when, scope, hashlib.sha256(asked.encode()).hexdigest()])
    key = b"AWS4secret"
    for part in (day, "eu-central-1", "neptune-db", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    assert sent["Authorization"] == (
        f"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{scope}, SignedHeaders={';'.join(sorted(signed))}, Signature={signature}"
    )
    assert sent["X-Amz-Security-Token"] == "token"
    assert {name: sent[name] for name in graph.FORM} == graph.FORM


def test_credentials_and_region_are_found_as_awss_tools_find_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    named, other = signer_for(HOST), signer_for("graph.example.com")
    assert named is not None
    assert other is not None
    assert (named.region, other.region) == ("eu-central-1", "us-west-2")


async def test_without_an_address_the_graph_is_away() -> None:
    nothing = await graph.connect("")
    try:
        with pytest.raises(StoreAway, match="The graph cannot be reached"):
            await nothing.ask(Statement("RETURN 1 AS one"))
        assert await nothing.answers() is False
    finally:
        await nothing.close()


async def test_nobody_there_is_told_in_time() -> None:
    nobody = await graph.connect("http://securecart:key@127.0.0.1:9")
    try:
        with pytest.raises(StoreAway):
            await nobody.ask(Statement("RETURN 1 AS one"), within_s=0.5)
        assert await nobody.answers() is False
    finally:
        await nobody.close()


@contextlib.asynccontextmanager
async def scripted(*answers: tuple[int, str]) -> AsyncIterator[tuple[graph.Graph, list[float]]]:
    """A Neptune that gives these answers in turn, the last one for ever; a status of 0 cuts the connection."""
    asked: list[float] = []

    async def answer(request: web.Request) -> web.Response:
        status, code = answers[min(len(asked), len(answers) - 1)]
        asked.append(time.monotonic())
        if not status:
            assert request.transport is not None
            request.transport.close()
        told = {"results": [{"one": 1}]} if status == 200 else {"requestId": "x", "code": code, "detailedMessage": "so it is"}
        return web.json_response(told, status=status or 500)

    app = web.Application()
    app.router.add_post("/openCypher", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = await graph.connect(f"http://127.0.0.1:{runner.addresses[0][1]}")
    try:
        yield client, asked
    finally:
        await client.close()
        await runner.cleanup()


CONFLICT = (500, "ConcurrentModificationException")
CHANGE = Statement("MERGE (a:Account {id: 'a'})")


async def test_a_conflict_is_tried_again() -> None:
    async with scripted(CONFLICT, CONFLICT, CONFLICT, CONFLICT, (200, "")) as (client, asked):
        assert await client.write(CHANGE) == [{"one": 1}]
        assert len(asked) == 5


async def test_a_conflict_without_end_is_told_as_such() -> None:
    async with scripted(CONFLICT) as (client, asked):
        with pytest.raises(StoreBusy):
            await client.write(CHANGE)
        assert len(asked) == GRAPH.tries
        assert not client.breaker.is_open()


async def test_only_a_question_is_sent_again_when_nobody_knows_what_became_of_it() -> None:
    for cut in ((0, ""), (500, "InternalFailureException")):
        async with scripted(cut, (200, "")) as (client, asked):
            with pytest.raises(StoreAway):
                await client.write(CHANGE)
            assert len(asked) == 1
        async with scripted(cut, (200, "")) as (client, asked):
            assert await client.ask(CHANGE) == [{"one": 1}]
            assert len(asked) == 2


async def test_a_question_with_a_budget_is_asked_once() -> None:
    async with scripted((429, "TooManyRequestsException")) as (client, asked):
        with pytest.raises(StoreAway):
            await client.ask(CHANGE, within_s=0.5)
        assert len(asked) == 1


async def test_what_is_refused_is_not_asked_again_and_says_nothing_against_the_graph() -> None:
    async with scripted((400, "MalformedQueryException")) as (client, asked):
        for _ in range(8):
            with pytest.raises(Refused):
                await client.ask(CHANGE)
        assert len(asked) == 8
        assert not client.breaker.is_open()
