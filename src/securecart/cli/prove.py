"""`securecart backup prove`: restore the newest backup, check it, keep the certificate; and how that is told."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
import uvloop

from securecart import settings
from securecart.cli.engines import HomeOption, JsonOption
from securecart.cli.progress import told
from securecart.cli.screen import out, show_json
from securecart.errors import BadInput, RecoveryRefused
from securecart.ops.recovery.certificates import Certificate
from securecart.ops.recovery.holdings import survey
from securecart.ops.recovery.model import Moment, Site, parse_moment
from securecart.ops.recovery.restoring import Tell
from securecart.ops.recovery.sites import site_of
from securecart.proving import prove as prove_backup

__all__ = ["prove"]

INTERRUPTED = 130
MB = 1_000_000
ROWS_SHOWN = ("orders", "order_line", "payment", "stock", "product")


def prove(
    at: Annotated[
        str | None,
        typer.Option(help="Restore to this moment, such as '2 hours ago' or a time.", show_default="the newest"),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Restore the newest backup aside and check all of it; exit code 1 when anything is wrong.

    A backup that was never restored is a hope. It is fetched, checked against its manifest, its log replayed up to the newest
    moment, and the server that comes of it is asked: every table and index is read from end to end (amcheck), every table must
    have as many rows as the living one had, and the shop's promises must be kept. The certificate stays in the archive and in the
    home. The shop does this by itself every SECURECART_PROVE_HOURS; nothing of it touches the living data.
    """
    site = site_of(settings.load(home))
    try:
        with told() as tell:
            found = uvloop.run(_prove(site, at, tell))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        show_json(found)
    else:
        for line in _lines(found):
            out.print(line, soft_wrap=True, markup=False)
    if not found.good:
        raise typer.Exit(1)


async def _prove(site: Site, at: str | None, tell: Tell) -> Certificate:
    moment = await _moment(site, at) if at is not None else None
    return await prove_backup(site, at=moment, tell=tell)


async def _moment(site: Site, text: str) -> Moment:
    """What is meant; a time that no backup reaches is the caller's mistake, not the backup's."""
    moment = parse_moment(text)
    if moment is None or moment.at is None:
        raise BadInput(field="at", problem=f"{text!r} is no time; give it as '2 hours ago' or as 2026-11-30 14:05:00 (UTC).")
    windows = (await asyncio.to_thread(survey, site.archive)).windows
    if not any(window.since <= moment.at <= window.until for window in windows):
        spans = ", ".join(f"{Moment(at=one.since).in_words} to {Moment(at=one.until).in_words}" for one in windows) or "none yet"
        raise RecoveryRefused(problem=f"{moment.in_words} cannot be reached. What can be: {spans}.")
    return moment


def _lines(found: Certificate) -> list[str]:
    good = "GOOD" if found.good else "NO GOOD"
    moment = Moment(at=found.moment).in_words if found.moment is not None else "no moment"
    took = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in found.seconds.items())
    lines = [
        f"{good}  {' + '.join(found.bases)} and {found.log_bytes / MB:,.0f} MB of log, up to {moment}",
        f"took  {took}",
    ]
    if found.database_bytes:
        rows = ", ".join(f"{found.rows[name]:,} {name}" for name in ROWS_SHOWN if name in found.rows)
        read = f"{found.tables} tables and {found.indexes} indexes read from end to end"
        lines.append(f"held  {found.database_bytes / MB:,.0f} MB; {read}; {sum(found.rows.values()):,} rows, of which {rows}")
    lines += [f"WRONG {flaw.part} {flaw.name}: {flaw.what}" for flaw in found.flaws]
    lines += [f"not checked: {what}" for what in found.unchecked]
    lines.append(f"certificate {found.stamp}, in {found.archive} and in the home's folder certificates")
    return lines
