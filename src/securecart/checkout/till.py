"""What a checkout works with: the stores it touches, and what it does together with the others of the moment."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from securecart.checkout import together
from securecart.checkout.intake import Intake
from securecart.checkout.model import Cost, Opening, Pace, Question, Settlement
from securecart.fraud import Judge
from securecart.grouping import Grouped
from securecart.orders import Decided, Opened
from securecart.patience import FAILOVER
from securecart.payments import Card, Gateway
from securecart.stores.cache import Cache
from securecart.stores.dynamodb import DynamoDB
from securecart.stores.postgres import Database

__all__ = ["Till"]

UNGROUPED_AT_ONCE = 8
# looking at cards holds nothing up, and one answer may take long
CARDS_AT_ONCE = 4

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")


class Till:
    """One for each process. `card`, `open`, `settle` and `cost` are called by each checkout alone and carried out in groups.

    At most `group_most` orders share a transaction; 1 turns grouping off. `pace` says how long payments are waited for,
    `region` is where they are sold. A `judge` looks at each order before its payment; the gateway is given `card_within_s` to
    say by which card that will be. A group caught by a failover is done again for as long as `patience_s`.
    """

    def __init__(  # noqa: PLR0913 - the stores it touches, each once
        self,
        database: Database,
        dynamodb: DynamoDB,
        cache: Cache,
        gateway: Gateway,
        intake: Intake,
        pace: Pace,
        *,
        group_most: int = 256,
        region: str = "",
        patience_s: float = FAILOVER.retry_for_s,
        judge: Judge | None = None,
        card_within_s: float = 0.0,
    ) -> None:
        self.database = database
        self.dynamodb = dynamodb
        self.cache = cache
        self.gateway = gateway
        self.intake = intake
        self.pace = pace
        self.region = region
        self.judge = judge
        self.card_within_s = card_within_s
        at_once = 1 if group_most > 1 else UNGROUPED_AT_ONCE

        def grouped(work: Callable[[Sequence[Ask]], Awaitable[Sequence[Answer | Exception]]]) -> Grouped[Ask, Answer]:
            return Grouped(functools.partial(together.through_failover, patience_s, work), most=group_most, at_once=at_once)

        cards = functools.partial(together.cards_all, gateway)
        self.card: Grouped[str, Card | None] = Grouped(cards, most=group_most, at_once=CARDS_AT_ONCE)
        self.cost: Grouped[Question, Cost] = grouped(functools.partial(together.cost_all, database))
        settle = functools.partial(together.settle_all, database, region, hold_s=pace.review_s)
        self.open: Grouped[Opening, Opened] = grouped(functools.partial(together.open_all, database, gateway.name))
        self.settle: Grouped[Settlement, Decided | None] = grouped(settle)
