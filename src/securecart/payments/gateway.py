"""The card gateway's client: HTTP calls that are safe to repeat.

A payment is known to the gateway by its reference, the order's number. Charging one reference twice moves
money once, and `conclude` is the last word on a reference: after it nothing can be charged any more.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Literal

import aiohttp
import msgspec
from msgspec import Struct

from securecart.errors import BadInput, GatewayAway
from securecart.values import Money

CONNECT_TIMEOUT_S = 2.0


class Card(Struct, frozen=True):
    """What the gateway tells about a card; `fingerprint` is the same for the same card, and nothing else."""

    brand: str = ""
    last4: str = ""
    fingerprint: str = ""


class Charge(Struct, frozen=True):
    """The gateway's word on a reference: money captured, declined, or closed before any was asked for."""

    status: Literal["captured", "declined", "closed"]
    id: str = ""
    card: Card = Card()
    decline_reason: str | None = None


class Refunded(Struct, frozen=True):
    """The gateway's word on a refund."""

    id: str


class Gateway:
    """A card gateway behind one address; `name` is kept with each payment."""

    name = "sandbox"

    def __init__(self, url: str, key: str, *, timeout_s: float) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, connect=CONNECT_TIMEOUT_S)
        self._session: aiohttp.ClientSession | None = None

    async def authorise(self, reference: str, amount: Money, token: str) -> Charge:
        """Charge the card, once per reference. `GatewayAway` when no answer came and the outcome is unknown."""
        body = {"reference": reference, "amount_minor": amount.amount_minor, "currency": amount.currency, "token": token}
        return msgspec.json.decode(await self._post("/v1/payments", body, key=reference), type=Charge)

    async def conclude(self, reference: str) -> Charge:
        """What finally became of the reference; one that was never charged is closed and never will be."""
        answer = await self._post("/v1/payments/conclude", {"reference": reference}, key=reference)
        return msgspec.json.decode(answer, type=Charge)

    async def refund(self, payment_id: str, amount_minor: int, *, reason: str, key: str) -> Refunded:
        """Give money back, once per key. `GatewayAway` when no answer came."""
        body = {"amount_minor": amount_minor, "reason": reason}
        return msgspec.json.decode(await self._post(f"/v1/payments/{payment_id}/refunds", body, key=key), type=Refunded)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _post(self, path: str, body: dict[str, Any], *, key: str) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout, headers=self._headers, connector=aiohttp.TCPConnector(limit=256)
            )
        try:
            async with self._session.post(
                self._url + path, data=msgspec.json.encode(body), headers={"Idempotency-Key": key}
            ) as response:
                answer = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise GatewayAway(store="card gateway", retry_after=2) from error
        if response.status == HTTPStatus.UNPROCESSABLE_ENTITY:
            problem = msgspec.json.decode(answer)
            raise BadInput(field=problem.get("field"), problem=problem.get("detail", "The card gateway refused this."))
        if response.status != HTTPStatus.OK:
            raise GatewayAway(store="card gateway", retry_after=2)
        return answer


def connect(url: str, key: str, *, timeout_s: float) -> Gateway:
    """A client for the gateway at `url`; nothing is sent before the first call."""
    return Gateway(url, key, timeout_s=timeout_s)
