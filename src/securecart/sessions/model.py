"""A session, the hash it is kept under, and the token that proves a form came from one of our pages."""

from __future__ import annotations

import hashlib
import hmac
from uuid import UUID

from msgspec import Struct

__all__ = ["Session", "csrf_matches", "csrf_token", "hash_of", "is_due"]

DAY_S = 86_400
_CSRF = b"securecart csrf token"


class Session(Struct, frozen=True):
    """A shopper as a request brings them; `token` is the secret and is never stored or logged."""

    token: str
    shopper_id: str
    account_id: UUID | None
    email: str
    name: str
    staff: bool
    expires_at: int

    def __repr__(self) -> str:
        return f"Session({self.shopper_id}, expires_at={self.expires_at})"


def hash_of(token: str) -> str:
    """The key a token's session is stored under: SHA-256 in hex."""
    return hashlib.sha256(token.encode()).hexdigest()


def csrf_token(token: str) -> str:
    """What a form sends beside the cookie: an HMAC keyed by the session's token, so it needs no storage."""
    return hmac.new(token.encode(), _CSRF, hashlib.sha256).hexdigest()


def csrf_matches(token: str, given: str) -> bool:
    """Whether `given` is the session's CSRF token, compared in constant time."""
    return hmac.compare_digest(csrf_token(token).encode(), given.encode())


def is_due(expires_at: int, now: int, *, days: int) -> bool:
    """Whether a day (for a session of one day: half of it) has passed since the expiry was last moved."""
    life = days * DAY_S
    return now - (expires_at - life) >= min(DAY_S, life // 2)
