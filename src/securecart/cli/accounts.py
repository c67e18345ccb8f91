"""`securecart accounts`: look at accounts, say who is staff."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from securecart import accounts, sessions, settings
from securecart.accounts import Account
from securecart.app import open_shop
from securecart.cli.engines import HomeOption

RevokeOption = Annotated[bool, typer.Option("--revoke", help="Take the right away, and end the account's sessions at once.")]

app = typer.Typer(help="Look at accounts, say who is staff.", no_args_is_help=True)


@app.command()
def show(email: str, home: HomeOption = None) -> None:
    """Show the account with this e-mail address."""
    account = asyncio.run(_find(email, home))
    typer.echo(f"{account.email}\nname: {account.name}\nid: {account.id}\nstaff: {'yes' if account.staff else 'no'}")


@app.command()
def staff(email: str, revoke: RevokeOption = False, home: HomeOption = None) -> None:
    """Let the account with this e-mail address refund, judge and see every order, from its next log-in on; or no longer."""
    account, ended = asyncio.run(_set_staff(email, home, staff=not revoke))
    if revoke:
        typer.echo(f"{account.email} is not staff any more; sessions ended: {ended}.")
    else:
        typer.echo(f"{account.email} is staff now; it counts from the next log-in.")


async def _find(email: str, home: str | None) -> Account:
    async with open_shop(settings.load(home)) as shop, shop.database.fresh() as fresh:
        return await accounts.find(fresh, email)


async def _set_staff(email: str, home: str | None, *, staff: bool) -> tuple[Account, int]:
    async with open_shop(settings.load(home)) as shop:
        async with shop.database.transaction() as tx:
            account = await accounts.set_staff(tx, email, staff=staff)
        # A session says what was true when it began. Ended after the change, or another might begin between.
        ended = 0 if staff else await sessions.end_all_of(shop.dynamodb, {str(account.id)})
        return account, ended
