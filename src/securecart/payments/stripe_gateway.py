"""Stripe as the shop's gateway.

A payment is a PaymentIntent whose metadata carries the reference. It is created under an idempotency key made of the
reference, with a body that depends on nothing but the order, so creating it again is how it is found, and an intent that
was never created can be created just to be cancelled: then nothing can be charged under the reference any more. Stripe
keeps such keys for a day; an older intent is searched for by its metadata.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Literal

import aiohttp
import msgspec
import stripe
from msgspec import Struct

from securecart.errors import BadInput, BadSignature, GatewayAway
from securecart.patience import GATEWAY
from securecart.payments.model import Card, Charge, Kind, Notice, Refunded, is_token
from securecart.telemetry import log
from securecart.values import Money

KEYS_KEPT = timedelta(hours=23)  # Stripe says 24; the hour is for clocks that disagree
RETRIES = GATEWAY.tries - 1  # under the same idempotency key, so a retry moves no money twice
METADATA_LENGTH_MAX = 500
NOT_NOW = frozenset({"balance_insufficient"})
NEVER_CREATED = frozenset({"amount_too_small", "amount_too_large"})
WRITTEN_OUT = ["latest_charge", "payment_method"]
DISPUTE = "charge.dispute.created"
KINDS: dict[str, Kind] = {
    "payment_intent.succeeded": "charged",
    "payment_intent.amount_capturable_updated": "charged",
    "payment_intent.payment_failed": "ended",
    "payment_intent.canceled": "ended",
    "charge.refunded": "refunded",
    "radar.early_fraud_warning.created": "suspected",
}


class StripeCard(Struct, frozen=True):
    """What Stripe tells of a card."""

    brand: str = ""
    last4: str = ""
    fingerprint: str | None = None
    country: str | None = None

    @property
    def told(self) -> Card:
        """The card in the shop's words."""
        return Card(self.brand, self.last4, self.fingerprint or "", self.country or "")


class Method(Struct, frozen=True):
    """A PaymentMethod, or what a charge keeps of one."""

    card: StripeCard | None = None


class Taken(Struct, frozen=True):
    """A charge of an intent; amounts in minor units."""

    amount_refunded: int = 0
    payment_method_details: Method | None = None


class Failure(Struct, frozen=True):
    """Why the last attempt to charge failed."""

    code: str | None = None
    decline_code: str | None = None
    payment_method: Method | None = None


class Intent(Struct, frozen=True):
    """A PaymentIntent with its charge and method written out."""

    id: str
    status: Literal[
        "requires_payment_method",
        "requires_confirmation",
        "requires_action",
        "processing",
        "requires_capture",
        "canceled",
        "succeeded",
    ]
    client_secret: str | None = None
    latest_charge: Taken | None = None
    payment_method: Method | None = None
    last_payment_error: Failure | None = None

    @property
    def word(self) -> Charge:
        """What this intent says at the moment."""
        failure = self.last_payment_error
        match self.status:
            case "succeeded":
                refunded = self.latest_charge.amount_refunded if self.latest_charge else 0
                return Charge("captured", self.id, self._card, refunded_minor=refunded)
            case "requires_capture":
                return Charge("authorised", self.id, self._card)
            case "requires_payment_method" | "canceled" if failure:
                reason = failure.decline_code or failure.code or "card_declined"
                return Charge("declined", self.id, self._card, reason)
            case "canceled":
                return Charge("closed", self.id, self._card)
            case "requires_action":
                return Charge("waiting", self.id, self._card, action={"type": "stripe", "client_secret": self.client_secret})
        return Charge("waiting", self.id, self._card)

    @property
    def is_final(self) -> bool:
        """Whether nobody but the shop can change it any more."""
        return self.status in {"succeeded", "requires_capture", "canceled"}

    @property
    def _card(self) -> Card:
        methods = (
            self.latest_charge.payment_method_details if self.latest_charge else None,
            self.payment_method,
            self.last_payment_error.payment_method if self.last_payment_error else None,
        )
        return next((method.card.told for method in methods if method is not None and method.card is not None), Card())


class Subject(Struct, frozen=True):
    """What a notice is about: an intent, or a charge, to which Stripe copies the metadata of its intent.

    A dispute and a warning have metadata of their own, and name the intent; a dispute has a reason, and says by its status
    whether money was taken back or the bank only inquires.
    """

    metadata: dict[str, str] = {}
    payment_intent: str | None = None
    reason: str | None = None
    status: str | None = None

    @property
    def dispute(self) -> Kind | None:
        """What a dispute says about the order; None for an inquiry that is not about fraud."""
        only_asks = (self.status or "").startswith("warning_")
        if self.reason == "fraudulent":
            return "suspected" if only_asks else "disputed"
        return None if only_asks else "contested"


class Envelope(Struct, frozen=True):
    """What the subject is wrapped in."""

    object: Subject


class Event(Struct, frozen=True):
    """A notice as Stripe writes it."""

    id: str
    type: str
    data: Envelope


class StripeGateway:
    """Stripe, under the secret key of one account."""

    name = "stripe"

    def __init__(self, key: str, webhook_secret: str, *, url: str, timeout_s: float) -> None:
        self._webhook_secret = webhook_secret
        self._timeout_s = timeout_s
        self._http = stripe.AIOHTTPClient(timeout=timeout_s)
        self._client = stripe.StripeClient(
            key, http_client=self._http, max_network_retries=RETRIES, base_addresses={"api": url} if url else {}
        ).v1

    async def cards(self, tokens: Sequence[str]) -> list[Card | None]:
        """Which card each PaymentMethod is, asked at once; None for one that Stripe does not know, or that is no card."""
        return list(await asyncio.gather(*map(self._card, tokens)))

    async def authorise(self, reference: str, amount: Money, token: str, *, capture: bool) -> Charge:
        """Charge the PaymentMethod `token`, once per reference; without `capture` the money is only promised."""
        async with self._asking(reference):
            try:
                intent_id = await self._create(reference, amount)
            except stripe.InvalidRequestError as error:  # such as an amount below Stripe's least: nothing was created
                return _refused(error)
            try:
                word = (await self._confirm(intent_id, reference, token, capture=capture)).word
            except stripe.CardError:
                word = Charge("declined")
            except stripe.InvalidRequestError as error:  # no such PaymentMethod, or the intent was cancelled meanwhile
                word = _refused(error)
            if word.status != "declined":
                return word
            ended = await self._end(intent_id)  # a declined intent could be tried again with another card
            return word if ended.status == "closed" else ended

    async def capture(self, payment_id: str, *, amount_minor: int, key: str) -> Charge:
        """Take promised money; `closed` when the promise had ended before, as Stripe's do after seven days."""
        async with self._asking(payment_id):
            try:
                return _intent(
                    await self._client.payment_intents.capture_async(
                        payment_id, {"amount_to_capture": amount_minor, "expand": WRITTEN_OUT}, {"idempotency_key": key}
                    )
                ).word
            except stripe.InvalidRequestError:
                return (await self._retrieve(payment_id)).word

    async def void(self, payment_id: str, *, key: str) -> Charge:  # noqa: ARG002 - cancelling twice is cancelling once
        """Give a promise up; `captured` when the money had been taken before."""
        async with self._asking(payment_id):
            intent = await self._retrieve(payment_id)
            if intent.status == "requires_capture":
                intent = await self._cancel(payment_id)
            return intent.word

    async def refund(self, payment_id: str, amount_minor: int, *, reason: str, key: str) -> Refunded:
        """Give money back, once per key; `BadInput` when Stripe never will."""
        async with self._asking(payment_id):
            metadata = {"reason": reason[:METADATA_LENGTH_MAX]}
            try:
                refund = await self._client.refunds.create_async(
                    {"payment_intent": payment_id, "amount": amount_minor, "metadata": metadata},
                    {"idempotency_key": f"{payment_id}-{key}"},
                )
            except stripe.InvalidRequestError as error:
                if error.code in NOT_NOW:
                    raise GatewayAway(store="card gateway", retry_after=60) from error
                raise BadInput(problem=f"Stripe refused the refund: {error.user_message}") from error
            return Refunded(refund.id)

    async def look(self, reference: str, amount: Money, *, since: datetime) -> Charge:
        """What has become of the reference; a declined payment can still be tried again until it is concluded."""
        async with self._asking(reference):
            intent_id = await self._find(reference, amount, since)
            return Charge("waiting") if intent_id is None else (await self._retrieve(intent_id)).word

    async def conclude(self, reference: str, amount: Money, *, since: datetime) -> Charge:
        """The last word: the money that there is, or an intent that is cancelled for good."""
        async with self._asking(reference):
            intent_id = await self._find(reference, amount, since)
            return Charge("closed") if intent_id is None else await self._end(intent_id)

    async def reference_of(self, payment_id: str) -> str | None:
        """The reference in an intent's metadata; None for one that is not there, or not of this shop."""
        async with self._asking("whose an intent is"):
            try:
                found = await self._client.payment_intents.retrieve_async(payment_id)
            except stripe.InvalidRequestError as error:
                if _is_missing(error):
                    return None
                raise
        return msgspec.convert(found.to_dict(), Subject).metadata.get("reference")

    def notice(self, body: bytes, signature: str) -> Notice | None:
        """A notice about a payment of this shop; `BadSignature` when Stripe did not sign it within five minutes."""
        try:
            stripe.WebhookSignature.verify_header(body, signature, self._webhook_secret, stripe.Webhook.DEFAULT_TOLERANCE)
            event = msgspec.json.decode(body, type=Event)
        except (stripe.SignatureVerificationError, ValueError) as error:  # ValueError: not text, or not an event
            raise BadSignature(problem="The signature of this notice is wrong or too old.") from error
        reference = event.data.object.metadata.get("reference", "")
        kind = event.data.object.dispute if event.type == DISPUTE else KINDS.get(event.type)
        intent = (event.data.object.payment_intent or "") if kind in {"disputed", "contested", "suspected"} else ""
        return Notice(event.id, kind, reference, intent) if kind and (reference or intent) else None

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close_async()  # type: ignore[no-untyped-call]

    async def _card(self, token: str) -> Card | None:
        if not is_token(token):
            return None
        async with self._asking("a card"):  # the token is a secret: it is not logged
            try:
                found = await self._client.payment_methods.retrieve_async(token)
            except stripe.InvalidRequestError as error:
                if _is_missing(error):
                    return None
                raise
        method = msgspec.convert(found.to_dict(), Method)
        return None if method.card is None else method.card.told

    async def _create(self, reference: str, amount: Money) -> str:
        """The id of the reference's intent, new or not; the body names nothing that could differ the next time."""
        intent = await self._client.payment_intents.create_async(
            {
                "amount": amount.amount_minor,
                "currency": amount.currency.lower(),
                "allowed_payment_method_types": ["card"],
                "metadata": {"reference": reference},
            },
            {"idempotency_key": f"create-{reference}"},
        )
        return intent.id

    async def _confirm(self, intent_id: str, reference: str, token: str, *, capture: bool) -> Intent:
        return _intent(
            await self._client.payment_intents.confirm_async(
                intent_id,
                {
                    "payment_method": token,
                    "capture_method": "automatic" if capture else "manual",
                    "use_stripe_sdk": True,  # what the buyer must do then happens on the shop's page, with Stripe.js
                    "expand": WRITTEN_OUT,
                },
                {"idempotency_key": f"confirm-{reference}"},
            )
        )

    async def _find(self, reference: str, amount: Money, since: datetime) -> str | None:
        """The id of the reference's intent; None when there is none and can be none any more."""
        is_young = datetime.now(UTC) - since < KEYS_KEPT
        if is_young:
            try:
                return await self._create(reference, amount)
            except (stripe.IdempotencyError, stripe.APIError, stripe.InvalidRequestError) as error:
                if error.code in NEVER_CREATED:
                    return None
                # Stripe repeats whatever it answered first, a failure too; the intent may be there all the same
                log.warning("stripe's answer does not name the intent, searching", order=reference, why=error.user_message)
        query = f"metadata['reference']:'{reference}'"
        found = (await self._client.payment_intents.search_async({"query": query})).data
        if not found and is_young:  # the search learns of a new intent within a minute: it may be missing here
            raise GatewayAway(store="card gateway", retry_after=60)
        with_money = [intent.id for intent in found if intent.status in {"succeeded", "requires_capture"}]
        return next(iter(with_money + [intent.id for intent in found]), None)

    async def _end(self, intent_id: str) -> Charge:
        """Cancel the intent, or find that it holds money; `GatewayAway` while it can be neither."""
        intent = await self._retrieve(intent_id)
        if not intent.is_final:
            intent = await self._cancel(intent_id)
        if not intent.is_final:
            raise GatewayAway(store="card gateway", retry_after=60)
        return intent.word

    async def _cancel(self, intent_id: str) -> Intent:
        """The intent after an attempt to cancel it, which comes too late when it has succeeded meanwhile."""
        try:
            return _intent(await self._client.payment_intents.cancel_async(intent_id, {"expand": WRITTEN_OUT}))
        except stripe.InvalidRequestError:
            return await self._retrieve(intent_id)

    async def _retrieve(self, intent_id: str) -> Intent:
        return _intent(await self._client.payment_intents.retrieve_async(intent_id, {"expand": WRITTEN_OUT}))

    @asynccontextmanager
    async def _asking(self, about: str) -> AsyncIterator[None]:
        """Whatever is no answer to what was asked becomes `GatewayAway`: it will be asked again."""
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except (stripe.AuthenticationError, stripe.PermissionError, stripe.InvalidRequestError, stripe.IdempotencyError) as error:
            log.error("stripe refuses the shop's call", about=about, code=error.code, why=error.user_message)
            raise GatewayAway(store="card gateway", retry_after=60) from error
        except (stripe.StripeError, aiohttp.ClientError, OSError, TimeoutError) as error:
            raise GatewayAway(store="card gateway", retry_after=2) from error


def _intent(answer: stripe.PaymentIntent) -> Intent:
    return msgspec.convert(answer.to_dict(), Intent)


def _is_missing(error: stripe.InvalidRequestError) -> bool:
    return error.code == "resource_missing" or error.http_status == HTTPStatus.NOT_FOUND


def _refused(error: stripe.InvalidRequestError) -> Charge:
    return Charge("declined", decline_reason=error.code or "refused")
