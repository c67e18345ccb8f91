"""The nouns of fraud: an order about to be paid, and what is known of all it is linked to.

Everything about the past is a count or a time, never a list of rows: a graph answers it with a few short counts, and a
replay of files answers the same.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

MICROSECONDS = 1_000_000
MINUTE, HOUR, DAY = 60, 3_600, 86_400

Kind = Literal["account", "device", "card", "address", "network", "email", "seller"]
KINDS: tuple[Kind, ...] = ("account", "device", "card", "address", "network", "email", "seller")

# Thousands who have nothing to do with each other share a network or a seller: no ring is walked through these.
WALKED: frozenset[Kind] = frozenset({"account", "device", "card", "address", "email"})

# The windows in which the speed of orders is counted, in seconds, in the order of `Seen.recent`.
WINDOWS: tuple[int, ...] = (10 * MINUTE, HOUR, DAY, 7 * DAY, 30 * DAY)


class Attempt(Struct, frozen=True):
    """One order about to be paid. Times are microseconds since 1970 in UTC; what is not known is None.

    `card` is the gateway's fingerprint, never a number; `address` and `email` are normalised; `network` is the /24 or /48.
    `seller` is for whoever collects for many. `came_directly`: the shopper typed the address, and came by no link. `extra`
    are columns of a file that only a baseline looks at.
    """

    at: int
    account: str
    amount_minor: int
    currency: str
    account_made_at: int | None = None
    device: str | None = None
    card: str | None = None
    address: str | None = None
    network: str | None = None
    email: str | None = None
    seller: str | None = None
    card_country: str | None = None
    network_country: str | None = None
    address_country: str | None = None
    came_directly: bool | None = None
    extra: dict[str, float] = field(default_factory=dict)

    def things(self) -> dict[Kind, str]:
        """All that the order is linked to, by kind."""
        return {kind: key for kind in KINDS if (key := getattr(self, kind)) is not None}


class Seen(Struct, frozen=True):
    """What is known of one account, device, card, ... from the orders strictly before an attempt.

    `recent` counts the orders within each of `WINDOWS`; `accounts`, `devices`, `cards` and `addresses` count what it was
    seen with. `frauds` are those of its orders that were known to be fraud by then.
    """

    orders: int = 0
    recent: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
    first_seconds: float | None = None
    last_seconds: float | None = None
    frauds: int = 0
    fraud_seconds: float | None = None
    accounts: int = 0
    devices: int = 0
    cards: int = 0
    addresses: int = 0


class Ring(Struct, frozen=True):
    """Who shares what an attempt is made with.

    `hops` to known fraud: 1 when a thing of the attempt's own was in such an order, 2 when one that was seen with it was,
    3 one further, None when none was found. `accounts` other than the attempt's own share `things` of its own; `links` are
    those between the two.
    """

    hops: int | None = None
    accounts: int = 0
    things: int = 0
    links: int = 0

    @property
    def density(self) -> float:
        """How much of all that these accounts could share is shared, 0 to 1."""
        possible = self.accounts * self.things
        return self.links / possible if possible else 0.0


class Amounts(Struct, frozen=True):
    """What the account's orders came to, in minor units."""

    count: int = 0
    mean: float = 0.0
    deviation: float = 0.0
    last: int = 0


class Past(Struct, frozen=True):
    """All that an attempt is judged by beside itself. `with_device` and such: the account's orders with just this one."""

    account: Seen = Seen()
    device: Seen = Seen()
    card: Seen = Seen()
    address: Seen = Seen()
    network: Seen = Seen()
    email: Seen = Seen()
    seller: Seen = Seen()
    ring: Ring = Ring()
    amounts: Amounts = Amounts()
    with_device: int = 0
    with_card: int = 0
    with_address: int = 0
    with_email: int = 0


class Known(Struct, frozen=True):
    """What is known about an attempt when it is made; `account_made_at` in microseconds, None for a guest."""

    past: Past = Past()
    account_made_at: int | None = None


class Origin(Struct, frozen=True):
    """Where a wish to buy came from: the device's digest, the network as /24 or /48, its country; None is not known."""

    device: str | None = None
    network: str | None = None
    country: str | None = None


class Lesson(Struct, frozen=True):
    """A decided order as the graph learns it. `fraud_at`: since when it is known to be fraud, in microseconds, if it is."""

    order_id: int
    number: str
    status: str
    attempt: Attempt
    fraud_at: int | None = None


class Row(Struct, frozen=True):
    """One line of a file of the past: an attempt, and whether it turned out to be fraud."""

    attempt: Attempt
    is_fraud: bool
