"""`securecart fraud review`, `explain`, `rings`, `mark`: what the shop's staff sees of fraud, and decides."""

from __future__ import annotations

import asyncio
import getpass
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from securecart import checkout, fraud, settings
from securecart.app import open_shop
from securecart.cli.engines import HomeOption, JsonOption
from securecart.cli.screen import out, say, show_json
from securecart.errors import BadInput
from securecart.fraud import RingNode, Risk, Waiting
from securecart.orders import Order

__all__ = ["explain", "mark", "review", "rings"]

QUEUE_MOST = 100
BAR_LENGTH = 20

NumberArgument = Annotated[str, typer.Argument(metavar="ORDER", help="The order's number, such as SC-4K7QM-9XR2D.")]


def review(
    release: Annotated[str | None, typer.Option("--release", metavar="ORDER", help="Let this held order go on.")] = None,
    cancel: Annotated[
        str | None, typer.Option("--cancel", metavar="ORDER", help="Take this held order back; nothing is charged.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the orders that wait for a person, the soonest due first; or decide on one.

    A held order's stock is sold and its money promised, but neither taken nor shipped. What nobody decides on in time is decided
    by [bold]SECURECART_FRAUD_REVIEW_LAPSE[/bold]. Look at one with [bold]securecart fraud explain ORDER[/bold] first.
    """
    if release and cancel:
        raise BadInput(problem="Name one order, with --release or with --cancel.")
    if release or cancel:
        order = asyncio.run(_decide(release or cancel or "", home, goes_on=release is not None))
        if as_json:
            show_json(order)
        else:
            say(f"order {order.number} is {'released' if release else 'cancelled'}; it is {order.status.replace('_', ' ')} now")
        return
    held, count = asyncio.run(_queue(home))
    if as_json:
        show_json({"waiting": count, "items": held})
    elif not held:
        say("no order waits for a person")
    else:
        _show_queue(held, count)


def explain(number: NumberArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Say what an order was judged by: how likely it was fraud, why, where it came from, and what became of it."""
    risk = asyncio.run(_risk(number, home))
    if as_json:
        show_json(risk)
    else:
        _show_risk(risk)


def rings(
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many at most.")] = 20,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the devices, cards, addresses and e-mail addresses that several accounts share, known fraud first."""
    found = asyncio.run(_rings(limit, home))
    if as_json:
        show_json(found)
        return
    if not found:
        say("no thing is shared by several accounts")
        return
    table = Table("What")
    table.add_column("Which", overflow="fold")
    for name in ("Accounts", "Orders", "Known fraud"):
        table.add_column(name, justify="right")
    for one in found:
        style = "red" if one.frauds else ""
        table.add_row(one.kind, Text(one.id), f"{one.accounts:,}", f"{one.orders:,}", f"{one.frauds:,}", style=style)
    out.print(table)


def mark(
    numbers: Annotated[list[str], typer.Argument(metavar="ORDER...", help="Numbers of orders.")],
    not_fraud: Annotated[bool, typer.Option("--not-fraud", help="They are not fraud after all.")] = False,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="How you know.")] = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say that orders are fraud, or are not. It counts from now on for whatever shares something with them, never backwards.

    All of them or none: a number that is not known changes nothing.
    """
    changed = asyncio.run(_mark(numbers, home, is_fraud=not not_fraud, note=note))
    if as_json:
        show_json({"changed": changed})
        return
    what = "not fraud" if not_fraud else "fraud"
    say(f"{', '.join(changed)}: known to be {what} from now on" if changed else f"nothing new: known to be {what} before")


async def _queue(home: str | None) -> tuple[list[Waiting], int]:
    async with open_shop(settings.load(home)) as shop, shop.database.fresh() as fresh:
        held, _ = await fraud.waiting(fresh, after=None, limit=QUEUE_MOST)
        return held, await fraud.count_waiting(fresh)


async def _decide(number: str, home: str | None, *, goes_on: bool) -> Order:
    decide = checkout.release if goes_on else checkout.refuse
    async with open_shop(settings.load(home)) as shop:
        return await decide(shop.till, number, said_by=_operator())


async def _risk(number: str, home: str | None) -> Risk:
    async with open_shop(settings.load(home)) as shop, shop.database.fresh() as fresh:
        return await fraud.risk_of(fresh, number)


async def _rings(limit: int, home: str | None) -> list[RingNode]:
    async with open_shop(settings.load(home)) as shop:
        return await fraud.rings(shop.graph, limit=limit)


async def _mark(numbers: list[str], home: str | None, *, is_fraud: bool, note: str) -> list[str]:
    async with open_shop(settings.load(home)) as shop:
        return await checkout.mark(shop.till, numbers, is_fraud=is_fraud, said_by=_operator(), note=note)


def _operator() -> str:
    """Who sits at the terminal, as the orders' book names them."""
    try:
        return f"{getpass.getuser()} (command line)"
    except (OSError, KeyError):
        return "command line"


def _show_queue(held: list[Waiting], count: int) -> None:
    table = Table("Order", "Total", "Due", "Likely fraud", "Why")
    for one in held:
        likely = "by caution" if one.probability is None else f"{one.probability:.0%}"
        table.add_row(one.number, str(one.total), f"{one.due_at:%Y-%m-%d %H:%M}", likely, _first(one))
    out.print(table)
    if count > len(held):
        say(f"and {count - len(held):,} more")
    say("decide with --release ORDER or --cancel ORDER; `securecart fraud explain ORDER` says why it waits")


def _first(one: Waiting) -> str:
    return one.reasons[0].words if one.reasons else "no single reason stands out"


def _show_risk(risk: Risk) -> None:
    if risk.verdict is None:
        out.print(f"{risk.number}: not judged")
    else:
        likely = "by caution" if risk.probability is None else f"{risk.probability:.2f}, by the model"
        out.print(f"{risk.number}: {risk.verdict}, {likely}", soft_wrap=True)
    most = max((reason.points for reason in risk.reasons), default=0) or 1
    for reason in risk.reasons:
        length = round(BAR_LENGTH * max(0.0, reason.points) / most)
        out.print(f"  {'█' * length:<{BAR_LENGTH}}  {reason.points:+.1f}  {reason.words}", markup=False, soft_wrap=True)
    for name, value, country in (
        ("device", risk.device, None),
        ("network", risk.network, risk.network_country),
        ("card", risk.card, risk.card_country),
    ):
        where = f" ({country})" if country else ""
        out.print(f"  {name}: {value or 'not known'}{where}", markup=False, soft_wrap=True)
    if risk.review is not None:
        what = f"{risk.review.outcome} by {risk.review.decided_by}" if risk.review.outcome else "waits for a person"
        out.print(f"  review: {what}, due {risk.review.due_at:%Y-%m-%d %H:%M} UTC", markup=False, soft_wrap=True)
    if risk.mark is not None:
        verdict = "fraud" if risk.mark.is_fraud else "not fraud"
        by = risk.mark.said_by or risk.mark.source
        note = f": {risk.mark.note}" if risk.mark.note else ""
        out.print(
            f"  known since {risk.mark.marked_at:%Y-%m-%d %H:%M} UTC: {verdict}, says {by}{note}", markup=False, soft_wrap=True
        )
