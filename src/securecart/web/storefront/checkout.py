"""The checkout's page: one form from address to payment, sent as often as needed and bought once."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from litestar import Response, get, post
from msgspec import Struct

from securecart import accounts, checkout, orders
from securecart.app import Shop
from securecart.checkout import PlaceOrder, Quote
from securecart.checkout.model import AskQuote
from securecart.errors import BadInput, CartEmpty, IdempotencyKeyReused, OutOfStock, SecureCartError, TotalChanged
from securecart.orders import Order
from securecart.sessions import Session
from securecart.settings import Settings
from securecart.telemetry import log
from securecart.web import origins, positions
from securecart.web.countries import COUNTRIES
from securecart.web.limits import limit
from securecart.web.storefront import forms
from securecart.web.storefront.cart import priced_lines
from securecart.web.storefront.forms import Form
from securecart.web.storefront.pages import AnyRequest, Visit, page, see_other, visit_with_cart

__all__ = ["routes"]

FIELDS = {"email", "name", "line1", "line2", "postcode", "city", "region", "country", "shipping_method", "payment_token"}
KEY_LENGTH_MAX = 200


class TestCard(Struct, frozen=True):
    """A test card of the gateway: the token that stands for it, and what happens with it."""

    token: str
    name: str
    outcome: str
    note: str


SANDBOX_CARDS = (
    TestCard("tok_visa", "Visa ending in 4242", "Approved", "The usual case: paid at once."),
    TestCard("tok_mastercard", "Mastercard ending in 4444", "Approved", "Another brand, paid at once."),
    TestCard("tok_slow", "Visa ending in 0101", "Slow", "Approved after two seconds."),
    TestCard("tok_declined", "Visa ending in 0002", "Declined", "The bank says no; nothing is charged."),
    TestCard("tok_insufficient_funds", "Visa ending in 9995", "Declined", "Not enough money on it."),
    TestCard("tok_answer_lost", "Visa ending in 0127", "Answer lost", "Charged, but the answer gets lost; the shop asks again."),
    TestCard("tok_no_answer", "Visa ending in 0119", "No answer", "Nothing is charged; the order ends by itself."),
)
STRIPE_CARDS = (
    TestCard("pm_card_visa", "Visa ending in 4242", "Approved", "The usual case."),
    TestCard("pm_card_mastercard", "Mastercard ending in 4444", "Approved", "Another brand."),
    TestCard("pm_card_chargeCustomerFail", "Visa ending in 0341", "Declined", "The bank says no; nothing is charged."),
)


def cards_of(settings: Settings) -> tuple[TestCard, ...]:
    """What this page can pay with: test cards, and none where real money is asked for (docs/payments.md)."""
    if settings.gateway == "sandbox":
        return SANDBOX_CARDS
    return STRIPE_CARDS if settings.stripe_key.startswith("sk_test_") else ()


@get("/checkout")
async def show(request: AnyRequest, shop: Shop, session: Session | None) -> Response[str]:
    """The form, filled in as far as we know the shopper."""
    here = await visit_with_cart(request, shop, session)
    if session is None or not here.cart.lines:
        return see_other(here, "/cart")
    _, placed = await _key_of(here, session)
    if placed:
        return see_other(here, f"/orders/{placed}")
    return origins.keep_device(request, shop, await _show(here, session, Form(await _known(here, session))))


@post("/checkout/quote", status_code=HTTPStatus.OK, repeatable=True)
async def requote(request: AnyRequest, shop: Shop, session: Session | None) -> Response[str]:
    """The same form with the total for another country or delivery; nothing typed is lost."""
    here = await visit_with_cart(request, shop, session)
    if session is None or not here.cart.lines:
        return see_other(here, "/cart")
    return await _show(here, session, await forms.read(request))


@get("/checkout/quote")
async def back(request: AnyRequest, shop: Shop, session: Session | None) -> Response[str]:
    """Somebody loaded the address of the form again."""
    return see_other(Visit(request, shop, session), "/checkout")


@post("/checkout", guards=[limit("checkout", 60)], status_code=HTTPStatus.OK, repeatable=True)
async def place(request: AnyRequest, shop: Shop, session: Session | None) -> Response[str]:
    """Buy: on to the order when it is placed, back to the form with a sentence beside the field when it is not."""
    here = await visit_with_cart(request, shop, session)
    if session is None:
        return see_other(here, "/cart")
    form = await forms.read(request)
    _check(form, cards_of(shop.settings))
    if form.errors:
        return await _show(here, session, form, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    try:
        order = await checkout.place(
            shop.till,
            session,
            _wish(form),
            form.values["key"],
            currency=shop.settings.currency,
            origin=origins.origin_of(request, shop),
        )
    except CartEmpty:
        return see_other(here, "/cart")
    except (BadInput, OutOfStock, TotalChanged) as error:
        return await _explain(here, session, form, error)
    await positions.leave(shop, request, session)
    if order.status == "declined":
        form.errors["payment_token"] = _declined(order)
        return await _show(here, session, form, status=HTTPStatus.PAYMENT_REQUIRED)
    await _remember(here, session, form)
    return see_other(here, f"/orders/{order.number}?placed=1")


async def _show(here: Visit, session: Session, form: Form, status: int = 200) -> Response[str]:
    shop = here.shop
    lines, missing = await priced_lines(shop, here.cart)
    if missing or not lines:
        return see_other(here, "/cart")
    quote = await _quote(here, form)
    form.values["shipping_method"] = quote.shipping_method
    cards = cards_of(shop.settings)
    form.values.setdefault("payment_token", cards[0].token if cards else "")
    key, _ = await _key_of(here, session)
    facts = {"lines": lines, "quote": quote, "cards": cards, "form": form, "key": key, "countries": list(COUNTRIES.items())}
    return await page(here, "checkout.html", status, **facts)


async def _quote(here: Visit, form: Form) -> Quote:
    """What the cart costs for the chosen country and delivery, or the first delivery where that one is not offered."""
    settings = here.shop.settings
    country = form.values.get("country", "")
    ask = AskQuote(
        country if country in COUNTRIES else settings.country, settings.currency, form.values.get("shipping_method") or None
    )
    try:
        return await checkout.quote(here.shop.till, here.cart, ask)
    except BadInput as error:
        if error.field != "shipping_method":
            raise
        return await checkout.quote(here.shop.till, here.cart, AskQuote(ask.country, ask.currency))


async def _key_of(here: Visit, session: Session) -> tuple[str, str]:
    """The idempotency key for this state of the cart, and the number of an order that it has placed already.

    A declined order uses its key up, so each next try has the next number behind the cart's own key.
    """
    async with here.shop.database.fresh() as fresh:
        for attempt in range(1, 100):
            key = f"{here.cart.change}.{attempt}"
            opened = await orders.find_by_key(fresh, session.shopper_id, key)
            if opened is None or opened.status in {"pending", "authorised", "paid"}:
                return key, opened.number if opened else ""
    raise BadInput(problem="There were too many tries with this cart; change something in it to go on.")


def _check(form: Form, cards: Sequence[TestCard]) -> None:
    forms.check_email(form)
    forms.check_address(form)
    if not form.values.get("shipping_method"):
        form.errors["shipping_method"] = "Choose a delivery."
    if form.values.get("payment_token") not in {card.token for card in cards}:
        form.errors["payment_token"] = "Choose a card."  # noqa: S105 - a sentence
    if not 0 < len(form.values.get("key", "")) <= KEY_LENGTH_MAX:
        form.errors[""] = "This page is old; look at the total and confirm again."


def _wish(form: Form) -> PlaceOrder:
    shown = form.values.get("expected_total_minor", "")
    return PlaceOrder(
        email=form.values["email"],
        shipping_address=forms.address_in(form),
        shipping_method=form.values["shipping_method"],
        payment_token=form.values["payment_token"],
        expected_total_minor=int(shown) if shown.isascii() and shown.isdigit() else None,
    )


async def _explain(here: Visit, session: Session, form: Form, error: SecureCartError) -> Response[str]:
    """The form again with what went wrong, or the order that this very form had placed before."""
    if isinstance(error, IdempotencyKeyReused):
        async with here.shop.database.fresh() as fresh:
            opened = await orders.find_by_key(fresh, session.shopper_id, form.values["key"])
        if opened is not None and opened.status != "declined":
            return see_other(here, f"/orders/{opened.number}?placed=1")
        form.errors[""] = "That card was declined before; look at your choice and confirm again."
    elif isinstance(error, OutOfStock):
        return see_other(here, "/cart?short=1")
    elif isinstance(error, BadInput):
        form.refuse(error, FIELDS)
    else:
        form.errors[""] = error.message
    return await _show(here, session, form, status=error.status)


def _declined(order: Order) -> str:
    reason = order.payment.decline_reason.replace("_", " ") if order.payment else ""
    because = f" ({reason})" if reason not in {"", "card declined"} else ""
    return f"The card was declined{because}; nothing was charged. Choose another card."


async def _known(here: Visit, session: Session) -> dict[str, str]:
    """What an account has told us before; for a guest just the shop's own country."""
    shop = here.shop
    values = {"country": shop.settings.country, "email": session.email, "name": session.name}
    if session.account_id is not None:
        async with shop.database.read(await positions.of(shop, here.request, session)) as read:
            known = await accounts.addresses(read, session.account_id)
        values.update(forms.fill(known[0] if known else None))
    return values


async def _remember(here: Visit, session: Session, form: Form) -> None:
    """Keep the address with the account; the order stands whether or not that works."""
    if session.account_id is None:
        return
    try:
        async with here.shop.database.transaction() as tx:
            await accounts.remember_address(tx, session.account_id, forms.address_in(form))
    except SecureCartError as error:
        log.warning("address not remembered", why=error.message)


routes = [show, requote, back, place]
