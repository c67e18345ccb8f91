"""What can be done with an account."""

from __future__ import annotations

import re
from uuid import UUID

import msgspec

from securecart.accounts.model import Account, Credentials
from securecart.accounts.passwords import matches
from securecart.errors import BadInput, EmailTaken, NotFound, Unauthorized
from securecart.events import AccountMade
from securecart.stores.postgres import Database, Read, Transaction, one, statements_of
from securecart.stores.postgres import log as event_log
from securecart.values import Address

SQL = statements_of(__package__)

EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
EMAIL_LENGTH_MAX = 254
NAME_LENGTH_MAX = 200
ADDRESSES_MAX = 20


async def register(tx: Transaction, *, email: str, password_hash: str, name: str) -> Account:
    """A new account; `EmailTaken` when there is one with this e-mail, `BadInput` when it is no e-mail address."""
    account = await one(tx, SQL["register_account"], Account, _normal(email), password_hash, _clean(name))
    if account is None:
        raise EmailTaken(field="email")
    await event_log.publish(tx, [AccountMade(str(account.id))])
    return account


async def authenticate(database: Database, email: str, password: str) -> Account:
    """The account with this e-mail and password; `Unauthorized` does not say which of the two was wrong."""
    known = None
    if _can_be_email(email.strip()):
        async with database.fresh() as fresh:  # who has just changed a password, or registered, logs in by that
            known = await one(fresh, SQL["find_credentials"], Credentials, email.strip())
    if not await matches(password, known.password_hash if known else None) or known is None:
        raise Unauthorized(problem="E-mail address or password is wrong.")
    return Account(known.id, known.email, known.name, known.staff)


async def find(read: Read, email: str) -> Account:
    """The account with this e-mail; `NotFound`."""
    account = await one(read, SQL["find_account"], Account, email.strip())
    if account is None:
        raise NotFound(noun="account", key=email)
    return account


async def set_staff(tx: Transaction, email: str, *, staff: bool) -> Account:
    """Give an account the rights of the shop's staff or take them away, from its next log-in on; `NotFound`."""
    account = await one(tx, SQL["set_staff"], Account, email.strip(), staff)
    if account is None:
        raise NotFound(noun="account", key=email)
    return account


async def addresses(read: Read, account_id: UUID) -> list[Address]:
    """The account's addresses, the last used first."""
    known = await read.fetch(SQL["addresses_of"], account_id, ADDRESSES_MAX)
    return [msgspec.convert(row["address"], Address) for row in known]


async def remember_address(tx: Transaction, account_id: UUID, address: Address) -> None:
    """Keep an address as the last used one; one that is known already is not kept twice."""
    await tx.execute(SQL["remember_address"], account_id, address)


def _normal(email: str) -> str:
    email = email.strip()
    if not _can_be_email(email):
        raise BadInput(field="email", problem="This is not an e-mail address.")
    local, _, domain = email.rpartition("@")
    return f"{local}@{domain.lower()}"


def _can_be_email(text: str) -> bool:
    return len(text) <= EMAIL_LENGTH_MAX and text.isprintable() and EMAIL.fullmatch(text) is not None


def _clean(name: str) -> str:
    name = name.strip()
    if len(name) > NAME_LENGTH_MAX or not name.isprintable():
        raise BadInput(field="name", problem=f"A name is one line of at most {NAME_LENGTH_MAX} characters.")
    return name
