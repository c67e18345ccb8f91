"""The checkout bench's own arithmetic, and its buyers against a toy shop."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import Any

import msgspec
import pytest

from bench import harness
from bench.census import figures_of, items_in
from bench.checkout import allowed_journeys, journeys_goal
from bench.harness import BenchFailed
from bench.load import Load, Plan
from bench.placing import order_request


def test_a_call_counts_as_many_items_as_it_carries() -> None:
    batch: Any = {"RequestItems": {"carts": [{"PutRequest": {}}, {"DeleteRequest": {}}], "history": [{"PutRequest": {}}]}}
    counted = Counter(
        {
            "PutItem": items_in("PutItem", b"{}"),
            "BatchWriteItem": items_in("BatchWriteItem", msgspec.json.encode(batch)),
            "TransactWriteItems": items_in("TransactWriteItems", b'{"TransactItems":[{},{}]}'),
            "BatchGetItem": items_in("BatchGetItem", b'{"RequestItems":{"history":{"Keys":[{},{},{},{}]}}}'),
        }
    )
    assert figures_of(counted) == {
        "dynamodb_writes": 6,
        "dynamodb_single_writes": 1,
        "dynamodb_batched_writes": 3,
        "dynamodb_transacted_writes": 2,
        "dynamodb_reads": 4,
    }


def test_dynamodb_allows_as_many_journeys_as_it_has_time_to_write() -> None:
    calls = {
        "dynamodb_single_writes_per_journey": 2.0,
        "dynamodb_batched_writes_per_journey": 1.0,
        "dynamodb_transacted_writes_per_journey": 1.0,
    }
    rates = {
        "dynamodb_puts_per_s": 500.0,
        "dynamodb_puts_alone_per_s": 1_000.0,
        "dynamodb_batched_puts_per_s": 1_000.0,
        "dynamodb_transacted_puts_per_s": 500.0,
    }
    assert allowed_journeys(calls, rates) == 200.0
    assert allowed_journeys(dict.fromkeys(calls, 0.0), rates) == 0.0


@pytest.mark.parametrize(
    ("rate", "share", "figure", "met"),
    [(220.0, 0.5, "journeys_per_s", True), (120.0, 0.85, "journeys_of_dynamodb", True), (120.0, 0.5, "journeys_per_s", False)],
)
def test_the_goal_of_journeys_says_by_what_it_is_met(rate: float, share: float, figure: str, *, met: bool) -> None:
    goal = journeys_goal(rate, share)
    assert (goal.figure, goal.met) == (figure, met)


def test_an_orders_request_is_whole() -> None:
    head, _, body = order_request("shop:80", {"x-key": "k"})("t0k3n", "once", 1_500).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /api/checkout HTTP/1.1"
    assert {"Host: shop:80", "x-key: k", "Authorization: Bearer t0k3n", "Idempotency-Key: once"} <= set(lines)
    assert f"Content-Length: {len(body)}" in lines
    assert msgspec.json.decode(body)["expected_total_minor"] == 1_500


async def buy_at_toy(carts: list[tuple[str, str, int]], *, status: str = "paid", total: int = 700) -> Load:
    """Two callers buy these carts, for at most ten seconds, at a shop that answers every order alike."""
    answer = msgspec.json.encode({"number": "SC-1", "status": status, "total": {"amount_minor": total}})

    serving: list[asyncio.Task[Any] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0]))
                await asyncio.sleep(0.005)
                writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    arguments = {"url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "headers": {}, "carts": carts}
    try:
        return await harness.generate(Plan("bench.placing:buy", 2, 0.0, 10.0, arguments))
    finally:
        server.close()
        await asyncio.gather(*(task for task in serving if task))


async def test_a_round_ends_early_when_every_cart_is_bought_once() -> None:
    load = await buy_at_toy([(f"token-{number}", f"guest:{number}", 700) for number in range(20)])
    assert sorted(note[0] for note in load.notes) == sorted(f"guest:{number}" for number in range(20))
    assert load.elapsed_s < 5


async def test_an_order_that_is_not_paid_or_costs_something_else_ends_the_run() -> None:
    with pytest.raises(BenchFailed, match="should be paid for 700"):
        await buy_at_toy([("token", "guest:1", 700)], status="declined")
    with pytest.raises(BenchFailed, match="should be paid for 700"):
        await buy_at_toy([("token", "guest:1", 700)], total=701)
