"""The sandbox gateway's client; what it can be asked is in docs/payments-sandbox.md."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any

import aiohttp
import msgspec
from msgspec import Struct

from securecart.errors import BadInput, BadSignature, GatewayAway
from securecart.patience import GATEWAY, repeat
from securecart.payments.model import Card, Charge, Notice, Refunded, is_token
from securecart.values import Money


class Found(Struct, frozen=True):
    """The payments of a reference: one or none."""

    items: tuple[Charge, ...]


class Looked(Struct, frozen=True):
    """The cards behind tokens."""

    items: tuple[Card | None, ...]


class Referred(Struct, frozen=True):
    """The part of a payment that says whose it is."""

    reference: str


class SandboxGateway:
    """The sandbox behind one address."""

    name = "sandbox"

    def __init__(self, url: str, key: str, *, timeout_s: float) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=GATEWAY.connect_s)
        self._session: aiohttp.ClientSession | None = None

    async def cards(self, tokens: Sequence[str]) -> list[Card | None]:
        """Which card each token stands for, all in one call; None where there is none."""
        asked = {"tokens": tokens}
        return list(msgspec.json.decode(await self._ask("POST", "/v1/tokens", asked), type=Looked).items)

    async def authorise(self, reference: str, amount: Money, token: str, *, capture: bool) -> Charge:
        """Charge the card, once per reference; without `capture` the money is only promised."""
        body = {
            "reference": reference,
            "amount_minor": amount.amount_minor,
            "currency": amount.currency,
            "token": token,
            "capture": capture,
        }
        return await self._charge("/v1/payments", body, key=reference)

    async def capture(self, payment_id: str, *, amount_minor: int, key: str) -> Charge:
        """Take promised money; `closed` when the promise had ended before."""
        return await self._charge(f"/v1/payments/{payment_id}/capture", {"amount_minor": amount_minor}, key=key)

    async def void(self, payment_id: str, *, key: str) -> Charge:
        """Give a promise up; `captured` when the money had been taken before."""
        return await self._charge(f"/v1/payments/{payment_id}/void", {}, key=key)

    async def refund(self, payment_id: str, amount_minor: int, *, reason: str, key: str) -> Refunded:
        """Give money back, once per key; `BadInput` when that much is not left."""
        body = {"amount_minor": amount_minor, "reason": reason}
        answer = await self._ask("POST", f"/v1/payments/{payment_id}/refunds", body, key=key)
        return msgspec.json.decode(answer, type=Refunded)

    async def look(self, reference: str, amount: Money, *, since: datetime) -> Charge:  # noqa: ARG002 - others need them
        """What has become of the reference; a sandbox knows it by the reference alone."""
        found = msgspec.json.decode(await self._ask("GET", f"/v1/payments?reference={reference}"), type=Found)
        return found.items[0] if found.items else Charge("waiting")

    async def conclude(self, reference: str, amount: Money, *, since: datetime) -> Charge:  # noqa: ARG002 - others need them
        """The last word on the reference; a sandbox knows it by the reference alone."""
        return await self._charge("/v1/payments/conclude", {"reference": reference}, key=reference)

    async def reference_of(self, payment_id: str) -> str | None:
        """The payment's reference."""
        found = await self._find(f"/v1/payments/{payment_id}") if is_token(payment_id) else None
        return None if found is None else msgspec.json.decode(found, type=Referred).reference

    def notice(self, body: bytes, signature: str) -> Notice | None:  # noqa: ARG002 - it sends none, so none can be right
        """The sandbox sends no notices: whatever says it is one is not."""
        raise BadSignature(problem="This shop's gateway sends no notices.")

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _charge(self, path: str, body: dict[str, Any], *, key: str) -> Charge:
        return msgspec.json.decode(await self._ask("POST", path, body, key=key), type=Charge)

    async def _find(self, path: str) -> bytes | None:
        status, answer = await self._send("GET", path)
        if status == HTTPStatus.NOT_FOUND:
            return None
        if status != HTTPStatus.OK:
            raise GatewayAway(store="card gateway", retry_after=2)
        return answer

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None, *, key: str = "") -> bytes:
        status, answer = await self._send(method, path, body, key=key)
        if status == HTTPStatus.UNPROCESSABLE_ENTITY:
            problem = msgspec.json.decode(answer)
            raise BadInput(field=problem.get("field"), problem=problem.get("detail", "The card gateway refused this."))
        if status != HTTPStatus.OK:
            raise GatewayAway(store="card gateway", retry_after=2)
        return answer

    async def _send(self, method: str, path: str, body: dict[str, Any] | None = None, *, key: str = "") -> tuple[int, bytes]:
        content = None if body is None else msgspec.json.encode(body)
        headers = {"Idempotency-Key": key} if key else None

        async def send() -> tuple[int, bytes]:
            async with self._connections().request(method, self._url + path, data=content, headers=headers) as response:
                return response.status, await response.read()

        try:
            # a connection that was lost is made anew at once: the key sees to it that money moves once
            return await repeat(GATEWAY, aiohttp.ClientConnectionError, send)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise GatewayAway(store="card gateway", retry_after=2) from error

    def _connections(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout, headers=self._headers, connector=aiohttp.TCPConnector(limit=256)
            )
        return self._session
