"""Stripe at the network's edge: localstripe as a process of its own, and a road to it on which things get lost.

localstripe knows payments and sends signed notices, but not the rule of idempotency keys, a method given with the
confirmation, or the search. `Edge` stands before it, adds those as Stripe documents them, and does to calls, answers and notices
what a test asks for: hold them, lose them, repeat them.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import re
import secrets
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode

import aiohttp
import msgspec
from aiohttp import web

KEY = "sk_test_made_up_for_tests"
SECRET = "whsec_made_up_for_tests"
READY_WITHIN_S = 15
NOTICE_WITHIN_S = 5  # localstripe waits a second before it sends one
LEAST_AMOUNT = 50
UNKNOWN_TO_LOCALSTRIPE = re.compile(r"^(allowed_payment_method_types|use_stripe_sdk)\b")

Hook = Callable[[], Awaitable[object]]


class Notice(msgspec.Struct, frozen=True):
    """A signed notice on its way to the shop."""

    body: bytes
    signature: str

    @property
    def event(self) -> Any:
        return msgspec.json.decode(self.body)


class Rule(msgspec.Struct):
    """What happens to the next `times` calls whose method and path match."""

    calls: re.Pattern[str]
    times: int
    before: Hook | None
    after: Hook | None
    loses: str


class Edge:
    """The address that the shop takes for Stripe's."""

    def __init__(self) -> None:
        self.port, self._stripe_port = free_port(), free_port(socket.AF_INET6)
        self.url = f"http://127.0.0.1:{self.port}"
        self.door = ""  # where notices are delivered
        self.calls: list[str] = []
        self.hides_from_search = False
        self._rules: list[Rule] = []
        self._answers: dict[str, tuple[bytes, asyncio.Future[tuple[int, bytes]]]] = {}
        self._made: dict[str, list[str]] = {}
        self._notices: list[Notice] = []
        self._arrived = asyncio.Condition()
        self._process: Process | None = None
        self._runner: web.AppRunner | None = None
        self._http: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Start localstripe on loopback only, and the road to it."""
        environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parent / "confined")}
        command = [sys.executable, "-m", "localstripe", "--port", str(self._stripe_port), "--from-scratch"]
        self._process = await asyncio.create_subprocess_exec(*command, env=environ, stdout=DEVNULL, stderr=DEVNULL)
        app = web.Application()
        app.router.add_post("/_notices", self._take_notice)
        app.router.add_route("*", "/v1/{rest:.*}", self._pass)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self._http = aiohttp.ClientSession(f"http://[::1]:{self._stripe_port}", headers={"Authorization": f"Bearer {KEY}"})
        async with asyncio.timeout(READY_WITHIN_S):
            while not await self._listens():  # noqa: ASYNC110 - another process says nothing when it is ready
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """Stop all of it."""
        assert self._process is not None
        assert self._runner is not None
        assert self._http is not None
        await self._http.close()
        await self._runner.cleanup()
        self._process.terminate()
        await self._process.wait()

    def forget(self) -> None:
        """Behave again."""
        self._rules.clear()
        self._notices.clear()
        self.calls.clear()
        self.hides_from_search = False

    def lose(self, calls: str, *, times: int = 1, on_the_way: str = "answer") -> None:
        """The next calls like this are carried out and their answers are lost; or the calls themselves, `on_the_way="call"`."""
        self._rules.append(Rule(re.compile(calls), times, None, None, on_the_way))

    def when(self, calls: str, *, before: Hook | None = None, after: Hook | None = None) -> None:
        """Something happens before the next call like this arrives, or after it was carried out and before it is answered."""
        self._rules.append(Rule(re.compile(calls), 1, before, after, ""))

    async def ask(self, method: str, path: str, **fields: Any) -> Any:
        """Something that the shop does not ask: a buyer's or a merchant's own call."""
        status, answer = await self._forward(method, path, urlencode(fields).encode())
        assert status == 200, answer
        return msgspec.json.decode(answer)

    async def card(self, number: str) -> str:
        """A PaymentMethod for one of Stripe's test card numbers, as the buyer's browser would make it."""
        card = {"card[number]": number, "card[exp_month]": 12, "card[exp_year]": 2040, "card[cvc]": "123"}
        made = await self.ask("POST", "/v1/payment_methods", type="card", **card)
        return str(made["id"])

    async def intents(self, reference: str) -> list[Any]:
        """Every intent that Stripe has for an order."""
        return [await self.ask("GET", f"/v1/payment_intents/{one}") for one in self._made.get(reference, [])]

    async def answer_the_bank(self, reference: str, *, approve: bool = True) -> None:
        """The buyer does, in the browser, what the bank wants."""
        (intent,) = await self.intents(reference)
        path = f"/v1/payment_intents/{intent['id']}/_authenticate"
        await self.ask("POST", path, client_secret=intent["client_secret"], success=str(approve).lower())

    async def notice(self, kind: str, reference: str) -> Notice:
        """The notice of this kind that Stripe sends about an order, as soon as it does."""

        def found() -> Notice | None:
            about = (one for one in self._notices if one.event["type"] == kind)
            return next((one for one in about if one.event["data"]["object"]["metadata"].get("reference") == reference), None)

        async with asyncio.timeout(NOTICE_WITHIN_S), self._arrived:
            await self._arrived.wait_for(lambda: found() is not None)
        notice = found()
        assert notice is not None
        return notice

    async def deliver(self, notice: Notice) -> int:
        """Bring a notice to the shop's door; its HTTP status."""
        assert self._http is not None
        headers = {"Stripe-Signature": notice.signature, "Content-Type": "application/json; charset=utf-8"}
        async with self._http.post(self.door, data=notice.body, headers=headers) as answer:
            return answer.status

    async def _listens(self) -> bool:
        assert self._http is not None
        hook = {"url": f"{self.url}/_notices", "secret": SECRET}
        try:
            async with self._http.post("/_config/webhooks/tests", json=hook) as answer:
                return answer.status == 200
        except aiohttp.ClientConnectionError:
            return False

    async def _take_notice(self, request: web.Request) -> web.Response:
        async with self._arrived:
            self._notices.append(Notice(await request.read(), request.headers["Stripe-Signature"]))
            self._arrived.notify_all()
        return web.Response()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        call = f"{request.method} {request.path}"
        self.calls.append(call)
        rule = next((rule for rule in self._rules if rule.times and rule.calls.search(call)), None)
        if rule is not None:
            rule.times -= 1
        if rule is not None and rule.before is not None:
            await rule.before()
        if rule is not None and rule.loses == "call":
            return _hang_up(request)
        body = await request.read() if request.method == "POST" else request.query_string.encode()
        status, answer = await self._once(request.headers.get("Idempotency-Key", ""), call, body)
        if rule is not None and rule.after is not None:
            await rule.after()
        if rule is not None and rule.loses == "answer":
            return _hang_up(request)
        return web.Response(status=status, body=answer, content_type="application/json")

    async def _once(self, key: str, call: str, body: bytes) -> tuple[int, bytes]:
        """Stripe's rule: one key, one request; the same again gets the first answer, a failure too."""
        method, path = call.split()
        if not key or method != "POST":
            return await self._carry_out(method, path, body)
        digest = hashlib.sha256(call.encode() + body).digest()
        if key in self._answers:
            first, answer = self._answers[key]
            if first != digest:
                return _error(400, "idempotency_error", "Keys for idempotent requests can only be used with the same parameters.")
            if not answer.done():
                return _error(409, "idempotency_error", "There is a request with this key in progress.", "idempotency_key_in_use")
            return answer.result()
        answer = asyncio.get_running_loop().create_future()
        self._answers[key] = digest, answer
        answer.set_result(await asyncio.shield(asyncio.ensure_future(self._carry_out(method, path, body))))
        return answer.result()

    async def _carry_out(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        if path == "/v1/payment_intents/search":
            reference = parse_qs(body.decode())["query"][0].split("'")[-2]
            found = [] if self.hides_from_search else await self.intents(reference)
            return 200, msgspec.json.encode({"object": "search_result", "url": path, "has_more": False, "data": found})
        fields = [(name, value) for name, value in parse_qsl(body.decode()) if not UNKNOWN_TO_LOCALSTRIPE.match(name)]
        if path == "/v1/payment_intents" and int(dict(fields)["amount"]) < LEAST_AMOUNT:
            return _error(400, "invalid_request_error", "Amount must be at least $0.50.", "amount_too_small")
        if path == "/v1/refunds" and not await self._is_left(dict(fields)):
            return _error(
                400, "invalid_request_error", "Refund amount is greater than unrefunded amount.", "charge_already_refunded"
            )
        if path.endswith("/confirm"):
            given = {name: value for name, value in fields if name in {"payment_method", "capture_method"}}
            fields = [(name, value) for name, value in fields if name not in given]
            status, _ = await self._forward("GET", f"/v1/payment_methods/{given['payment_method']}", b"")
            if status != 200:
                return _error(400, "invalid_request_error", "No such PaymentMethod.", "resource_missing")
            _, known = await self._forward("GET", path.removesuffix("/confirm"), b"")
            if msgspec.json.decode(known)["status"] == "canceled":
                return _error(400, "invalid_request_error", "The intent was canceled.", "payment_intent_unexpected_state")
            await self._forward("POST", path.removesuffix("/confirm"), urlencode(given).encode())
        status, answer = await self._forward(method, path, urlencode(fields).encode())
        if (method, path, status) == ("POST", "/v1/payment_intents", 200):
            intent = msgspec.json.decode(answer)
            self._made.setdefault(intent["metadata"]["reference"], []).append(intent["id"])
        return status, answer

    async def _is_left(self, refund: dict[str, str]) -> bool:
        charge = (await self.ask("GET", f"/v1/payment_intents/{refund['payment_intent']}"))["latest_charge"]
        return charge is None or int(refund["amount"]) <= charge["amount"] - charge["amount_refunded"]

    async def _forward(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        assert self._http is not None
        query, content = (body.decode(), b"") if method == "GET" else ("", body)
        kind = {"Content-Type": "application/x-www-form-urlencoded"} if content else {}
        async with self._http.request(method, f"{path}?{query}" if query else path, data=content or None, headers=kind) as answer:
            return answer.status, await answer.read()


def sign(body: bytes, *, secret: str = SECRET, age_s: float = 0) -> Notice:
    """A notice as Stripe signs one, `age_s` seconds ago."""
    at = int(time.time() - age_s)
    signature = hmac.new(secret.encode(), b"%d.%s" % (at, body), hashlib.sha256).hexdigest()
    return Notice(body, f"t={at},v1={signature}")


def a_notice(kind: str, reference: str, *, intent: str = "", about: dict[str, str] | None = None, **options: Any) -> Notice:
    """A notice that localstripe does not send by itself; of a dispute Stripe names the intent, and says what it is `about`."""
    named = {"payment_intent": intent, "metadata": {}, **(about or {})} if intent else {"metadata": {"reference": reference}}
    subject = {"object": kind.partition(".")[0], **named}
    event = {"id": f"evt_{secrets.token_hex(8)}", "object": "event", "type": kind, "data": {"object": subject}}
    return sign(msgspec.json.encode(event), **options)


def free_port(family: int = socket.AF_INET) -> int:
    """A port that nobody listens on, on loopback."""
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def _error(status: int, kind: str, message: str, code: str | None = None) -> tuple[int, bytes]:
    return status, msgspec.json.encode({"error": {"type": kind, "message": message, "code": code}})
