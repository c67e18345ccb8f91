"""`securecart accounts`: look at accounts, make one staff."""

from __future__ import annotations

import asyncio

import typer

from securecart import accounts, settings
from securecart.app import open_shop

app = typer.Typer(help="Look at accounts, make one staff.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Look after the shop's accounts."""


@app.command()
def staff(email: str) -> None:
    """Let the account with this e-mail refund and see every order, from its next log-in on."""
    asyncio.run(_make_staff(email))


async def _make_staff(email: str) -> None:
    async with open_shop(settings.load()) as shop, shop.database.transaction() as tx:
        account = await accounts.make_staff(tx, email)
    typer.echo(f"{account.email} is staff now; it counts from the next log-in.")
