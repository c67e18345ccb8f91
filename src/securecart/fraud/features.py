"""What the model looks at: one table, the same for a replay of files and for a checkout.

A count is taken as log(1 + count), so that the step from 1 to 2 weighs more than that from 101 to 102. A time is taken as
closeness, log((1 + most) / (1 + seconds)): greater for what was a moment ago, 0 from `most` seconds on. What is not known or
never was is 0 throughout.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, expm1, log, log1p

from msgspec import Struct

from securecart.fraud.model import DAY, MICROSECONDS, Attempt, Past, Seen
from securecart.values import CURRENCIES

IN_HOUR, IN_DAY = 1, 2  # places in `Seen.recent`
QUICK_SECONDS = 60 * DAY
YOUNG_SECONDS = DAY
NEAR = 4  # steps to known fraud from which on it is not near
SHARE_PRIOR = 0.1  # a seller of whom nothing is known counts as one order, a tenth of it fraud


class Feature(Struct, frozen=True):
    """One thing the model looks at: its name, how it is worked out, and how it is said; `{}` in `words` is what `told` makes."""

    name: str
    of: Callable[[Attempt, Past], float]
    words: str
    told: Callable[[float], str] = lambda _: ""


def features(attempt: Attempt, past: Past) -> tuple[float, ...]:
    """The numbers that a model scores, in the order of `FEATURES`."""
    return tuple(feature.of(attempt, past) for feature in FEATURES)


def _close(seconds: float | None, most: int) -> float:
    return 0.0 if seconds is None else max(0.0, log((1 + most) / (1 + max(0.0, seconds))))


def _share(seen: Seen) -> float:
    """How a seller's part of fraud compares to that of one of whom nothing is known, as a logarithm."""
    return log((seen.frauds + SHARE_PRIOR) / (seen.orders + 1) / SHARE_PRIOR)


def _others(seen: Seen, together: int) -> float:
    """How many accounts beside the attempt's own it was seen with, as a count."""
    return log1p(seen.accounts - (together > 0))


def _account_seconds(attempt: Attempt) -> float | None:
    return None if attempt.account_made_at is None else (attempt.at - attempt.account_made_at) / MICROSECONDS


def _amount(attempt: Attempt) -> float:
    digits, _ = CURRENCIES.get(attempt.currency, (2, ""))
    return log1p(max(0, attempt.amount_minor) / 10**digits)


def _amount_above(attempt: Attempt, past: Past) -> float:
    """How far the amount is above the account's mean and its usual spread, as a logarithm."""
    usual = past.amounts.mean + past.amounts.deviation
    return max(0.0, log((1 + attempt.amount_minor) / (1 + usual))) if past.amounts.count else 0.0


def _countries(attempt: Attempt) -> float:
    """Pairs of card, network and address that are of different countries."""
    known = [one for one in (attempt.card_country, attempt.network_country, attempt.address_country) if one is not None]
    return float(sum(a != b for place, a in enumerate(known) for b in known[place + 1 :]))


def _count_told(value: float) -> str:
    return f"{round(expm1(value)):,}"


def _close_told(most: int) -> Callable[[float], str]:
    def told(value: float) -> str:
        seconds = (1 + most) / exp(value) - 1
        for unit, length in (("days", DAY), ("hours", 3_600), ("minutes", 60)):
            if seconds >= 2 * length:
                return f"{seconds / length:.0f} {unit}"
        return f"{seconds:.0f} seconds"

    return told


def _times_told(value: float) -> str:
    return f"{exp(value):.1f}"


def _number_told(value: float) -> str:
    return f"{value:.0f}"


def _steps_told(value: float) -> str:
    return f"{NEAR - value:.0f}"


def _near(past: Past) -> float:
    return float(NEAR - past.ring.hops) if past.ring.hops else 0.0


FEATURES: tuple[Feature, ...] = (
    Feature("account_orders", lambda _, p: log1p(p.account.orders), "orders of this account before: {}", _count_told),
    Feature("account_day", lambda _, p: log1p(p.account.recent[IN_DAY]), "orders of this account within a day: {}", _count_told),
    Feature(
        "account_quick",
        lambda _, p: _close(p.account.last_seconds, QUICK_SECONDS),
        "this account ordered only {} ago",
        _close_told(QUICK_SECONDS),
    ),
    Feature("account_cards", lambda _, p: log1p(p.account.cards), "cards this account used before: {}", _count_told),
    Feature("account_devices", lambda _, p: log1p(p.account.devices), "devices this account used before: {}", _count_told),
    Feature("account_addresses", lambda _, p: log1p(p.account.addresses), "addresses this account used before: {}", _count_told),
    Feature("account_frauds", lambda _, p: log1p(p.account.frauds), "known fraud among this account's orders: {}", _count_told),
    Feature(
        "account_young",
        lambda a, _: _close(_account_seconds(a), YOUNG_SECONDS),
        "the account is only {} old",
        _close_told(YOUNG_SECONDS),
    ),
    Feature("device_unknown", lambda a, _: float(a.device is None), "the device is not known"),
    Feature(
        "device_accounts",
        lambda _, p: _others(p.device, p.with_device),
        "other accounts that used this device before: {}",
        _count_told,
    ),
    Feature("device_cards", lambda _, p: log1p(p.device.cards), "cards that were used on this device before: {}", _count_told),
    Feature("device_day", lambda _, p: log1p(p.device.recent[IN_DAY]), "orders from this device within a day: {}", _count_told),
    Feature(
        "device_quick",
        lambda _, p: _close(p.device.last_seconds, QUICK_SECONDS),
        "this device ordered only {} ago",
        _close_told(QUICK_SECONDS),
    ),
    Feature("device_frauds", lambda _, p: log1p(p.device.frauds), "known fraud from this device: {}", _count_told),
    Feature("card_new", lambda _, p: float(p.account.cards > 0 and not p.with_card), "the account's first order with this card"),
    Feature("card_day", lambda _, p: log1p(p.card.recent[IN_DAY]), "orders with this card within a day: {}", _count_told),
    Feature(
        "card_accounts", lambda _, p: _others(p.card, p.with_card), "other accounts that used this card before: {}", _count_told
    ),
    Feature("card_frauds", lambda _, p: log1p(p.card.frauds), "known fraud with this card: {}", _count_told),
    Feature(
        "address_accounts",
        lambda _, p: _others(p.address, p.with_address),
        "other accounts that sent to this address: {}",
        _count_told,
    ),
    Feature("address_cards", lambda _, p: log1p(p.address.cards), "cards that paid for this address: {}", _count_told),
    Feature("address_frauds", lambda _, p: log1p(p.address.frauds), "known fraud sent to this address: {}", _count_told),
    Feature(
        "email_accounts",
        lambda _, p: _others(p.email, p.with_email),
        "other accounts that used this e-mail address: {}",
        _count_told,
    ),
    Feature("email_frauds", lambda _, p: log1p(p.email.frauds), "known fraud with this e-mail address: {}", _count_told),
    Feature("network_burst", lambda _, p: log1p(p.network.recent[IN_HOUR]), "orders of this network in an hour: {}", _count_told),
    Feature("network_frauds", lambda _, p: log1p(p.network.frauds), "known fraud from this network: {}", _count_told),
    Feature("seller_day", lambda _, p: log1p(p.seller.recent[IN_DAY]), "orders at this seller within a day: {}", _count_told),
    Feature("seller_share", lambda _, p: _share(p.seller), "this seller's part of fraud is {} times the usual", _times_told),
    Feature("fraud_near", lambda _, p: _near(p), "steps to known fraud: {}", _steps_told),
    Feature("ring_accounts", lambda _, p: log1p(p.ring.accounts), "other accounts reachable over shared things: {}", _count_told),
    Feature("ring_density", lambda _, p: p.ring.density, "{} of what those accounts could share is shared", lambda v: f"{v:.0%}"),
    Feature("amount", lambda a, _: _amount(a), "the amount is about {}", _count_told),
    Feature("amount_above", _amount_above, "the amount is {} times what this account usually spends", _times_told),
    Feature(
        "countries", lambda a, _: _countries(a), "pairs of card, network and address in different countries: {}", _number_told
    ),
    Feature("came_directly", lambda a, _: float(bool(a.came_directly)), "the shopper came by no link"),
)

FEATURE_NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)
