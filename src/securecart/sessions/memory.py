"""What a session says, remembered in the cache for a while, so that a visitor is still known while DynamoDB is away."""

from __future__ import annotations

import time
from uuid import UUID

import msgspec
from msgspec import Struct

from securecart.sessions.model import Session, hash_of
from securecart.stores.cache import Cache

__all__ = ["Memory"]

REMEMBERED_S = 900
REMIND_S = 60.0
NOTES_MAX = 20_000


class Said(Struct, frozen=True, array_like=True):
    """All of a session but its token."""

    shopper_id: str
    account_id: UUID | None
    email: str
    name: str
    staff: bool
    expires_at: int


class Memory:
    """Sessions under the hash of their token, each written at most once a minute by this process.

    It is only for reading pages while the sessions' own table gives no answer: what it says may be a quarter of an hour old.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._noted: dict[str, float] = {}
        self._turns = 0

    async def note(self, session: Session) -> None:
        """Remember what the session says now."""
        key, now = _key(session.token), time.monotonic()
        if self._turns != self._cache.breaker.turns:  # the cache has been away, and may have come back empty
            self._turns = self._cache.breaker.turns
            self._noted.clear()
        if now < self._noted.get(key, 0.0):
            return
        if len(self._noted) >= NOTES_MAX:
            self._noted.clear()  # the price is that each is written once more
        self._noted[key] = now + REMIND_S
        said = Said(session.shopper_id, session.account_id, session.email, session.name, session.staff, session.expires_at)
        await self._cache.put(key, msgspec.json.encode(said), seconds=REMEMBERED_S)

    async def recall(self, token: str) -> Session | None:
        """What the token's session said not long ago; None when nobody remembers, or its time is over."""
        kept = await self._cache.get(_key(token))
        if kept is None:
            return None
        try:
            said = msgspec.json.decode(kept, type=Said)
        except msgspec.DecodeError:  # another version wrote it
            return None
        return Session(token, *msgspec.structs.astuple(said)) if said.expires_at > time.time() else None

    async def forget(self, token: str) -> None:
        """The session has ended: remember nothing of it."""
        key = _key(token)
        self._noted.pop(key, None)
        await self._cache.drop([key])


def _key(token: str) -> str:
    return f"session:{hash_of(token)}"
