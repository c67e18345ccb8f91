"""`securecart recover cluster` and `abandon`: the whole orders database back to a moment, in place of the live one."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from msgspec import Struct

from securecart import regions, settings
from securecart.cli.engines import HomeOption, JsonOption
from securecart.cli.progress import told
from securecart.cli.screen import err, out, say, show_json
from securecart.errors import NotRunning, RecoveryRefused
from securecart.ops.recovery.in_place import Kept, Report, Voice, abandon, recover
from securecart.ops.recovery.model import Site
from securecart.ops.recovery.planning import Told
from securecart.ops.recovery.sites import site_of
from securecart.undo.settle import Later, Settling, read_later, totals
from securecart.values import Money

__all__ = ["abandon_recovery", "captures", "cluster"]

MB = 1_000_000
SHOWN_MAX = 10

AtOption = Annotated[
    str,
    typer.Option(
        "--at",
        help="The moment: 2026-11-30 14:05:00 (UTC), `10 minutes ago`, an order's number, or before:XID, right before a "
        "transaction committed.",
        metavar="MOMENT",
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]


class Answer(Struct, frozen=True):
    """What became of it, for programs; what came later and is no more is told in full in `file`."""

    moment: str
    seconds: float
    seconds_until_open: float
    seconds_without_sales: float
    orders_gone: int
    orders_changed: int
    accounts_gone: int
    unknown: str
    findings: dict[str, int]
    kept: tuple[Kept, ...]
    file: str
    steps: tuple[Told, ...]


def cluster(at: AtOption, yes: YesOption = False, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Put the whole orders database back to a moment. [bold]Whatever was ordered since is no order any more.[/bold]

    To bring back only what was deleted or damaged, while the shop sells on, use [bold]securecart recover rows[/bold]; look first
    with [bold]securecart recover preview[/bold].

    The database is restored and checked aside while the shop sells. Then the shop closes, for some ten to twenty seconds: the
    last log is archived, the old data are renamed and kept, the restored ones take their place (in the profile ha on all nodes),
    the cache is emptied, the order history forgets what is no more. Orders and accounts that came later are listed in a file,
    and money that the gateway holds for them is named: it is yours to give back, or to enter the orders again.

    Cut off, it goes on with the same command, or is undone by [bold]securecart recover abandon[/bold]. Afterwards you can still
    go back to the moment before it, with this same command. The kept data are yours to remove.
    """
    site = _site(home)
    if not yes:
        _ask(at, as_json=as_json)
    with told() as tell:
        report = asyncio.run(recover(site, at, Settling(site.home), Voice(tell, say)))
    later = read_later(Path(report.file))
    if as_json:
        show_json(_answer(report, later))
    else:
        _show(report, later, home)


def abandon_recovery(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Undo a recovery of the whole database that was cut off: the shop is as it was before.

    The old data are put in their place again if they were moved, and what was restored aside is removed. Once the shop has sold
    on the recovered database there is nothing to abandon: go back with `recover cluster` to the moment before the recovery.
    """
    site = _site(home)
    with told() as tell:
        said = asyncio.run(abandon(site, Settling(site.home), Voice(tell, say)))
    if as_json:
        typer.echo(msgspec.json.encode(said).decode())
    else:
        out.print("The shop is as it was before.", soft_wrap=True)


def captures(
    give_back: Annotated[bool, typer.Option("--give-back", help="Return the money to its buyers.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find money at the gateway for orders that are no more, and give it back; exit code 1 while there is any.

    Only where the sandbox is the gateway, which shows its book; Stripe shows it on its dashboard, by order number.
    """
    loaded = settings.load(home)
    if not loaded.postgres_url:
        raise NotRunning(home=str(loaded.home_path))
    if loaded.gateway != "sandbox":
        raise RecoveryRefused(
            problem="Stripe shows no book to go through; logs/recovery-*.json in the home names each payment, to refund it there."
        )
    lost = asyncio.run(regions.lost_captures(loaded))
    if as_json:
        typer.echo(msgspec.json.encode(lost).decode())
    else:
        for one in lost:
            out.print(f"{one.number}  {Money(one.amount_minor, loaded.currency)}", markup=False)
    if lost and give_back:
        say(f"{asyncio.run(regions.give_back(loaded, lost)):,} captures given back")
    elif lost:
        raise typer.Exit(1)


def _site(home: str | None) -> Site:
    loaded = settings.load(home)
    if not loaded.postgres_url:
        raise NotRunning(home=str(loaded.home_path))
    return site_of(loaded)


def _ask(at: str, *, as_json: bool) -> None:
    sure = f"Everything that was ordered and changed after {at} goes. Put the whole database back?"
    if as_json or not err.is_terminal or not typer.confirm(sure, err=True):
        raise RecoveryRefused(
            problem=f"Nothing was done. `securecart recover preview --at '{at}'` shows what would go; repeat with --yes."
        )


def _answer(report: Report, later: Later) -> Answer:
    return Answer(
        moment=report.moment,
        seconds=report.seconds,
        seconds_until_open=report.seconds_until_open,
        seconds_without_sales=report.seconds_without_sales,
        orders_gone=len(later.orders),
        orders_changed=len(later.changed),
        accounts_gone=len(later.accounts),
        unknown=later.unknown,
        findings=dict(Counter(finding.promise for finding in later.findings)),
        kept=report.kept,
        file=report.file,
        steps=report.steps,
    )


def _show(report: Report, later: Later, home: str | None) -> None:
    out.print(
        f"The database is as it was at {report.moment}. Back in service after {report.seconds_until_open:.1f} s; "
        f"{report.seconds_without_sales:.1f} s without sales.",
        soft_wrap=True,
    )
    for kept in report.kept:
        out.print(
            f"The old data are kept in {kept.folder} ({kept.bytes / MB:,.0f} MB); remove them once you are sure.", soft_wrap=True
        )
    if later.unknown:
        out.print(f"What came after the moment is not known: {later.unknown}.", soft_wrap=True)
    if later.orders:
        out.print(f"{len(later.orders):,} orders came later and are no more, {totals(later.orders)} in all:", soft_wrap=True)
        for order in later.orders[:SHOWN_MAX]:
            total = Money(order.total_minor, order.currency)
            out.print(
                f"  {order.number}  {order.placed_at:%Y-%m-%d %H:%M:%S}  {total}  {order.status}  {order.email}", markup=False
            )
        if len(later.orders) > SHOWN_MAX:
            out.print(f"  and {len(later.orders) - SHOWN_MAX:,} more", soft_wrap=True)
        out.print("What these had bought was taken out of the carts, and stays out.", soft_wrap=True)
    if later.changed:
        out.print(f"{len(later.changed):,} orders were changed later and are as before that.", soft_wrap=True)
    if later.accounts:
        out.print(f"{len(later.accounts):,} accounts came later and are no more.", soft_wrap=True)
    counts = Counter(finding.promise for finding in later.findings)
    if counts.pop("captures_without_order", 0):
        there = f" --home {home}" if home else ""
        out.print(
            "The gateway holds money for orders that are no more. Enter such an order again, or give the money back: "
            f"`securecart recover captures --give-back{there}`.",
            soft_wrap=True,
        )
    for promise, count in counts.items():
        out.print(f"{count:,} of {promise}; `securecart promises` tells more", markup=False)
    out.print(f"All of it, one by one: {report.file}", soft_wrap=True)
