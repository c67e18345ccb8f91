"""The sandbox's test cards: tokens that stand for a card and for how the world behaves when it is charged."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["CARDS", "TestCard"]


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

    @property
    def fingerprint(self) -> str:
        """Equal for equal cards."""
        return f"fp_{self.brand}_{self.last4}"


CARDS = {
    card.token: card
    for card in (
        TestCard("tok_visa", "visa", "4242"),
        TestCard("tok_mastercard", "mastercard", "4444"),
        TestCard("tok_declined", "visa", "0002", decline_reason="card_declined"),
        TestCard("tok_insufficient_funds", "visa", "9995", decline_reason="insufficient_funds"),
        TestCard("tok_slow", "visa", "0101", delay_s=2),
        TestCard("tok_no_answer", "visa", "0119", delay_s=60, charges=False, answers=False),
        TestCard("tok_answer_lost", "visa", "0127", answers=False),
        TestCard("tok_action_required", "visa", "3155", asks=True),
    )
}
