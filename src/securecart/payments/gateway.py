"""What every card gateway can do for the shop, in calls that are safe to repeat.

A payment is known by its reference, the order's number. Charging one reference twice moves money once, and
`conclude` is the last word on a reference: after it nothing can be charged any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from securecart.payments.model import Card, Charge, Notice, Refunded
from securecart.payments.sandbox_gateway import SandboxGateway
from securecart.settings import Settings
from securecart.values import Money


class Gateway(Protocol):
    """A card gateway; each call raises `GatewayAway` when no answer came and the outcome is unknown."""

    @property
    def name(self) -> str:
        """What is kept with each payment."""
        ...

    async def cards(self, tokens: Sequence[str]) -> list[Card | None]:
        """Which card each token stands for, and nothing is charged; None where the gateway knows no card behind it."""
        ...

    async def authorise(self, reference: str, amount: Money, token: str, *, capture: bool) -> Charge:
        """Charge the card, once per reference; without `capture` the money is only promised."""
        ...

    async def capture(self, payment_id: str, *, amount_minor: int, key: str) -> Charge:
        """Take promised money, once per key; `closed` when the promise had ended before."""
        ...

    async def void(self, payment_id: str, *, key: str) -> Charge:
        """Give a promise up; `captured` when the money had been taken before."""
        ...

    async def refund(self, payment_id: str, amount_minor: int, *, reason: str, key: str) -> Refunded:
        """Give money back, once per key; `BadInput` when the gateway never will."""
        ...

    async def look(self, reference: str, amount: Money, *, since: datetime) -> Charge:
        """What has become of the reference, which was opened at `since`; nothing is changed."""
        ...

    async def conclude(self, reference: str, amount: Money, *, since: datetime) -> Charge:
        """What finally became of the reference, opened at `since`; one without money is closed and will never have any."""
        ...

    async def reference_of(self, payment_id: str) -> str | None:
        """The reference that was charged by this payment of the gateway; None when the gateway knows no such payment."""
        ...

    def notice(self, body: bytes, signature: str) -> Notice | None:
        """A notice that the gateway sent, or None for a kind that means nothing here; `BadSignature` when it did not."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


def connect(settings: Settings) -> Gateway:
    """The client of the gateway that the settings name; nothing is sent before the first call."""
    if settings.gateway == "sandbox":
        return SandboxGateway(settings.gateway_url, settings.gateway_key, timeout_s=settings.gateway_timeout_s)
    from securecart.payments.stripe_gateway import StripeGateway  # noqa: PLC0415 - 29 MB and some 0.3 s that only its users pay

    return StripeGateway(
        settings.stripe_key,
        settings.stripe_webhook_secret,
        url=settings.stripe_url,
        timeout_s=settings.gateway_timeout_s,
    )
