"""What an order costs: pure rules over prices, tax rates and shipping methods.

Tax is worked out line by line on the whole line's amount and rounded half up to the minor unit, shipping
likewise at the standard rate. Where a country's prices include tax, the tax is the part that is inside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from msgspec import Meta, Struct

from securecart import fraud
from securecart.catalog import PricedItem
from securecart.errors import BadInput
from securecart.orders import BOUGHT, Decision, NewOrder, Status
from securecart.payments import Charge
from securecart.values import Address, CountryCode, CurrencyCode, Line, Money

STANDARD = "standard"
# what the gateway's word makes of a pending order, and what its history says
OUTCOMES: dict[str, tuple[Status, str]] = {
    "captured": ("paid", "Payment received."),
    "authorised": ("authorised", "Payment authorised; it is captured when the goods are shipped."),
    "declined": ("declined", "Payment declined: {reason}."),
    "closed": ("cancelled", "No payment arrived in time; nothing was charged."),
}
PPM = 1_000_000
# what the history of an order says that a person looks at first
HELD = "Payment authorised; the order is being checked before it goes on."
# why the shop itself did not accept an order, without saying what it looked at
NOT_ACCEPTED = Charge("declined", decline_reason="not_accepted")
REVIEW_S = 48 * 3600.0
# what no gateway is asked for
NOTHING_TO_PAY = Charge("captured", "nothing-to-pay")


class Pace(Struct, frozen=True):
    """When money is taken, and how long is waited for it (seconds).

    `reservation_s` passes before the sweeper asks about a payment that nobody heard of, `buyer_s` when the buyer has to answer
    the bank's question. Money is captured with the order, or only promised until the goods leave the house. A held order that
    nobody decides on for `review_s` is taken back, or goes on.
    """

    reservation_s: int
    buyer_s: int = 900
    captures_at_once: bool = True
    review_s: float = REVIEW_S
    lapsed_go_on: bool = False


class PlaceOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """A shopper's wish to buy what is in the cart. It names no price: the catalogue does."""

    email: Annotated[str, Meta(pattern=r"^[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+\.[^@\s\x00-\x1f]+$", max_length=254)]
    shipping_address: Address
    shipping_method: Annotated[str, Meta(max_length=50)]
    payment_token: Annotated[str, Meta(min_length=1, max_length=200)]
    billing_address: Address | None = None
    currency: CurrencyCode | None = None
    expected_total_minor: int | None = None


class AskQuote(Struct, frozen=True, forbid_unknown_fields=True):
    """The question what the cart would cost, shipped to a country."""

    country: CountryCode
    currency: CurrencyCode
    shipping_method: str | None = None


class ShippingMethod(Struct, frozen=True):
    """A way to ship, and its price for this cart."""

    code: str
    name: str
    price: Money


class TaxRate(Struct, frozen=True):
    """A country's rate for a class of goods, in parts per million; `included` when prices contain it already."""

    tax_class: str
    rate_ppm: int
    included: bool


class ShippingRate(Struct, frozen=True):
    """A row of the shipping table; free from goods worth `free_from_minor` when that is set."""

    code: str
    name: str
    price_minor: int
    free_from_minor: int | None


class Rates(Struct, frozen=True):
    """What tax and shipping cost for a country and a currency."""

    country: str
    currency: str
    taxes: tuple[TaxRate, ...]
    shipping: tuple[ShippingRate, ...]


class Question(Struct, frozen=True):
    """Which prices are wanted: of these SKUs, shipped to this country, in this currency."""

    skus: tuple[str, ...]
    country: str
    currency: str


class Cost(Struct, frozen=True):
    """What the goods of a question (and perhaps others) cost, and tax and shipping; what is not sold is missing."""

    items: Mapping[str, PricedItem]
    rates: Rates


class Opening(Struct, frozen=True):
    """An order to be opened, and what was said of it before."""

    order: NewOrder
    assessed: fraud.Assessed | None = None

    @property
    def verdict(self) -> fraud.Decision:
        """What is to be done with it; an order that nobody judged is accepted."""
        return "accept" if self.assessed is None else self.assessed.judgement.verdict


class Settlement(Struct, frozen=True):
    """The gateway's word on a pending order; `note` is for the order's history, where the usual sentence will not do."""

    order_id: int
    charge: Charge
    note: str = ""

    @property
    def is_bought(self) -> bool:
        """Whether the goods are the buyer's by it."""
        return OUTCOMES[self.charge.status][0] in BOUGHT

    @property
    def decision(self) -> Decision:
        """What the order becomes by it."""
        status, usual = OUTCOMES[self.charge.status]
        reason = (self.charge.decline_reason or "").replace("_", " ")
        return Decision(self.order_id, status, self.note or usual.format(reason=reason))


class QuotedLine(Struct, frozen=True):
    """A line of the cart with its price and the tax on the whole line."""

    sku: str
    title: str
    quantity: int
    unit_price: Money
    tax: Money
    total: Money


class Quote(Struct, frozen=True):
    """What the cart costs in all; `tax` is inside the other amounts where `tax_included`."""

    currency: str
    lines: tuple[QuotedLine, ...]
    subtotal: Money
    shipping_method: str
    shipping: Money
    tax: Money
    tax_included: bool
    total: Money
    methods: tuple[ShippingMethod, ...]


def total_up(
    lines: Sequence[Line],
    items: Mapping[str, PricedItem],
    taxes: Sequence[TaxRate],
    shipping: Sequence[ShippingRate],
    ask: AskQuote,
) -> Quote:
    """The quote for these lines; `BadInput` names a SKU that is not sold or a shipping method that is not offered."""
    rates = {rate.tax_class: rate.rate_ppm for rate in taxes}
    included = any(rate.included for rate in taxes)
    quoted = tuple(_quote_line(line, items, rates, included=included) for line in lines)
    subtotal = sum(line.total.amount_minor for line in quoted)
    methods = tuple(ShippingMethod(rate.code, rate.name, Money(_shipping(rate, subtotal), ask.currency)) for rate in shipping)
    chosen = _choose(methods, ask.shipping_method)
    tax = sum(line.tax.amount_minor for line in quoted)
    tax += tax_on(chosen.price.amount_minor, rates.get(STANDARD, 0), included=included)
    total = subtotal + chosen.price.amount_minor + (0 if included else tax)
    return Quote(
        currency=ask.currency,
        lines=quoted,
        subtotal=Money(subtotal, ask.currency),
        shipping_method=chosen.code,
        shipping=chosen.price,
        tax=Money(tax, ask.currency),
        tax_included=included,
        total=Money(total, ask.currency),
        methods=methods,
    )


def tax_on(amount_minor: int, rate_ppm: int, *, included: bool) -> int:
    """The tax on (or inside) an amount, rounded half up to the minor unit."""
    divisor = PPM + rate_ppm if included else PPM
    return (2 * amount_minor * rate_ppm + divisor) // (2 * divisor)


def _quote_line(line: Line, items: Mapping[str, PricedItem], rates: Mapping[str, int], *, included: bool) -> QuotedLine:
    item = items.get(line.sku)
    if item is None:
        raise BadInput(field="lines", problem=f"{line.sku} is not sold any more; take it out of the cart.", sku=line.sku)
    total = line.quantity * item.price.amount_minor
    tax = tax_on(total, rates.get(item.tax_class, 0), included=included)
    currency = item.price.currency
    return QuotedLine(line.sku, item.title, line.quantity, item.price, Money(tax, currency), Money(total, currency))


def _shipping(rate: ShippingRate, subtotal_minor: int) -> int:
    free = rate.free_from_minor is not None and subtotal_minor >= rate.free_from_minor
    return 0 if free else rate.price_minor


def _choose(methods: Sequence[ShippingMethod], code: str | None) -> ShippingMethod:
    for method in methods:
        if code is None or method.code == code:
            return method
    offered = ", ".join(method.code for method in methods) or "none"
    raise BadInput(field="shipping_method", problem=f"Shipping method {code!r} is not offered here; these are: {offered}.")
