"""The sandbox's test cards: tokens that stand for a card and for how the world behaves when it is charged.

A few are named, each with a behaviour of its own. Beside them `tok_card_NAME` and `tok_card_COUNTRY_NAME` stand for as many
good cards as there are names, which all that is told of them follows from.
"""

from __future__ import annotations

import hashlib
import re

from msgspec import Struct

__all__ = ["CARDS", "Card", "TestCard", "card_of"]

ANY_CARD = re.compile(r"tok_card_(?:([a-z]{2})_)?([a-z0-9-]{1,60})")


class Card(Struct, frozen=True):
    """What may be told about a card; the fingerprint is equal for equal cards, the country that of its bank."""

    brand: str
    last4: str
    fingerprint: str
    country: str = ""


class TestCard(Struct, frozen=True):
    """A token and what charging it does.

    `delay_s` passes before the answer, `answers` is False when none is given, `asks` when the buyer must approve first.
    """

    token: str
    brand: str
    last4: str
    decline_reason: str | None = None
    delay_s: float = 0
    charges: bool = True
    answers: bool = True
    asks: bool = False
    country: str = "US"
    name: str = ""

    @property
    def fingerprint(self) -> str:
        """Equal for equal cards."""
        return f"fp_{self.name or f'{self.brand}_{self.last4}'}"

    @property
    def told(self) -> Card:
        """What a shop learns of it."""
        return Card(self.brand, self.last4, self.fingerprint, self.country)


def card_of(token: str) -> TestCard | None:
    """The card behind a token, if there is one."""
    named = CARDS.get(token)
    if named is not None:
        return named
    parts = ANY_CARD.fullmatch(token)
    if parts is None:
        return None
    digest = hashlib.sha256(token.encode()).digest()
    brand, last4 = ("visa", "mastercard")[digest[0] % 2], f"{int.from_bytes(digest[1:5]) % 10_000:04}"
    return TestCard(token, brand, last4, country=(parts[1] or "us").upper(), name=digest[5:17].hex())


CARDS = {
    card.token: card
    for card in (
        TestCard("tok_visa", "visa", "4242"),
        TestCard("tok_mastercard", "mastercard", "4444"),
        TestCard("tok_declined", "visa", "0002", decline_reason="card_declined"),
        TestCard("tok_insufficient_funds", "visa", "9995", decline_reason="insufficient_funds", country="GB"),
        TestCard("tok_slow", "visa", "0101", delay_s=2),
        TestCard("tok_no_answer", "visa", "0119", delay_s=60, charges=False, answers=False),
        TestCard("tok_answer_lost", "visa", "0127", answers=False),
        TestCard("tok_action_required", "visa", "3155", asks=True, country="FR"),
    )
}
