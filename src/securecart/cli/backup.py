"""`securecart backup`: what is in the archive, whether it is sound, what is due next, and a key to encrypt it with."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import typer
from msgspec import Struct
from rich.table import Table

from securecart import settings
from securecart.cli.backup_now import take
from securecart.cli.engines import HomeOption, JsonOption
from securecart.cli.progress import told
from securecart.cli.prove import prove
from securecart.cli.screen import out, say, show_json
from securecart.errors import DataMissing
from securecart.ops.recovery import certificates
from securecart.ops.recovery.holdings import in_words, surplus, survey, whole_bases
from securecart.ops.recovery.model import Base, Gap, Holdings, Moment, Site, Window, lsn_in_words
from securecart.ops.recovery.reach import chain_in
from securecart.ops.recovery.restoring import Tell
from securecart.ops.recovery.schedule import Due, due
from securecart.ops.recovery.sites import FOLDER, site_of
from securecart.ops.recovery.verifying import Finding, Verified, VerifiedLog, verify_bases, verify_log, wanted_bases
from securecart.stores.archive import key_pair

app = typer.Typer(
    help="Take a backup, see what is in the archive, whether it is sound, what is due next; encrypt it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

MINUTE, HOUR, DAY = 60, 3_600, 86_400


class Backup(Struct, frozen=True):
    """A base backup as the list shows it. `usable`: all that it stands on is there, and the log that it needs."""

    label: str
    kind: str
    chain: list[str]
    usable: bool
    ended_at: datetime
    age_seconds: float
    database_bytes: int
    archive_bytes: int
    source: str
    verified_at: datetime | None


class Listing(Struct, frozen=True):
    """What the archive holds. `windows`: the moments that can be recovered; `beat_age_seconds`: how old the newest is.

    `proved_at`: when the newest good proof was begun that this home knows of.
    """

    archive: str
    encrypted: bool
    bytes: int
    bytes_of_database: int
    windows: list[Window]
    gaps: list[Gap]
    beat_age_seconds: float | None
    backups: list[Backup]
    unread: list[str]
    proved_at: datetime | None


class Report(Struct, frozen=True):
    """What a check found, backup by backup, and in the log."""

    archive: str
    sound: bool
    backups: list[Verified]
    log: VerifiedLog | None


class Timetable(Struct, frozen=True):
    """The next backup, and what is kept."""

    next: Due
    hours: float
    full_days: float
    keep_days: float
    keep_fulls: int
    surplus: list[str]


class Key(Struct, frozen=True):
    """A key pair of age."""

    secret: str
    public: str


app.command("now")(take)
app.command("prove")(prove)


@app.command("list")
def list_backups(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show the moments that can be recovered, each backup, and where log is missing. The shop need not run.

    An [bold]incremental[/bold] backup stands on the one before it. From a backup every moment after it is reached with the log.
    While the shop runs the archive is less than a second behind; how old its newest moment is stands at the window's end.
    """
    site = _site(home)
    seen = _listing(site, survey(site.archive), sum(size for _, size in site.archive.names("")))
    if as_json:
        show_json(seen)
        return
    out.print(
        f"archive  {seen.archive}  {_mb(seen.bytes)}{'  encrypts what is put' if seen.encrypted else ''}",
        soft_wrap=True,
        markup=False,
    )
    _show_windows(seen)
    if not seen.backups:
        say(
            "there is no backup yet; the shop takes the first one soon after its start, `securecart backup now` takes one at once"
        )
        return
    if not out.is_terminal:
        for one in seen.backups:
            out.print("  ".join(_row(one)), soft_wrap=True, markup=False)
        return
    table = Table("Backup", "Kind", "Age", "Database", "In the archive", "Stands on", "Verified", "From")
    for one in seen.backups:
        table.add_row(*_row(one))
    out.print(table)


@app.command()
def verify(
    label: Annotated[
        str | None, typer.Argument(help="A backup, by its label or how that begins.", show_default="the newest")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every backup in the archive.")] = False,
    log: Annotated[bool, typer.Option(help="Read the log that follows the backup, too.")] = True,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read a backup from end to end and say by name what is damaged or missing; exit code 1 when anything is.

    It is unpacked into a scratch folder in the home, together with those it stands on, and PostgreSQL's own pg_verifybackup
    checks each file; then all log since it began is read, and holes are looked for. The scratch folder goes afterwards. What this
    cannot tell is whether the database in it makes sense: [bold]securecart backup prove[/bold] starts it and asks.
    """
    site = _site(home)
    with told() as tell:
        report = asyncio.run(_verified(site, label, tell, every=every, log=log))
    if as_json:
        show_json(report)
    else:
        _show_report(report)
    if not report.sound:
        raise typer.Exit(1)


@app.command()
def schedule(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show which backup is due when, and why; and what will be let go of. Nothing is done here, the shop does it by itself.

    The settings are SECURECART_BACKUP_HOURS, _FULL_DAYS, _DAYS and _FULLS: [bold]securecart settings[/bold] explains them.
    """
    site = _site(home)
    now, values = datetime.now(UTC), site.settings
    holdings = survey(site.archive)
    gone = surplus(holdings, now, days=values.backup_days, fulls=values.backup_fulls)
    seen = Timetable(
        next=due(holdings, values, now),
        hours=values.backup_hours,
        full_days=values.backup_full_days,
        keep_days=values.backup_days,
        keep_fulls=values.backup_fulls,
        surplus=gone,
    )
    if as_json:
        show_json(seen)
        return
    when = "" if seen.next.at is None else "now" if seen.next.is_now(now) else f"in {_span((seen.next.at - now).total_seconds())}"
    on = f" on {seen.next.parent}" if seen.next.parent else ""
    out.print(f"next  {' '.join([seen.next.kind or 'none', when]).strip()}{on}: {seen.next.why}", soft_wrap=True, markup=False)
    fulls = f"at least {seen.keep_fulls} full ones" if seen.keep_fulls != 1 else "at least one full one"
    out.print(f"kept  what the last {seen.keep_days:g} days need, and {fulls}", soft_wrap=True, markup=False)
    out.print(f"goes  {len(gone):,} objects after the next backup", soft_wrap=True, markup=False)


@app.command()
def key(as_json: JsonOption = False) -> None:
    """Make a new key that encrypts what is archived, and print it. It is kept nowhere: put it where it is safe, off this disk.

    Set it as SECURECART_ARCHIVE_KEY and start the shop again. What is in the archive already stays as it is and readable; what is
    put from then on can be read with this key only. It is a key of age (age-encryption.org), whose program reads the archive too.
    """
    made = Key(*key_pair())
    if as_json:
        show_json(made)
        return
    typer.echo(made.secret)
    say("This is the secret key, shown once and kept nowhere. Whoever has it reads your backups; without it nobody does.")
    say("1. Keep a copy where neither this machine's loss nor a look into the archive takes it or gives it away.")
    say("2. Start the shop with it: SECURECART_ARCHIVE_KEY=AGE-SECRET-KEY-1... securecart up")
    say("3. Take a full backup, so that all you need is encrypted: securecart backup now --full")


def _site(home: str | None) -> Site:
    """The shop's archive; a folder in a home that never kept one is not made just to find it empty."""
    loaded = settings.load(home)
    if not loaded.archive and not (loaded.home_path / FOLDER).is_dir():
        raise DataMissing(
            problem=f"There is no archive in {loaded.home_path}. `securecart up` begins one; one elsewhere is found by "
            "SECURECART_ARCHIVE."
        )
    return site_of(loaded)


async def _verified(site: Site, label: str | None, tell: Tell, *, every: bool, log: bool) -> Report:
    holdings = await asyncio.to_thread(survey, site.archive)
    bases = wanted_bases(holdings, label, every=every)
    found = await verify_bases(site, holdings, bases, tell)
    read = await verify_log(site, holdings, bases, tell) if log else None
    findings = [finding for one in found for finding in one.findings] + (list(read.findings) if read is not None else [])
    if every and holdings.unread:
        found += [Verified(why.split(" ", 1)[0], (), (Finding(*why.split(" ", 1)),), 0.0) for why in holdings.unread]
        findings += [finding for one in found for finding in one.findings]
    return Report(site.archive.where, not findings, found, read)


def _listing(site: Site, holdings: Holdings, size: int) -> Listing:
    now, usable = datetime.now(UTC), whole_bases(holdings)
    beat, proved = holdings.beat, certificates.newest(site.home, good=True)
    return Listing(
        archive=site.archive.where,
        encrypted=site.archive.encrypts,
        bytes=size,
        bytes_of_database=holdings.bytes,
        windows=list(holdings.windows),
        gaps=list(holdings.gaps),
        beat_age_seconds=None if beat is None else round(max(0.0, (now - beat.at).total_seconds()), 3),
        backups=[_backup(base, holdings, now, usable=base.label in usable) for base in holdings.bases],
        unread=list(holdings.unread),
        proved_at=proved.began_at if proved is not None else None,
    )


def _backup(base: Base, holdings: Holdings, now: datetime, *, usable: bool) -> Backup:
    chain = chain_in({one.label: one for one in holdings.bases}, base)
    return Backup(
        label=base.label,
        kind=base.kind,
        chain=[one.label for one in chain],
        usable=usable,
        ended_at=base.ended_at,
        age_seconds=round((now - base.ended_at).total_seconds(), 3),
        database_bytes=base.database_bytes,
        archive_bytes=base.archive_bytes,
        source=base.source,
        verified_at=base.verified_at,
    )


def _show_windows(seen: Listing) -> None:
    for window in seen.windows:
        newest = window == seen.windows[-1] and seen.beat_age_seconds is not None
        age = f"  ({_span(seen.beat_age_seconds or 0)} ago)" if newest else ""
        out.print(f"window  {in_words([window])}{age}", soft_wrap=True, markup=False)
    for gap in seen.gaps:
        after = f"after {Moment(at=gap.after).in_words}" if gap.after is not None else "before"
        until = f"until {Moment(at=gap.until).in_words}" if gap.until is not None else "until the next backup"
        log = f"log {lsn_in_words(gap.start)} to {lsn_in_words(gap.end)} is missing"
        out.print(f"gap  {after} {until} nothing can be recovered: {log}", soft_wrap=True, markup=False)
    if seen.backups:
        age = f"{_span((datetime.now(UTC) - seen.proved_at).total_seconds())} ago" if seen.proved_at is not None else "never"
        out.print(f"proved  {age}", soft_wrap=True, markup=False)
    for why in seen.unread:
        out.print(f"damaged  {why}", soft_wrap=True, markup=False)


def _row(one: Backup) -> tuple[str, ...]:
    verified = f"verified {one.verified_at:%Y-%m-%d %H:%M}" if one.verified_at is not None else "not verified yet"
    stands = f"on {one.chain[-2]}" if len(one.chain) > 1 else "alone" if one.kind == "full" else "on one that is missing"
    usable = one.kind if one.usable else f"{one.kind}, of no use: its log or what it stands on is missing"
    return (
        one.label,
        usable,
        f"{_span(one.age_seconds)} old",
        _mb(one.database_bytes),
        _mb(one.archive_bytes),
        stands,
        verified,
        one.source,
    )


def _show_report(report: Report) -> None:
    for one in report.backups:
        state = "sound" if not one.findings else "NOT SOUND"
        chain = f" (with {', '.join(one.chain[:-1])})" if len(one.chain) > 1 else ""
        out.print(f"{one.label}{chain}  {state}  {one.seconds:.1f} s", soft_wrap=True, markup=False)
        for finding in one.findings:
            out.print(f"  {finding.name}: {finding.what}", soft_wrap=True, markup=False)
    if report.log is not None:
        log = report.log
        state = "no hole, all sound" if not log.findings else "NOT SOUND"
        read = f"{log.objects:,} objects, {_mb(log.bytes)}"
        out.print(f"log {log.since} to {log.until}  {state}  {read}  {log.seconds:.1f} s", soft_wrap=True, markup=False)
        for finding in log.findings:
            out.print(f"  {finding.name}: {finding.what}", soft_wrap=True, markup=False)


def _mb(size: int) -> str:
    return f"{size / 1_000_000:,.1f} MB"


def _span(seconds: float) -> str:
    if seconds < MINUTE:
        return f"{seconds:.1f} s"
    if seconds < HOUR:
        return f"{seconds / MINUTE:.0f} min"
    return f"{seconds / HOUR:.1f} h" if seconds < 2 * DAY else f"{seconds / DAY:.1f} days"
