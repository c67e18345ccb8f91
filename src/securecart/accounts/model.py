"""The noun: an account."""

from __future__ import annotations

from uuid import UUID

from msgspec import Struct


class Account(Struct, frozen=True):
    """Somebody known to the shop; `staff` may refund and see every order."""

    id: UUID
    email: str
    name: str
    staff: bool


class Credentials(Struct, frozen=True):
    """An account and what its password is checked against."""

    id: UUID
    email: str
    name: str
    staff: bool
    password_hash: str
