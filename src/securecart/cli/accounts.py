"""`securecart accounts`: look at accounts, make one staff."""

from __future__ import annotations

import asyncio

import typer

from securecart import accounts, settings
from securecart.accounts import Account
from securecart.app import open_shop
from securecart.cli.engines import HomeOption

app = typer.Typer(help="Look at accounts, make one staff.", no_args_is_help=True)


@app.command()
def show(email: str, home: HomeOption = None) -> None:
    """Show the account with this e-mail address."""
    account = asyncio.run(_find(email, home))
    typer.echo(f"{account.email}\nname: {account.name}\nid: {account.id}\nstaff: {'yes' if account.staff else 'no'}")


@app.command()
def staff(email: str, home: HomeOption = None) -> None:
    """Let the account with this e-mail address refund and see every order, from its next log-in on."""
    account = asyncio.run(_make_staff(email, home))
    typer.echo(f"{account.email} is staff now; it counts from the next log-in.")


async def _find(email: str, home: str | None) -> Account:
    async with open_shop(settings.load(home)) as shop, shop.database.fresh() as fresh:
        return await accounts.find(fresh, email)


async def _make_staff(email: str, home: str | None) -> Account:
    async with open_shop(settings.load(home)) as shop, shop.database.transaction() as tx:
        return await accounts.make_staff(tx, email)
