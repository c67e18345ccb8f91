"""Made orders with links as a shop has them: most use their own things, some share a home, a few devices are everybody's."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec

from securecart.fraud import Attempt, Lesson

__all__ = ["attempt_of_somebody", "links_of", "made_lessons"]

SECOND = 1_000_000
BEGAN = 1_760_000_000 * SECOND
SPREAD_S = 90 * 86_400
SHOP_WINDOWS = 30  # devices of thousands
STOLEN_CARDS = 400
FORWARDERS = 20  # addresses of hundreds
PEOPLE_A_NETWORK = 12


def attempt_of_somebody(chance: random.Random, accounts: int, at: int) -> Attempt:
    """An order of a random account, at a time in microseconds; the same account has the same things of its own."""
    one = chance.randrange(accounts)
    device, card, address = f"d{one}", f"c{one}", f"a{one}"
    lot = chance.random()
    if lot < 0.04:  # the first of them most of all
        device = f"window{min(SHOP_WINDOWS - 1, int(chance.paretovariate(0.7)) - 1)}"
    elif lot < 0.14:
        device, address = f"home-d{one // 3}", f"home-a{one // 3}"
    if chance.random() < 0.01:
        card = f"stolen{chance.randrange(STOLEN_CARDS)}"
    if chance.random() < 0.01:
        address = f"forwarder{chance.randrange(FORWARDERS)}"
    return Attempt(
        at=at,
        account=f"account:{one}",
        amount_minor=int(chance.lognormvariate(8.5, 0.8)),
        currency="EUR",
        device=device,
        card=card,
        address=address,
        network=f"n{one // PEOPLE_A_NETWORK}",
        email=f"e{one}",
    )


def made_lessons(seed: int, accounts: int, orders: int, first: int = 0) -> list[Lesson]:
    """Orders by time; half of those with a stolen card are known to be fraud. The first ones are of every account, once each."""
    chance = random.Random(f"{seed} {first}")
    lessons = []
    for number in range(first, first + orders):
        at = BEGAN + (number * SPREAD_S // max(orders, accounts)) * SECOND + chance.randrange(SECOND)
        attempt = attempt_of_somebody(chance, accounts, at)
        if number < accounts:
            attempt = msgspec.structs.replace(attempt, account=f"account:{number}", email=f"e{number}")
        is_fraud = str(attempt.card).startswith("stolen") and chance.random() < 0.5
        lessons.append(Lesson(number, f"B{number}", "paid", attempt, attempt.at if is_fraud else None))
    return lessons


def links_of(lessons: Sequence[Lesson]) -> list[tuple[str, str, int, bool]]:
    """Each order's things with its account, time, and whether it is known to be fraud."""
    return [
        (f"{kind}:{key}", one.attempt.account, one.attempt.at, one.fraud_at is not None)
        for one in lessons
        for kind, key in one.attempt.things().items()
    ]
