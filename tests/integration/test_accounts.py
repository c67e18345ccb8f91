"""Accounts against the real database: who may register, who may log in, and what a wrong guess learns."""

from __future__ import annotations

import asyncio
import secrets
import threading
from uuid import uuid4

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import Type

from securecart import accounts
from securecart.accounts import Account, passwords
from securecart.accounts import actions as account_actions
from securecart.errors import BadInput, EmailTaken, NotFound, Unauthorized
from securecart.stores.postgres import Database
from securecart.values import Address

PASSWORD = "correct horse battery"


def an_email() -> str:
    return f"Ada.{secrets.token_hex(6)}@example.com"


async def register(database: Database, email: str, password: str = PASSWORD, name: str = "Ada") -> Account:
    password_hash = await accounts.hash_password(password)
    async with database.transaction() as tx:
        return await accounts.register(tx, email=email, password_hash=password_hash, name=name)


async def remember(database: Database, account: Account, *addresses: Address) -> list[Address]:
    for address in addresses:
        async with database.transaction() as tx:
            await accounts.remember_address(tx, account.id, address)
    async with database.read() as read:
        return await accounts.addresses(read, account.id)


def an_address(name: str = "Ada", line1: str = "1 Market Street") -> Address:
    return Address(name=name, line1=line1, city="Springfield", postcode="12345", country="US")


async def test_who_registers_can_log_in_however_the_address_is_typed(database: Database) -> None:
    email = an_email()
    account = await register(database, f"  {email.replace('example.com', 'EXAMPLE.com')} ", name=" Ada ")
    assert (account.email, account.name, account.staff) == (email, "Ada", False)
    for typed in (email, email.upper(), f" {email} "):
        assert await accounts.authenticate(database, typed, PASSWORD) == account


async def test_an_address_opens_one_account_in_whatever_case_and_however_many_try_at_once(database: Database) -> None:
    email = an_email()
    tries = await asyncio.gather(
        *(register(database, typed) for typed in (email, email.upper(), email.lower(), email.swapcase())), return_exceptions=True
    )
    assert len([one for one in tries if isinstance(one, Account)]) == 1
    assert len([one for one in tries if isinstance(one, EmailTaken) and one.field == "email"]) == 3


async def test_a_taken_address_leaves_the_transaction_usable(database: Database) -> None:
    email = an_email()
    await register(database, email)
    async with database.transaction() as tx:
        with pytest.raises(EmailTaken):
            await accounts.register(tx, email=email, password_hash="x", name="")
        assert await tx.fetchval("SELECT true")


@pytest.mark.parametrize(
    "email",
    [
        "",
        "ada",
        "ada@",
        "@example.com",
        "ada@example",
        "a b@example.com",
        "ada@exa mple.com",
        "a@b@c.de",
        "ada@.com",
        "ada@example..com",
        "ada\x00@example.com",
        "ada@example.com\nbcc: x@example.com",
        f"{'a' * 250}@example.com",
    ],
)
async def test_what_is_no_address_is_refused(database: Database, email: str) -> None:
    async with database.transaction() as tx:
        with pytest.raises(BadInput) as refused:
            await accounts.register(tx, email=email, password_hash="x", name="")
    assert refused.value.field == "email"
    with pytest.raises(Unauthorized):
        await accounts.authenticate(database, email, PASSWORD)


@pytest.mark.parametrize("name", ["a\x00b", "two\nlines", "x" * 201])
async def test_a_name_that_cannot_be_printed_is_refused(database: Database, name: str) -> None:
    with pytest.raises(BadInput) as refused:
        await register(database, an_email(), name=name)
    assert refused.value.field == "name"


async def test_a_wrong_password_and_an_unknown_address_sound_the_same(database: Database) -> None:
    email = an_email()
    await register(database, email)
    with pytest.raises(Unauthorized) as wrong:
        await accounts.authenticate(database, email, PASSWORD + "!")
    with pytest.raises(Unauthorized) as unknown:
        await accounts.authenticate(database, an_email(), PASSWORD)
    assert (wrong.value.message, wrong.value.facts) == (unknown.value.message, unknown.value.facts)


async def test_an_unknown_address_costs_the_same_hash_as_a_known_one(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    email = an_email()
    await register(database, email)
    costs = []
    verify_really = PasswordHasher.verify

    def verify_noted(self: PasswordHasher, kept: str, password: str) -> bool:
        costs.append((extract_parameters(kept), password))
        return verify_really(self, kept, password)

    monkeypatch.setattr(PasswordHasher, "verify", verify_noted)
    for typed in (email, an_email(), "no address at all"):
        with pytest.raises(Unauthorized):
            await accounts.authenticate(database, typed, "a wrong password")
    assert costs == [costs[0]] * 3


async def test_no_connection_is_held_while_hashing(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    held = []

    async def matches(_password: str, _password_hash: str | None) -> bool:
        held.append(database._nodes[0].in_use)
        return False

    monkeypatch.setattr(account_actions, "matches", matches)
    with pytest.raises(Unauthorized):
        await accounts.authenticate(database, an_email(), PASSWORD)
    assert held == [0]


async def test_passwords_are_kept_as_argon2id_with_the_advised_cost() -> None:
    first, second = await accounts.hash_password(PASSWORD), await accounts.hash_password(PASSWORD)
    assert first != second
    cost = extract_parameters(first)
    assert (cost.type, cost.memory_cost, cost.time_cost, cost.parallelism) == (Type.ID, 19_456, 2, 1)
    assert extract_parameters(passwords._nobodys()) == cost


@pytest.mark.parametrize("password", ["", "123456789", "x" * 129])
async def test_a_password_has_ten_to_128_characters(password: str) -> None:
    with pytest.raises(BadInput) as refused:
        await accounts.hash_password(password)
    assert refused.value.field == "password"


@pytest.mark.parametrize("password", ["0123456789", "x" * 128, "pässwörd \U0001f600\x00 !"])
async def test_any_characters_make_a_password(password: str) -> None:
    kept = await accounts.hash_password(password)
    assert await passwords.matches(password, kept)
    assert not await passwords.matches(password + "x", kept)
    assert not await passwords.matches(password[:-1], kept)


async def test_a_longer_password_never_matches_by_its_beginning() -> None:
    kept = await accounts.hash_password("x" * 128)
    assert not await passwords.matches("x" * 10_000, kept)


async def test_an_unreadable_hash_lets_nobody_in() -> None:
    assert not await passwords.matches(PASSWORD, "not a hash")
    assert not await passwords.matches("nobody has this password", None)


async def test_at_most_two_are_hashed_at_once_and_the_loop_goes_on_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    running, most, lock = 0, 0, threading.Lock()
    hash_really = PasswordHasher.hash

    def hash_counted(self: PasswordHasher, password: str) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        try:
            return hash_really(self, password)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(PasswordHasher, "hash", hash_counted)
    hashing = asyncio.gather(*(accounts.hash_password(PASSWORD) for _ in range(8)))
    turns = 0
    while not hashing.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert len(set(await hashing)) == 8
    assert most == 2
    assert turns > 10


async def test_an_account_made_staff_is_staff_at_the_next_log_in(database: Database) -> None:
    email = an_email()
    account = await register(database, email)
    async with database.transaction() as tx:
        assert (await accounts.set_staff(tx, email.upper(), staff=True)).id == account.id
        with pytest.raises(NotFound):
            await accounts.set_staff(tx, an_email(), staff=True)
    assert (await accounts.authenticate(database, email, PASSWORD)).staff
    async with database.read() as read:
        assert (await accounts.find(read, email.lower())).staff
        with pytest.raises(NotFound):
            await accounts.find(read, an_email())


async def test_an_address_is_kept_once_and_the_last_used_comes_first(database: Database) -> None:
    account = await register(database, an_email())
    home, work = an_address(), an_address(line1="2 Mill Lane")
    assert await remember(database, account, home, work, home, home) == [home, work]
    assert await remember(database, account, work) == [work, home]
    other = await register(database, an_email())
    assert await remember(database, other) == []


async def test_the_longest_address_in_any_script_can_be_kept(database: Database) -> None:
    account = await register(database, an_email())
    # Four bytes a character and hard to compress: longer than an index row may be.
    long = ["".join(chr(0x20000 + secrets.randbelow(40_000)) for _ in range(200)) for _ in range(4)]
    address = Address(name=long[0], line1=long[1], line2=long[2], city=long[3], postcode="1", country="JP")
    assert await remember(database, account, address, address) == [address]


async def test_twenty_addresses_are_shown_at_most(database: Database) -> None:
    account = await register(database, an_email())
    shown = await remember(database, account, *(an_address(line1=f"{number} Long Road") for number in range(22)))
    assert [address.line1 for address in shown] == [f"{number} Long Road" for number in range(21, 1, -1)]


async def test_an_address_of_nobody_is_refused_by_the_database(database: Database) -> None:
    with pytest.raises(Exception, match="account_address_account_id_fkey"):
        async with database.transaction() as tx:
            await accounts.remember_address(tx, uuid4(), an_address())
