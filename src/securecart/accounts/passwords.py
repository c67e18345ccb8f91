"""Passwords: argon2id with the parameters OWASP advises for shared machines, two at a time, off the event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from securecart.errors import BadInput

# 19 MiB and two passes: https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
_hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="argon2")

LENGTH_MIN, LENGTH_MAX = 10, 128


async def hash_password(password: str) -> str:
    """The hash to keep; `BadInput` when the password is too short or too long."""
    if not LENGTH_MIN <= len(password) <= LENGTH_MAX:
        raise BadInput(field="password", problem=f"A password has {LENGTH_MIN} to {LENGTH_MAX} characters.")
    return await asyncio.get_running_loop().run_in_executor(_threads, _hasher.hash, password)


async def matches(password: str, password_hash: str | None) -> bool:
    """Whether the password is the one that was hashed; with no hash it takes as long and is never right."""
    return await asyncio.get_running_loop().run_in_executor(_threads, _verify, password[: LENGTH_MAX + 1], password_hash)


def _verify(password: str, password_hash: str | None) -> bool:
    nobodys = _nobodys()  # asked for always, so that the very first log-in takes as long with an account as without
    try:
        right = _hasher.verify(password_hash or nobodys, password)
    except (VerificationError, InvalidHashError):
        return False
    return right and password_hash is not None


@cache
def _nobodys() -> str:
    return _hasher.hash("nobody has this password")
