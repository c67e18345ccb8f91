"""Before a payment: which card it is by, and what the judge says of the order."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from securecart import fraud
from securecart.checkout.till import Till
from securecart.errors import GatewayAway
from securecart.fraud import Assessed, Origin
from securecart.orders import NewOrder
from securecart.payments import Card
from securecart.telemetry import log
from securecart.values import Money

__all__ = ["assess", "card_behind"]

UNKNOWN = Card()


async def card_behind(till: Till, token: str) -> Card:
    """The card that will pay, as far as the gateway says so in time; nothing is charged."""
    if till.judge is None or not till.card_within_s:
        return UNKNOWN
    try:
        async with asyncio.timeout(till.card_within_s):
            return await till.card(token) or UNKNOWN
    except (GatewayAway, TimeoutError):
        return UNKNOWN
    except Exception:  # noqa: BLE001 - an answer that is none stops no sale either
        log.exception("the card behind a token could not be looked at")
        return UNKNOWN


async def assess(till: Till, order: NewOrder, origin: Origin, card: Card) -> Assessed | None:
    """What is to be done with the order, and what that was said by; None where nobody judges, or nothing is to be paid."""
    if till.judge is None or order.total_minor == 0:
        return None
    attempt = fraud.attempt_of(
        order.shopper_id,
        datetime.now(UTC),
        Money(order.total_minor, order.currency),
        email=order.email,
        address=order.shipping_address,
        origin=origin,
        card=card.fingerprint,
        card_country=card.country,
    )
    return Assessed(attempt, await till.judge.judge(attempt))
