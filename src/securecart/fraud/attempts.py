"""An attempt as a checkout knows it before the payment, and as the orders database knows it afterwards: one and the same."""

from __future__ import annotations

from datetime import datetime

from securecart.fraud.identity import address_key, digest_of, email_key
from securecart.fraud.model import MICROSECONDS, Attempt, Origin
from securecart.values import Address, Money

__all__ = ["attempt_of", "microseconds"]


def attempt_of(  # noqa: PLR0913 - an order is linked to as many things
    shopper_id: str,
    at: datetime,
    total: Money,
    *,
    email: str,
    address: Address,
    origin: Origin,
    card: str | None,
    card_country: str | None,
) -> Attempt:
    """What the shopper is about to buy, or has bought, with everything that it is linked to; who pays no card has None."""
    return Attempt(
        at=microseconds(at),
        account=shopper_id,
        amount_minor=total.amount_minor,
        currency=total.currency,
        device=origin.device,
        card=card or None,
        address=digest_of(address_key(address)),
        network=origin.network,
        email=digest_of(email_key(email)),
        card_country=card_country or None,
        network_country=origin.country,
        address_country=address.country,
    )


def microseconds(at: datetime) -> int:
    """A moment as microseconds since 1970 in UTC."""
    return round(at.timestamp() * MICROSECONDS)
