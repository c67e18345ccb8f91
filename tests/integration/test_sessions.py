"""Sessions against the real store: what a token is worth, how long, and what is kept of it."""

from __future__ import annotations

import secrets
import time
from typing import Any
from uuid import uuid4

import msgspec
from aiodynamo.errors import ItemNotFound
from aiodynamo.expressions import F

from securecart import sessions
from securecart.app import Shop
from securecart.sessions import Session
from securecart.sessions import actions as session_actions
from securecart.sessions.model import hash_of, is_due

DAY_S = 86_400


async def stored(shop: Shop, token: str) -> dict[str, Any] | None:
    async with shop.dynamodb.table(sessions.TABLE) as table:
        try:
            return await table.get_item({"token_hash": hash_of(token)}, consistent_read=True)
        except ItemNotFound:
            return None


async def set_expiry(shop: Shop, session: Session, expires_at: int) -> None:
    async with shop.dynamodb.table(sessions.TABLE) as table:
        await table.update_item({"token_hash": hash_of(session.token)}, F("expires_at").set(expires_at))


async def test_a_guest_is_found_by_the_token_and_by_nothing_else(shop: Shop) -> None:
    guest = await sessions.start_guest(shop.dynamodb, days=30)
    assert guest.shopper_id.startswith("guest:")
    assert (guest.account_id, guest.staff) == (None, False)
    assert await sessions.find(shop.dynamodb, guest.token) == guest
    for wrong in ("", guest.token + "x", guest.token.swapcase(), hash_of(guest.token), "é\udcff"[:1]):
        assert await sessions.find(shop.dynamodb, wrong) is None


async def test_an_account_s_session_says_whose_it_is(shop: Shop) -> None:
    account_id = uuid4()
    session = await sessions.start_for(shop.dynamodb, account_id=account_id, email="ada@example.com", name="", staff=True, days=7)
    found = await sessions.find(shop.dynamodb, session.token)
    assert found == session
    assert found is not None
    assert found.shopper_id == f"account:{account_id}"
    assert (found.account_id, found.email, found.name, found.staff) == (account_id, "ada@example.com", "", True)


async def test_tokens_are_long_and_random_and_only_their_hash_is_kept(shop: Shop) -> None:
    started = [await sessions.start_guest(shop.dynamodb, days=1) for _ in range(5)]
    assert len({session.token for session in started}) == 5
    assert len({session.shopper_id for session in started}) == 5
    assert all(len(session.token) >= 43 for session in started)  # 256 bits in base64
    row = await stored(shop, started[0].token)
    assert row is not None
    assert started[0].token not in str(row)


async def test_a_printed_session_does_not_show_its_token(shop: Shop) -> None:
    session = await sessions.start_guest(shop.dynamodb, days=1)
    assert session.token not in f"{session!r} {session}"


async def test_an_ended_session_is_gone_at_once_and_ending_it_again_is_harmless(shop: Shop) -> None:
    session = await sessions.start_guest(shop.dynamodb, days=30)
    await sessions.end(shop.dynamodb, session.token)
    assert await sessions.find(shop.dynamodb, session.token) is None
    await sessions.end(shop.dynamodb, session.token)
    assert await stored(shop, session.token) is None


async def test_an_expired_session_counts_for_nothing_while_the_store_still_has_it(shop: Shop) -> None:
    session = await sessions.start_guest(shop.dynamodb, days=30)
    await set_expiry(shop, session, int(time.time()))
    assert await sessions.find(shop.dynamodb, session.token) is None
    assert await stored(shop, session.token) is not None


async def test_use_moves_the_expiry_once_a_day(shop: Shop) -> None:
    session = await sessions.start_guest(shop.dynamodb, days=30)
    assert await sessions.find(shop.dynamodb, session.token) == session
    row = await stored(shop, session.token)
    assert row is not None
    assert row["expires_at"] == session.expires_at

    await set_expiry(shop, session, session.expires_at - DAY_S)
    found = await sessions.find(shop.dynamodb, session.token)
    assert found is not None
    assert found.expires_at >= session.expires_at
    row = await stored(shop, session.token)
    assert row is not None
    assert row["expires_at"] == found.expires_at


async def test_a_session_that_ends_while_it_is_renewed_stays_ended(shop: Shop) -> None:
    session = await sessions.start_guest(shop.dynamodb, days=30)
    row = await stored(shop, session.token)
    assert row is not None
    await sessions.end(shop.dynamodb, session.token)
    assert await session_actions._renew(shop.dynamodb, session.token, row, int(time.time())) is None
    assert await stored(shop, session.token) is None


def test_a_session_is_renewed_after_a_day_and_a_one_day_session_after_half_of_it() -> None:
    now = 1_800_000_000
    assert not is_due(now + 30 * DAY_S, now, days=30)
    assert not is_due(now + 29 * DAY_S + 1, now, days=30)
    assert is_due(now + 29 * DAY_S, now, days=30)
    assert not is_due(now + DAY_S // 2 + 1, now, days=1)
    assert is_due(now + DAY_S // 2, now, days=1)


def test_the_csrf_token_belongs_to_one_session_and_does_not_give_it_away() -> None:
    mine, other = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    assert sessions.csrf_matches(mine, sessions.csrf_token(mine))
    assert not sessions.csrf_matches(mine, sessions.csrf_token(other))
    assert not any(sessions.csrf_matches(mine, wrong) for wrong in ("", "é", mine, sessions.csrf_token(mine)[:-1]))
    assert sessions.csrf_token(mine) != hash_of(mine)


def test_a_session_can_be_compared_but_not_changed() -> None:
    session = Session("t", "guest:x", None, "", "", staff=False, expires_at=1)
    assert msgspec.structs.replace(session, staff=True) != session
