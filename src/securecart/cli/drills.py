"""`securecart drill`: break the shop on purpose, and see whether its promises are kept."""

from __future__ import annotations

import functools
import logging
import secrets
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
import typer
import uvloop

from securecart import drills, settings
from securecart.cli.engines import JsonOption
from securecart.cli.promises import verdict
from securecart.cli.screen import out, say
from securecart.engines import Step
from securecart.errors import BadInput

__all__ = ["app"]

INTERRUPTED = 130

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode="rich")


@app.callback()
def drill() -> None:
    """Break something on purpose while shoppers buy, and check every promise of the shop afterwards."""


@app.command("crash")
def crash(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; each kills one process.")] = 12,
    kill: Annotated[
        list[str] | None,
        typer.Option(help=f"Kill only processes of this kind, several times for several: {', '.join(drills.KINDS)}."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides who dies when and who buys what; 0: a new one each time.")] = 0,
    shoppers: Annotated[int, typer.Option(min=1, max=256, help="Shoppers at the same time.")] = 24,
    seconds: Annotated[float, typer.Option(min=0.0, help="The kill comes at a random moment of so many seconds.")] = 2.0,
    home: Annotated[
        str | None, typer.Option("--home", help="Drill the shop that runs from this folder, which is changed by it.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the drill's own home when a promise broke, and say where.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Kill -9 one process after the other under checkout load; exit code 1 when a promise was broken.

    Without --home it starts a whole shop in a folder of its own, and removes it afterwards. Every kind of process has its
    turn: web, worker, PostgreSQL (the server or one of its sessions), DynamoDB Local, Valkey, the card gateway.
    """
    unknown = sorted(set(kill or ()) - set(drills.KINDS))
    if unknown:
        raise BadInput(field="kill", problem=f"There is no kind {unknown[0]!r}; choose from {', '.join(drills.KINDS)}.")
    plan = drills.CrashPlan(rounds, seed or secrets.randbelow(10**6) + 1, tuple(kill or drills.KINDS), shoppers, seconds)
    show = say if as_json else functools.partial(out.print, soft_wrap=True)
    say(f"seed {plan.seed}")
    logging.getLogger("asyncpg").setLevel(logging.CRITICAL)  # its pools lament each death of PostgreSQL, which is no news here
    try:
        found = _drill_own_shop(plan, show, keep=keep) if home is None else _drill(home, plan, show)
    except KeyboardInterrupt:
        say("interrupted; everything is stopped" if home is None else "interrupted; the shop runs on")
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        show(_summary(found))
        out.print(verdict(found.report))
    if not found.kept:
        raise typer.Exit(1)


def _drill(home: str, plan: drills.CrashPlan, show: Callable[[str], None]) -> drills.Verdict:
    return uvloop.run(drills.drill_crash(settings.load(home), plan, tell=lambda one: show(_line(one))))


def _drill_own_shop(plan: drills.CrashPlan, show: Callable[[str], None], *, keep: bool) -> drills.Verdict:
    folder = Path(tempfile.mkdtemp(prefix="securecart-drill-"))
    say(f"the drill's own shop is in {folder}")

    async def run() -> drills.Verdict:
        async with drills.own_shop(folder, _report) as loaded:
            return await drills.drill_crash(loaded, plan, tell=lambda one: show(_line(one)))

    try:
        found = uvloop.run(run())
        keep = keep and not found.kept
    except KeyboardInterrupt:
        keep = False
        raise
    else:
        return found
    finally:
        if keep:
            say(f"its home is kept: securecart up --home {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _report(step: Step) -> None:
    if step.done:
        say(f"{step.engine} {step.text}")


def _line(one: drills.Round) -> str:
    return (
        f"{one.number:>3}  killed {one.killed:<25} no sale for {one.back_s:5.2f} s  "
        f"{one.acknowledged:>6,} orders told  {'kept' if one.kept else 'BROKEN'}  {one.seconds:4.1f} s"
    )


def _summary(found: drills.Verdict) -> str:
    refused = ", ".join(f"{count:,} {code}" for code, count in sorted(found.refused.items())) or "none"
    return (
        f"{found.rounds} rounds with seed {found.seed} in {found.seconds:,.0f} s; "
        f"longest without a sale {found.back_s_max:.2f} s; refused: {refused}"
    )
