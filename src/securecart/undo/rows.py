"""Bring back what an accident deleted or damaged, while the shop sells on: looked at first, then in one checked transaction.

A server aside is held right before the accident, and what is missing or different by now is read there; it then goes on to
right after the accident, so that what the accident did can be told from what was done since.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn, cast

import asyncpg
import msgspec
from msgspec import Struct

from securecart import catalog, promises
from securecart.errors import BadInput, RecoveryRefused, StoreAway
from securecart.ops.recovery.bringing_back import Return
from securecart.ops.recovery.comparing import Key, compare
from securecart.ops.recovery.deciding import Conflict, Facts, Plan, Wish
from securecart.ops.recovery.going_back import Held, held_at
from securecart.ops.recovery.lost_rows import Lost
from securecart.ops.recovery.model import Moment, Site
from securecart.ops.recovery.restoring import Tell
from securecart.ops.recovery.schema import SESSION, Shape, key_text, quoted, with_ancestors
from securecart.patience import POSTGRES_LONG
from securecart.promises import Finding
from securecart.stores import postgres
from securecart.stores.postgres import Database, Fresh, Transaction, statements_of, value
from securecart.telemetry import log
from securecart.undo.accident import Accident, find_accident
from securecart.undo.live import check_names, connect_live
from securecart.undo.policies import CATALOGUE, POLICY
from securecart.undo.telling import Concerned, Told, tell_shop

__all__ = ["Ask", "Part", "Report", "bring_back"]

SQL = statements_of(__package__)

CONFLICTS_SHOWN = 100
FINDINGS_SHOWN = 5
WHERE_WITHIN_S = 60.0
LOG = "recoveries.jsonl"


class Ask(Struct, frozen=True):
    """What is wanted back: since when, until when, of which tables, and of the only one which rows."""

    at: Moment
    until: Moment | None = None
    tables: tuple[str, ...] = ()
    where: str = ""


class Part(Struct, frozen=True):
    """Rows of a table: written again, put back, with counters corrected; in conflict; and others that differ and are left."""

    table: str
    written: int = 0
    put_back: int = 0
    corrected: int = 0
    conflicts: int = 0
    left: int = 0
    note: str = ""


class Report(Struct, frozen=True):
    """What was brought back, or would be. `still_wrong`: what was not as promised before, and is not now either.

    `rows` counts what came back; of `conflicts` the first are told, `conflicts_in_all` counts them.
    """

    accident: Accident
    carried_out: bool
    rows: int
    tables: tuple[Part, ...]
    conflicts: tuple[Conflict, ...]
    conflicts_in_all: int
    told: Told = Told()
    still_wrong: tuple[str, ...] = ()
    seconds: float = 0.0


class _OnlyLooked(Exception):
    """The transaction was for looking, and is rolled back."""


async def bring_back(site: Site, ask: Ask, *, carry_out: bool, tell: Tell) -> Report:
    """Bring back what the accident took, or with `carry_out` false say what would come back and change nothing.

    `BadInput` for names and conditions that make no sense, `RecoveryRefused` for what cannot be done; then nothing was changed.
    """
    began = time.monotonic()
    await _check(site, ask)
    async with held_at(site, ask.at, tell=tell) as held:
        accident = await find_accident(site, held, ask.at, ask.until, ask.tables, tell)
        await held.go_on_to(accident.before)
        before, now = await held.connect(settings=SESSION), await connect_live(site)
        try:
            comparison = await compare(before, now, lambda shape: _compared(shape, accident), tell=tell)
            keys = await _keys_where(before, comparison.before, ask)
            with Lost(comparison, POLICY, site.home.run()) as lost:
                tell("reading what is gone or different")
                await lost.read(before, now)
                concerned = Concerned.by(lost.shape, lost.links, accident.tables)
                wrong_then = await _wrong(cast("Fresh", before), concerned)
                await before.close()
                facts = await _facts_after(held, accident.after, lost)
                wish = Wish(ask.tables, keys, window=ask.until is not None)
                report = await _write(site, _Case(accident, lost, facts, wish, wrong_then), carry_out=carry_out, tell=tell)
        finally:
            before.terminate()
            now.terminate()
    report = msgspec.structs.replace(report, seconds=round(time.monotonic() - began, 2))
    if carry_out and report.rows:
        await _note(site, ask, report)
    return report


class _Case(Struct, frozen=True):
    """All that is known of an accident."""

    accident: Accident
    lost: Lost
    facts: Facts
    wish: Wish
    wrong_then: list[Finding]


async def _check(site: Site, ask: Ask) -> None:
    await check_names(site, ask.tables)
    follows = [name for name in ask.tables if name in POLICY.follows]
    if follows:
        raise BadInput(field="tables", problem=f"{follows[0]} only follows from other tables; name those, and it will follow.")
    if ask.where and len(ask.tables) != 1:
        raise BadInput(field="where", problem="A condition is on the rows of one table; name it with --tables.")


def _compared(shape: Shape, accident: Accident) -> Collection[str]:
    """The tables that the accident touched, and those on which their rows hang."""
    return with_ancestors(shape, accident.tables - POLICY.follows)


async def _keys_where(before: asyncpg.Connection, shape: Shape, ask: Ask) -> frozenset[Key] | None:
    """The rows that meet the operator's condition, as they were right before the accident; None without any."""
    if not ask.where:
        return None
    table = shape.tables.get(ask.tables[0])
    if table is None or not table.key:
        raise BadInput(
            field="where", problem=f"The table {ask.tables[0]} had no primary key then; its rows cannot be told apart."
        )
    statement = f"SELECT {key_text(table.key, quoted(table.name))} FROM {quoted(table.name)} WHERE ({ask.where}\n)"  # noqa: S608 - the operator's own words, on the server aside only
    try:
        async with before.transaction(readonly=True):
            return frozenset(tuple(row) for row in await before.fetch(statement, timeout=WHERE_WITHIN_S))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
        why = str(error) or f"no answer within {WHERE_WITHIN_S:.0f} seconds"
        raise BadInput(field="where", problem=f"The condition --where {ask.where!r} cannot be asked: {why}.") from error


async def _facts_after(held: Held, after: Moment, lost: Lost) -> Facts:
    """What became of each row through the accident."""
    await held.go_on_to(after)
    connection = await held.connect(settings=SESSION)
    try:
        return await lost.facts(connection)
    finally:
        await connection.close()


async def _write(site: Site, case: _Case, *, carry_out: bool, tell: Tell) -> Report:
    """The transaction on the live database; only looked at and rolled back unless it is to be carried out."""
    database = await postgres.connect(site.settings.postgres_owner_url, pool_size=1)
    found: Report | None = None
    try:
        async with database.transaction() as tx:
            back = Return(tx, case.lost, await _not_yet_corrected(tx, case), POLICY, case.wish)
            concerned = _concerned(case, back.plan)
            if carry_out and concerned.is_catalogue:
                await catalog.take_turn(tx)
            tell("looking for what stands in the way")
            plan = await back.prepare()
            if not carry_out:
                found = _report(case, plan, carried_out=False)
                _roll_back()
            tell(f"bringing back {plan.rows:,} rows")
            found = await _carry_out(tx, case, back, concerned)
        if found.told.shelves:
            tell("counting what search shows")
            await _count_again(database)
    except _OnlyLooked:
        pass
    finally:
        await database.close()
    assert found is not None
    return found


async def _count_again(database: Database) -> None:
    """Have search count anew; what cannot be done now is marked as outdated, and the next import does it."""
    try:
        await catalog.refresh_counts(database)
    except StoreAway as away:
        log.warning("what search counts is made anew by the next import", reason=str(away))


def _roll_back() -> NoReturn:
    raise _OnlyLooked


async def _carry_out(tx: Transaction, case: _Case, back: Return, concerned: Concerned) -> Report:
    """Write the rows, have the shop follow, and see that its promises are kept; `RecoveryRefused` when they would not be."""
    wrong_before = await _wrong(tx, concerned)
    plan = await back.carry_out()
    told = Told()
    if plan.rows or concerned.whole_catalogue:
        await _note_done(tx, case, plan)
        told = await tell_shop(tx, _concerned(case, plan, left=True))
    wrong = await _wrong(tx, concerned)
    # an order that was incomplete before the accident already is not made so by coming back
    known = {_name(one) for one in (*wrong_before, *(one for one in case.wrong_then if one.promise == "incomplete"))}
    fresh = [one for one in wrong if _name(one) not in known]
    if fresh:
        words = " ".join(sorted(one.what for one in fresh)[:FINDINGS_SHOWN])
        problem = f"With these rows the shop's promises would not be kept, so nothing was changed. {words}"
        raise RecoveryRefused(problem=problem)
    still = tuple(sorted(one.what for one in wrong))
    return msgspec.structs.replace(_report(case, plan, carried_out=True), told=told, still_wrong=still[:CONFLICTS_SHOWN])


async def _not_yet_corrected(tx: Transaction, case: _Case) -> Facts:
    """The facts without the rows whose counters were corrected for this accident before: it cannot be seen in them."""
    accident = case.accident.transaction
    found = await tx.fetch(SQL["corrected"], accident.xid, accident.at) if accident is not None else []
    done = {(row["relation"], tuple(row["key"])) for row in found}
    if not done:
        return case.facts
    return {
        table: {key: fact for key, fact in rows.items() if fact.now is None or (table, key) not in done}
        for table, rows in case.facts.items()
    }


async def _note_done(tx: Transaction, case: _Case, plan: Plan) -> None:
    """Note the recovery, so that it is never taken for an accident, and the counters that need no second correction."""
    accident = case.accident.transaction
    undone = (accident.xid, accident.at) if accident is not None else (None, None)
    recovery = await value(tx, SQL["note_recovery"], *undone)
    for table, rows in plan.correct.items():
        keys = ["{" + ",".join(_in_array(part) for part in key) + "}" for key in rows]
        await tx.execute(SQL["note_corrected"], recovery, table, keys, timeout=POSTGRES_LONG.answer_s)


def _in_array(part: str) -> str:
    escaped = part.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _concerned(case: _Case, plan: Plan, *, left: bool = False) -> Concerned:
    """What the rows of the plan belong to; with `left` those of the catalogue too that stay as somebody has set them since."""
    links = case.lost.links
    spots = {
        table: {key: links[table][key] for part in (plan.write, plan.put_back, plan.correct) for key in part.get(table, ())}
        for table in plan.tables
    }
    for one in plan.conflicts if left else ():  # whoever set them may have told nobody, and pages show the accident
        if one.table in CATALOGUE:
            spots.setdefault(one.table, {})[one.key] = links[one.table][one.key]
    return Concerned.by(case.lost.shape, spots, case.accident.tables)


async def _wrong(fresh: Fresh, concerned: Concerned) -> list[Finding]:
    """What is not as promised with these orders and these SKUs."""
    return await promises.look_at(fresh, order_ids=await concerned.all_orders(fresh), skus=sorted(concerned.skus))


def _name(finding: Finding) -> tuple[str, str]:
    return finding.promise, finding.key


def _report(case: _Case, plan: Plan, *, carried_out: bool) -> Report:
    in_conflict: dict[str, int] = {}
    for one in plan.conflicts:
        in_conflict[one.table] = in_conflict.get(one.table, 0) + 1
    notes = {
        name: one.note for name, one in case.lost.comparison.differences.items() if one.note and name in case.accident.tables
    }
    parts = [
        Part(
            name,
            len(plan.write.get(name, ())),
            len(plan.put_back.get(name, ())),
            len(plan.correct.get(name, ())),
            in_conflict.get(name, 0),
            plan.left.get(name, 0),
            notes.get(name, ""),
        )
        for name in sorted({*plan.tables, *in_conflict, *plan.left, *notes})
    ]
    # what hangs on others only repeats their reason
    conflicts = sorted(plan.conflicts, key=lambda one: (one.why.startswith("it hangs on"), one.table, one.key))
    return Report(case.accident, carried_out, plan.rows, tuple(parts), tuple(conflicts[:CONFLICTS_SHOWN]), len(conflicts))


async def _note(site: Site, ask: Ask, report: Report) -> None:
    """Remember what was brought back: in the log, and in the home."""
    backs = {part.table: part.written + part.put_back + part.corrected for part in report.tables}
    log.warning(
        "rows were brought back",
        before=report.accident.before.in_words,
        after=report.accident.after.in_words,
        rows=report.rows,
        tables={name: count for name, count in backs.items() if count},
        conflicts=report.conflicts_in_all,
        seconds=report.seconds,
    )
    line = msgspec.json.encode({"at": datetime.now(UTC), "asked": ask, "report": report})
    await asyncio.to_thread(_append, site.home.path / "logs" / LOG, line)


def _append(path: Path, line: bytes) -> None:
    with path.open("ab") as file:
        file.write(line + b"\n")
