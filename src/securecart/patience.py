"""How long the shop waits for each store, how often it asks again, and when it stops asking: one table.

Every time-out, every bounded retry with jitter and every circuit breaker of the shop takes its numbers from here, and
docs/availability.md shows the same table (a test compares them).
"""

from __future__ import annotations

from msgspec import Struct

__all__ = ["CACHE", "DYNAMODB", "GATEWAY", "POSTGRES", "TABLE", "WEB_READS", "Patience"]


class Patience(Struct, frozen=True):
    """All in seconds: to connect, for an answer, for all tries together; the pauses between tries, each with jitter.

    After `open_after` failures in a row nobody is asked for `open_for_s`: the breaker. 0 means that there is none.
    """

    name: str
    connect_s: float
    answer_s: float
    retry_for_s: float = 0.0
    pause_s: float = 0.0
    pause_max_s: float = 0.0
    open_after: int = 0
    open_for_s: float = 0.0


POSTGRES = Patience("orders database", connect_s=3.0, answer_s=10.0)
DYNAMODB = Patience("cart and session store", connect_s=1.0, answer_s=3.0, retry_for_s=2.0)
CACHE = Patience("cache", connect_s=0.25, answer_s=0.25, open_after=1, open_for_s=1.0)
GATEWAY = Patience("card gateway", connect_s=1.0, answer_s=5.0)
WEB_READS = Patience("a page or a GET caught by a dying store", connect_s=0.0, answer_s=0.0, retry_for_s=1.0, pause_s=0.05)

TABLE = (POSTGRES, DYNAMODB, CACHE, GATEWAY, WEB_READS)
