"""Choosing a gateway, and what a Stripe intent says in the shop's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from securecart import payments, settings
from securecart.cli.engines import _harmless
from securecart.engines import Home, stores
from securecart.errors import BadInput
from securecart.payments.stripe_gateway import Intent
from securecart.settings import Settings
from securecart.web.storefront.checkout import cards_of

METHOD = {"card": {"brand": "visa", "last4": "4242", "fingerprint": "fp", "country": "FR"}}
FAILED = {"code": "card_declined", "decline_code": "insufficient_funds", "payment_method": METHOD}


def said(**intent: Any) -> payments.Charge:
    return msgspec.convert({"id": "pi_1", **intent}, Intent).word


@pytest.mark.parametrize(
    ("intent", "status"),
    [
        ({"status": "requires_payment_method"}, "waiting"),
        ({"status": "requires_payment_method", "last_payment_error": FAILED}, "declined"),
        ({"status": "requires_confirmation"}, "waiting"),
        ({"status": "requires_action", "client_secret": "s"}, "waiting"),
        ({"status": "processing"}, "waiting"),
        ({"status": "requires_capture", "payment_method": METHOD}, "authorised"),
        ({"status": "succeeded", "last_payment_error": FAILED}, "captured"),
        ({"status": "canceled"}, "closed"),
        ({"status": "canceled", "last_payment_error": FAILED}, "declined"),
    ],
)
def test_each_state_of_an_intent_is_one_of_the_shops_words(intent: dict[str, Any], status: str) -> None:
    assert said(**intent).status == status


def test_only_a_buyer_who_has_to_act_is_told_the_client_secret() -> None:
    assert said(status="requires_action", client_secret="s").action == {"type": "stripe", "client_secret": "s"}
    assert said(status="processing", client_secret="s").action is None


def test_the_card_is_told_from_the_charge_the_method_or_the_failure() -> None:
    charge = {"amount_refunded": 5, "payment_method_details": METHOD}
    captured = said(status="succeeded", latest_charge=charge, payment_method={"card": None})
    assert (captured.card.last4, captured.refunded_minor) == ("4242", 5)
    assert said(status="requires_capture", payment_method=METHOD).card == payments.Card("visa", "4242", "fp", "FR")
    declined = said(status="canceled", last_payment_error=FAILED)
    assert (declined.card.brand, declined.decline_reason) == ("visa", "insufficient_funds")


@pytest.mark.parametrize(("given", "missing"), [({}, "KEY"), ({"STRIPE_KEY": "sk_test_x"}, "WEBHOOK_SECRET")])
def test_stripe_without_its_secrets_says_which_setting_is_missing(tmp_path: Path, given: dict[str, str], missing: str) -> None:
    environ = {f"SECURECART_{name}": value for name, value in {"GATEWAY": "stripe", **given}.items()}
    with pytest.raises(BadInput, match=f"SECURECART_STRIPE_{missing}"):
        settings.load(str(tmp_path), environ)


def test_with_stripe_no_sandbox_is_started(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert "gateway" in {engine.name for engine in stores(home, Settings())}
    assert "gateway" not in {engine.name for engine in stores(home, Settings(gateway="stripe"))}


def test_secrets_are_not_shown() -> None:
    assert {_harmless(name, "whsec_secret") for name in ("stripe_key", "stripe_webhook_secret")} == {"(set)"}
    assert _harmless("stripe_webhook_secret", "") == ""


def test_the_storefront_offers_test_cards_only_where_no_real_money_is_asked_for() -> None:
    offered = {
        gateway: {card.token.partition("_")[0] for card in cards_of(Settings(gateway=gateway, stripe_key=key))}  # type: ignore[arg-type]
        for gateway, key in (("sandbox", ""), ("stripe", "sk_test_x"))
    }
    assert offered == {"sandbox": {"tok"}, "stripe": {"pm"}}
    assert cards_of(Settings(gateway="stripe", stripe_key="sk_live_x")) == ()
