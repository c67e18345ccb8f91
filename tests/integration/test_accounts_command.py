"""`securecart accounts` as an operator types it."""

from __future__ import annotations

import asyncio
import secrets
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from uuid import uuid4

from securecart import accounts, sessions
from securecart.app import Shop

PASSWORD = "correct horse battery"


async def run(home: Path, *words: str) -> tuple[int | None, str, str]:
    command = [sys.executable, "-m", "securecart", "accounts", *words, "--home", str(home)]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    said, complained = await process.communicate()
    return process.returncode, said.decode(), complained.decode()


async def test_an_operator_makes_an_account_staff_and_sees_it(shop: Shop, shop_home: Path) -> None:
    email = f"op-{secrets.token_hex(6)}@example.com"
    password_hash = await accounts.hash_password(PASSWORD)
    async with shop.database.transaction() as tx:
        await accounts.register(tx, email=email, password_hash=password_hash, name="Ada Okafor")
    assert (await run(shop_home, "staff", email))[0] == 0
    code, said, _ = await run(shop_home, "show", email.upper())
    assert (code, said.splitlines()[:2], said.splitlines()[-1]) == (0, [email, "name: Ada Okafor"], "staff: yes")
    assert password_hash not in said
    assert (await accounts.authenticate(shop.database, email, PASSWORD)).staff


async def test_the_right_is_taken_away_and_the_sessions_that_say_otherwise_end(shop: Shop, shop_home: Path) -> None:
    email = f"op-{secrets.token_hex(6)}@example.com"
    password_hash = await accounts.hash_password(PASSWORD)
    async with shop.database.transaction() as tx:
        await accounts.register(tx, email=email, password_hash=password_hash, name="Ada Okafor")
        account = await accounts.set_staff(tx, email, staff=True)
    theirs, another = [
        await sessions.start_for(shop.dynamodb, account_id=who, email=email, name="Ada Okafor", staff=True, days=1)
        for who in (account.id, uuid4())
    ]
    code, said, _ = await run(shop_home, "staff", email, "--revoke")
    assert (code, said) == (0, f"{email} is not staff any more; sessions ended: 1.\n")
    assert not (await accounts.authenticate(shop.database, email, PASSWORD)).staff
    assert await sessions.find(shop.dynamodb, theirs.token) is None
    assert await sessions.find(shop.dynamodb, another.token) is not None


async def test_an_account_that_does_not_exist_is_one_sentence_and_exit_code_1(shop_home: Path) -> None:
    complaint = "securecart: There is no account 'nobody@example.com' here.\n"
    for verb in ("show", "staff"):
        assert await run(shop_home, verb, "nobody@example.com") == (1, "", complaint)
