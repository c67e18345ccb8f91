"""The sandbox gateway as a process of its own: its cards, its refusals, and a book that survives everything."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

KEY = "sk_made_up_for_tests"
BOOK_OF_OLD = """
CREATE TABLE payment (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, reference TEXT UNIQUE, status TEXT, amount_minor INTEGER,
    currency TEXT, refunded_minor INTEGER DEFAULT 0, brand TEXT, last4 TEXT, fingerprint TEXT, decline_reason TEXT
);
INSERT INTO payment (id, reference, status, amount_minor, currency, brand, last4, fingerprint)
VALUES ('pay_old', 'R-OLD', 'captured', 100, 'USD', 'visa', '4242', 'fp_visa_4242');
"""


class Running:
    """A gateway process on a folder, and the one way to talk to it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = _free_port()
        self._session = aiohttp.ClientSession(f"http://127.0.0.1:{self._port}", headers={"Authorization": f"Bearer {KEY}"})
        self.log = (folder / "log").open("ab")
        self.process: Process | None = None

    async def start(self) -> None:
        command = ["-m", "securecart.sandbox.gateway", "--port", str(self._port), "--data", str(self._folder)]
        environ = {**os.environ, "SECURECART_GATEWAY_KEY": KEY}
        self.process = await asyncio.create_subprocess_exec(sys.executable, *command, env=environ, stderr=self.log)
        await eventually(self._is_ready)

    async def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        async with asyncio.timeout(10):
            return await self.process.wait()

    async def _is_ready(self) -> bool:
        try:
            async with self._session.get("/healthz", headers={"Authorization": ""}) as answer:
                return answer.status == 200
        except aiohttp.ClientConnectionError:
            return False

    async def close(self) -> None:
        await self._session.close()
        if self.process is not None and self.process.returncode is None:
            await self.stop()
        self.log.close()

    async def post(self, path: str, body: Any, *, key: str | None = None, **options: Any) -> tuple[int, dict[str, Any]]:
        headers = {"Idempotency-Key": key} if key else {}
        async with self._session.post(path, json=body, headers=headers, **options) as answer:
            return answer.status, await answer.json(content_type=None)

    async def get(self, path: str, **headers: str) -> tuple[int, Any]:
        async with self._session.get(path, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    async def charge(self, reference: str, token: str = "tok_visa", amount: int = 1000, **options: Any) -> dict[str, Any]:
        body = {"reference": reference, "amount_minor": amount, "currency": "USD", "token": token}
        body |= {"capture": options.pop("capture", True)}
        status, answer = await self.post("/v1/payments", body, key=options.pop("key", reference), **options)
        return {"http": status, **answer}

    async def conclude(self, reference: str) -> dict[str, Any]:
        return (await self.post("/v1/payments/conclude", {"reference": reference}))[1]

    async def of(self, reference: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = (await self.get(f"/v1/payments?reference={reference}"))[1]["items"]
        return items


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def eventually(happens: Callable[[], Awaitable[bool]]) -> None:
    """Look again and again, for at most 20 seconds."""
    async with asyncio.timeout(20):
        while not await happens():  # noqa: ASYNC110 - another process, which sets no event of ours
            await asyncio.sleep(0.05)


def a_reference() -> str:
    return f"R-{secrets.token_hex(6)}"


@pytest.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """One gateway for the tests that need no book of their own."""
    running = Running(tmp_path_factory.mktemp("gateway"))
    await running.start()
    yield running
    await running.close()


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Running]:
    """A gateway that a test may kill or count."""
    running = Running(tmp_path)
    await running.start()
    yield running
    await running.close()


@pytest.mark.parametrize(("token", "brand", "last4"), [("tok_visa", "visa", "4242"), ("tok_mastercard", "mastercard", "4444")])
async def test_a_good_card_is_captured_and_told_by_its_last_four(gateway: Running, token: str, brand: str, last4: str) -> None:
    paid = await gateway.charge(a_reference(), token, amount=1999)
    assert (paid["http"], paid["status"], paid["amount_minor"], paid["refunded_minor"]) == (200, "captured", 1999, 0)
    assert (paid["card"]["brand"], paid["card"]["last4"], paid["decline_reason"]) == (brand, last4, None)
    assert await gateway.get(f"/v1/payments/{paid['id']}") == (200, {name: paid[name] for name in paid if name != "http"})


async def test_equal_cards_have_equal_fingerprints(gateway: Running) -> None:
    first, second, other = [await gateway.charge(a_reference(), token) for token in ("tok_visa", "tok_visa", "tok_mastercard")]
    assert first["card"]["fingerprint"] == second["card"]["fingerprint"] != other["card"]["fingerprint"]


async def test_a_token_tells_its_card_without_a_payment(gateway: Running) -> None:
    card = {"brand": "visa", "last4": "4242", "fingerprint": "fp_visa_4242", "country": "US"}
    assert await gateway.get("/v1/tokens/tok_visa") == (200, card)
    assert (await gateway.charge(a_reference(), "tok_visa"))["card"] == card
    assert (await gateway.get("/v1/tokens/tok_visa", Authorization=""))[0] == 401


async def test_there_are_as_many_good_cards_as_names(gateway: Running) -> None:
    tokens = ["tok_card_ann", "tok_card_bob", "tok_card_de_ann", "tok_card_fr_ann", "tok_card_de"]
    cards = [(await gateway.get(f"/v1/tokens/{token}"))[1] for token in tokens]
    assert len({card["fingerprint"] for card in cards}) == len(tokens)
    assert [card["country"] for card in cards] == ["US", "US", "DE", "FR", "US"]
    assert all(len(card["last4"]) == 4 and card["last4"].isdigit() for card in cards)
    paid = await gateway.charge(a_reference(), "tok_card_de_ann")
    assert (paid["status"], paid["card"]) == ("captured", cards[2])


@pytest.mark.parametrize("token", ["tok_unknown", "tok_card_", "tok_card_ANN", "tok_card_a_b_c", f"tok_card_{'x' * 61}"])
async def test_no_card_is_behind_a_token_that_names_none(gateway: Running, token: str) -> None:
    assert (await gateway.get(f"/v1/tokens/{token}"))[0] == 404
    assert (await gateway.charge(a_reference(), token))["http"] == 422


async def test_a_book_from_before_cards_had_countries_goes_on(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "book.sqlite")) as old:
        old.executescript(BOOK_OF_OLD)
    running = Running(tmp_path)
    await running.start()
    try:
        assert [payment["card"]["country"] for payment in await running.of("R-OLD")] == [""]
        assert (await running.charge("R-NEW"))["card"]["country"] == "US"
    finally:
        await running.close()


@pytest.mark.parametrize(
    ("token", "reason"), [("tok_declined", "card_declined"), ("tok_insufficient_funds", "insufficient_funds")]
)
async def test_a_bad_card_is_declined_with_its_reason(gateway: Running, token: str, reason: str) -> None:
    declined = await gateway.charge(a_reference(), token)
    assert (declined["http"], declined["status"], declined["decline_reason"]) == (200, "declined", reason)


async def test_a_token_that_stands_for_no_card_is_refused(gateway: Running) -> None:
    reference = a_reference()
    refused = await gateway.charge(reference, "4242424242424242")
    assert (refused["http"], refused["field"]) == (422, "token")
    assert await gateway.of(reference) == []


async def test_the_same_request_again_gets_the_same_answer(gateway: Running) -> None:
    reference = a_reference()
    assert await gateway.charge(reference) == await gateway.charge(reference)


async def test_a_key_used_for_another_request_is_refused(gateway: Running) -> None:
    key = a_reference()
    await gateway.charge(key, amount=100)
    refused = await gateway.charge(key, amount=200)
    assert (refused["http"], refused["field"]) == (422, "Idempotency-Key")


async def test_a_reference_is_never_charged_twice_whatever_the_key(gateway: Running) -> None:
    reference = a_reference()
    answers = await asyncio.gather(*(gateway.charge(reference, key=f"{reference}-{number}") for number in range(8)))
    assert len({answer["id"] for answer in answers}) == 1
    assert len(await gateway.of(reference)) == 1


async def test_a_declined_reference_stays_declined_with_a_better_card(gateway: Running) -> None:
    reference = a_reference()
    first = await gateway.charge(reference, "tok_declined")
    again = await gateway.charge(reference, "tok_visa", key="another key")
    assert (again["status"], again["id"]) == ("declined", first["id"])


async def test_a_concluded_reference_can_never_be_charged(gateway: Running) -> None:
    reference = a_reference()
    assert (await gateway.conclude(reference))["status"] == "closed"
    late = await gateway.charge(reference)
    assert (late["status"], late["decline_reason"], late["amount_minor"]) == ("closed", "closed", 0)


async def test_the_last_word_on_a_captured_reference_is_the_capture(gateway: Running) -> None:
    reference = a_reference()
    paid = await gateway.charge(reference)
    assert (await gateway.conclude(reference))["id"] == paid["id"]


async def test_charge_and_last_word_at_once_agree(gateway: Running) -> None:
    for _ in range(10):
        reference = a_reference()
        paid, concluded = await asyncio.gather(gateway.charge(reference), gateway.conclude(reference))
        assert (paid["id"], paid["status"]) == (concluded["id"], concluded["status"])


async def test_a_slow_card_is_approved_after_two_seconds(gateway: Running) -> None:
    started = asyncio.get_running_loop().time()
    paid = await gateway.charge(a_reference(), "tok_slow")
    assert paid["status"] == "captured"
    assert asyncio.get_running_loop().time() - started >= 2


async def test_a_caller_who_gives_up_on_a_slow_card_is_charged_all_the_same(gateway: Running) -> None:
    reference = a_reference()
    with pytest.raises(TimeoutError):
        await gateway.charge(reference, "tok_slow", timeout=aiohttp.ClientTimeout(total=0.2))

    async def captured() -> bool:
        return bool(await gateway.of(reference))

    await eventually(captured)
    assert (await gateway.of(reference))[0]["status"] == "captured"


async def test_a_card_that_gives_no_answer_charges_nothing(gateway: Running) -> None:
    reference = a_reference()
    with pytest.raises(TimeoutError):
        await gateway.charge(reference, "tok_no_answer", timeout=aiohttp.ClientTimeout(total=0.3))
    assert (await gateway.conclude(reference))["status"] == "closed"


async def test_a_lost_answer_was_a_capture_and_asking_again_says_so(gateway: Running) -> None:
    reference = a_reference()
    with pytest.raises(aiohttp.ClientConnectionError):
        await gateway.charge(reference, "tok_answer_lost")
    assert [payment["status"] for payment in await gateway.of(reference)] == ["captured"]
    assert (await gateway.conclude(reference))["status"] == "captured"


async def test_refunds_add_up_and_never_exceed_the_payment(gateway: Running) -> None:
    paid = await gateway.charge(a_reference(), amount=1000)
    path = f"/v1/payments/{paid['id']}/refunds"
    status, first = await gateway.post(path, {"amount_minor": 400, "reason": "damaged"}, key="1")
    assert (status, first["payment_id"], first["amount_minor"], first["status"]) == (200, paid["id"], 400, "done")
    assert (await gateway.post(path, {"amount_minor": 400, "reason": "damaged"}, key="1"))[1] == first
    status, problem = await gateway.post(path, {"amount_minor": 601, "reason": "more"}, key="2")
    assert (status, problem["field"]) == (422, "amount_minor")
    assert (await gateway.post(path, {"amount_minor": 600, "reason": "the rest"}, key="3"))[0] == 200
    assert (await gateway.get(f"/v1/payments/{paid['id']}"))[1]["refunded_minor"] == 1000


async def test_refunds_that_race_give_back_no_more_than_was_paid(gateway: Running) -> None:
    paid = await gateway.charge(a_reference(), amount=1000)
    path, body = f"/v1/payments/{paid['id']}/refunds", {"amount_minor": 300, "reason": ""}
    answers = await asyncio.gather(*(gateway.post(path, body, key=str(number)) for number in range(8)))
    assert sorted(status for status, _ in answers) == [200] * 3 + [422] * 5
    assert (await gateway.get(f"/v1/payments/{paid['id']}"))[1]["refunded_minor"] == 900


async def test_what_was_not_captured_cannot_be_refunded(gateway: Running) -> None:
    declined = await gateway.charge(a_reference(), "tok_declined")
    status, _ = await gateway.post(f"/v1/payments/{declined['id']}/refunds", {"amount_minor": 1, "reason": ""}, key="1")
    assert status == 422


async def test_promised_money_is_taken_in_part_and_the_rest_is_given_up(gateway: Running) -> None:
    promised = await gateway.charge(a_reference(), amount=1000, capture=False)
    path = f"/v1/payments/{promised['id']}"
    status, problem = await gateway.post(f"{path}/capture", {"amount_minor": 1001}, key="1")
    assert (promised["status"], status, problem["field"]) == ("authorised", 422, "amount_minor")
    status, taken = await gateway.post(f"{path}/capture", {"amount_minor": 600}, key="2")
    assert (status, taken["status"], taken["amount_minor"]) == (200, "captured", 600)
    assert (await gateway.post(f"{path}/refunds", {"amount_minor": 601}, key="3"))[0] == 422


@pytest.mark.parametrize("verb", ["capture", "void"])
async def test_what_was_not_promised_stays_as_it_is(gateway: Running, verb: str) -> None:
    declined = await gateway.charge(a_reference(), "tok_declined")
    status, payment = await gateway.post(f"/v1/payments/{declined['id']}/{verb}", {"amount_minor": 1}, key="1")
    assert (status, payment["status"]) == (200, "declined")
    assert (await gateway.post(f"/v1/payments/pay_unknown/{verb}", {"amount_minor": 1}, key="1"))[0] == 404


async def test_taking_and_giving_up_at_once_end_with_one_of_them(gateway: Running) -> None:
    for _ in range(5):
        promised = await gateway.charge(a_reference(), capture=False)
        path = f"/v1/payments/{promised['id']}"
        answers = await asyncio.gather(
            gateway.post(f"{path}/capture", {"amount_minor": 1000}, key="1"), gateway.post(f"{path}/void", {}, key="2")
        )
        assert {answer["status"] for _, answer in answers} in ({"captured"}, {"closed"})


@pytest.mark.parametrize(
    ("capture", "approved", "becomes"), [(True, True, "captured"), (False, True, "authorised"), (True, False, "declined")]
)
async def test_a_card_that_asks_waits_for_its_buyer(gateway: Running, capture: bool, approved: bool, becomes: str) -> None:  # noqa: FBT001
    waiting = await gateway.charge(a_reference(), "tok_action_required", capture=capture)
    assert (waiting["status"], waiting["action"]["type"]) == ("waiting", "sandbox")
    for _ in range(2):
        assert (await gateway.post(waiting["action"]["approve"], {"approved": approved}))[1]["status"] == becomes
    assert (await gateway.conclude(waiting["reference"]))["status"] == becomes


async def test_a_waiting_payment_that_was_concluded_cannot_be_approved(gateway: Running) -> None:
    waiting = await gateway.charge(a_reference(), "tok_action_required")
    assert (await gateway.conclude(waiting["reference"]))["status"] == "closed"
    assert (await gateway.post(waiting["action"]["approve"], {}))[1]["status"] == "closed"


async def test_the_key_on_a_request_that_moves_money_is_required(gateway: Running) -> None:
    body = {"reference": a_reference(), "amount_minor": 1, "currency": "USD", "token": "tok_visa"}
    status, problem = await gateway.post("/v1/payments", body)
    assert (status, problem["field"]) == (422, "Idempotency-Key")


@pytest.mark.parametrize("given", ["", "Bearer wrong", KEY])
async def test_without_the_secret_key_the_door_stays_shut(gateway: Running, given: str) -> None:
    status, problem = await gateway.get("/v1/totals", Authorization=given)
    assert (status, problem["status"], problem["title"]) == (401, 401, "Unauthorized")


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("amount_minor", 0),
        ("amount_minor", -5),
        ("amount_minor", 10**30),
        ("amount_minor", 9.5),
        ("currency", "usd"),
        ("reference", ""),
    ],
)
async def test_a_body_that_makes_no_sense_is_refused_and_the_next_is_served(gateway: Running, part: str, value: Any) -> None:
    body = {"reference": a_reference(), "amount_minor": 100, "currency": "USD", "token": "tok_visa", part: value}
    status, problem = await gateway.post("/v1/payments", body, key="odd")
    assert (status, problem["field"]) == (422, part)
    assert (await gateway.charge(a_reference()))["status"] == "captured"


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/nothing", 404), ("/v1/payments/pay_unknown", 404), ("/v1/payments/conclude/x", 404)]
)
async def test_what_is_not_there_is_a_problem_document(gateway: Running, path: str, status: int) -> None:
    assert (await gateway.get(path))[1]["status"] == status


@pytest.mark.parametrize("query", ["limit=0", "limit=-1", "limit=x", "after=-1", f"after={10**40}"])
async def test_a_page_that_cannot_be_is_refused(gateway: Running, query: str) -> None:
    status, problem = await gateway.get(f"/v1/book?{query}")
    assert (status, problem["field"]) == (422, query.partition("=")[0])


async def test_the_book_is_read_page_by_page_and_its_totals_add_up(own: Running) -> None:
    assert (await own.get("/v1/book")) == (200, {"items": [], "next": None})
    paid = [await own.charge(a_reference(), amount=100 * number) for number in range(1, 6)]
    await own.charge(a_reference(), "tok_declined", amount=7)
    await own.conclude(a_reference())
    await own.charge(a_reference(), amount=70, capture=False)
    await own.post(f"/v1/payments/{paid[0]['id']}/refunds", {"amount_minor": 30, "reason": ""}, key="1")
    seen: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = (await own.get(f"/v1/book?after={after}&limit=3"))[1]
        seen += page["items"]
        after = page["next"]
    assert [item["status"] for item in seen] == ["captured"] * 5 + ["declined", "closed", "authorised"]
    assert [item["id"] for item in seen[:5]] == [payment["id"] for payment in paid]
    assert (await own.get("/v1/totals"))[1] == {
        "USD": {"captured_minor": 1500, "refunded_minor": 30, "payments": 5, "authorised_minor": 70}
    }


async def test_what_was_answered_survives_kill_nine(own: Running) -> None:
    answered: dict[str, str] = {}

    async def shopper() -> None:
        while True:
            paid = await own.charge(a_reference())
            answered[paid["reference"]] = paid["id"]

    shoppers = [asyncio.create_task(shopper()) for _ in range(8)]

    async def enough() -> bool:
        return len(answered) >= 200

    await eventually(enough)
    await own.stop(signal.SIGKILL)
    await asyncio.gather(*shoppers, return_exceptions=True)
    await own.start()
    book = {payment["reference"]: payment["id"] for payment in (await own.get("/v1/book?limit=10000"))[1]["items"]}
    assert {reference: book.get(reference) for reference in answered} == answered
    sample = next(iter(answered))
    assert (await own.charge(sample))["id"] == answered[sample]


async def test_sigterm_finishes_what_was_asked_and_leaves_cleanly(own: Running) -> None:
    slow = asyncio.create_task(own.charge("the last one", "tok_slow"))
    await asyncio.sleep(1)
    assert await own.stop() == 0
    assert (await slow)["status"] == "captured"


async def test_the_secret_key_is_in_no_log_and_without_one_it_does_not_start(own: Running, tmp_path: Path) -> None:
    await own.charge(a_reference())
    await own.get("/v1/totals", Authorization="Bearer wrong")
    await own.stop()
    assert KEY not in (tmp_path / "log").read_text()
    bare = {name: content for name, content in os.environ.items() if name != "SECURECART_GATEWAY_KEY"}
    command = [sys.executable, "-m", "securecart.sandbox.gateway", "--port", "1", "--data", str(tmp_path)]
    refused = await asyncio.create_subprocess_exec(*command, env=bare, stderr=PIPE)
    _, said = await refused.communicate()
    assert (refused.returncode, said.startswith(b"SECURECART_GATEWAY_KEY is not set")) == (1, True)
