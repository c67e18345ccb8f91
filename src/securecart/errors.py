"""Every error that SecureCart raises on purpose.

    SecureCartError                     500
    ├── BadSignature                    400
    ├── BadInput                        422
    │   └── IdempotencyKeyReused        422
    ├── Unauthorized                    401
    ├── PaymentDeclined                 402
    ├── Forbidden                       403
    ├── NotFound                        404
    ├── Conflict                        409
    │   ├── EmailTaken
    │   ├── OutOfStock
    │   ├── CartChanged
    │   ├── CartEmpty
    │   ├── CartBought
    │   ├── TotalChanged
    │   └── OrderStateConflict
    ├── PreconditionFailed              412
    ├── TooManyRequests                 429
    ├── TooBusy                         503
    ├── StoreAway                       503
    │   ├── StoreBusy
    │   └── GatewayAway
    └── OperatorError                   (for the command line: says what to do next)
        ├── EngineFailed
        ├── ClusterRefused
        ├── RecoveryRefused
        ├── ArchiveUnusable
        │   ├── ArchiveAway
        │   ├── ArchiveFull
        │   ├── ArchiveLocked
        │   ├── ArchiveMissing
        │   └── ArchiveDamaged
        ├── StepFailed
        ├── PortTaken
        ├── HomeUnusable
        ├── DiskFull
        ├── DownloadFailed
        ├── NotRunning
        ├── DataMissing
        ├── ShopAway
        ├── BasketRefused
        ├── DrillFailed
        └── NotCaughtUp

A class's docstring is its message; `{names}` in it are filled from the facts given when it is raised,
and the facts travel with the problem document (RFC 9457) that the HTTP doors answer.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar


class SecureCartError(Exception):
    """Something went wrong inside the shop; the request changed nothing it did not say."""

    status: ClassVar[int] = 500

    def __init__(self, *, field: str | None = None, **facts: Any) -> None:
        self.field = field
        self.facts = facts
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """The first paragraph of the docstring with the facts filled in."""
        paragraph = (type(self).__doc__ or "").split("\n\n")[0]
        return " ".join(paragraph.split()).format_map({**self.facts, "field": self.field})

    @classmethod
    def code(cls) -> str:
        """The error's stable name for programs: `OutOfStock` is `out-of-stock`."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", cls.__name__).lower()


class BadSignature(SecureCartError):
    """{problem}"""

    status = 400


class BadInput(SecureCartError):
    """{problem}"""

    status = 422


class IdempotencyKeyReused(BadInput):
    """This Idempotency-Key was used before with a different request; send a new key for a new order."""


class Unauthorized(SecureCartError):
    """{problem}"""

    status = 401


class PaymentDeclined(SecureCartError):
    """The payment was declined ({reason}); nothing was charged. Try another card."""

    status = 402


class Forbidden(SecureCartError):
    """{problem}"""

    status = 403


class NotFound(SecureCartError):
    """There is no {noun} {key!r} here."""

    status = 404


class Conflict(SecureCartError):
    """{problem}"""

    status = 409


class EmailTaken(Conflict):
    """An account with this e-mail address exists already; log in instead."""


class OutOfStock(Conflict):
    """Not enough stock for {skus}; nothing was ordered or charged."""


class CartChanged(Conflict):
    """The cart was changed at the same time from elsewhere; load it again and repeat the change."""


class CartEmpty(Conflict):
    """The cart is empty; put something into it before checking out."""


class CartBought(Conflict):
    """This cart was bought already, with order {number}; put something into it to buy again."""


class TotalChanged(Conflict):
    """The total is {total} now, not what you were shown; look at the new total and confirm again."""


class OrderStateConflict(Conflict):
    """Order {number} is {state}; it cannot be {verb} now."""


class PreconditionFailed(SecureCartError):
    """The {noun} has changed since you read it; read it again and repeat the change."""

    status = 412


class TooManyRequests(SecureCartError):
    """Too many requests; try again in {retry_after} seconds."""

    status = 429


class TooBusy(SecureCartError):
    """The shop has more orders in hand than it can follow up at the moment; try again in {retry_after} seconds."""

    status = 503


class StoreAway(SecureCartError):
    """The {store} cannot be reached at the moment; try again in a few seconds."""

    status = 503


class StoreBusy(StoreAway):
    """The {store} is busy with the very rows that this needs; nothing was changed. Try again in a moment."""


class GatewayAway(StoreAway):
    """The card gateway gave no answer in time; the order stays pending until it is known."""


class OperatorError(SecureCartError):
    """{problem}"""


class EngineFailed(OperatorError):
    """{engine} did not start: {why}. Its log is {log}."""


class ClusterRefused(OperatorError):
    """{problem}"""


class RecoveryRefused(OperatorError):
    """{problem}"""


class ArchiveUnusable(OperatorError):
    """The archive {archive} cannot be used: {why}."""


class ArchiveAway(ArchiveUnusable):
    """The archive {archive} does not answer: {why}. Nothing was changed; try again once it is back."""


class ArchiveFull(ArchiveUnusable):
    """The archive {archive} has no room left. Free some, or let go of older backups with a smaller SECURECART_BACKUP_DAYS."""


class ArchiveLocked(ArchiveUnusable):
    """{name} in the archive {archive} is encrypted, and the key that is set does not open it. Set
    SECURECART_ARCHIVE_KEY to the key that it was written with."""


class ArchiveMissing(ArchiveUnusable):
    """There is no {name} in the archive {archive}."""


class ArchiveDamaged(ArchiveUnusable):
    """{name} in the archive {archive} is damaged: {why}."""


class StepFailed(OperatorError):
    """{problem}"""


class PortTaken(OperatorError):
    """Port {port} of {engine} is taken by another program. Stop that program, or choose another port with \
{setting}=PORT."""


class HomeUnusable(OperatorError):
    """SecureCart cannot use the home folder {home}: {why}. Choose another with --home FOLDER or give \
yourself the permission."""


class DiskFull(OperatorError):
    """The disk that holds {home} has {free_mb} MB left and SecureCart needs {needed_mb} MB. Free some \
space, or choose a home on another disk with --home FOLDER."""


class DownloadFailed(OperatorError):
    """{what} could not be fetched: {why}."""


class NotRunning(OperatorError):
    """No SecureCart runs from {home}. Start it with `securecart up`."""


class DataMissing(OperatorError):
    """{problem}"""


class ShopAway(OperatorError):
    """The shop at {url} gave no answer for {seconds} seconds. Look at `securecart status`, start it with \
`securecart up`, and run the replay again: it goes on where it stopped."""


class BasketRefused(OperatorError):
    """The shop refused basket {basket}: {why} Everything bought so far stays bought."""


class NotCaughtUp(OperatorError):
    """The regions' tables are not the same after {seconds:.0f} seconds: {why}."""


class DrillFailed(OperatorError):
    """The drill could not go on: {why}."""
