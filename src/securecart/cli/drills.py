"""`securecart drill`: break the shop on purpose, and see whether its promises are kept."""

from __future__ import annotations

import functools
import logging
import secrets
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

import typer
import uvloop

from securecart import drills, settings
from securecart.cli.dependency import absence
from securecart.cli.drill_summary import summary_of
from securecart.cli.engines import JsonOption
from securecart.cli.failover import missed, title, told
from securecart.cli.promises import verdict
from securecart.cli.region_drill import missed_by_regions, told_of_regions
from securecart.cli.screen import out, say, show_json
from securecart.cli.undelete import missed_by_undelete, told_of_undelete
from securecart.engines import Step
from securecart.errors import BadInput
from securecart.settings import Settings
from securecart.telemetry import configure_logs

__all__ = ["app"]

INTERRUPTED = 130
# for a card that takes two seconds, which is under way when something dies
ENOUGH_TIME = {"gateway_timeout_s": 5.0, "reservation_seconds": 10}


class Outcome(Protocol):
    """What every drill ends with."""

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""


class Judged(Outcome, Protocol):
    """What a drill with goals ends with."""

    @property
    def met(self) -> bool:
        """Whether every goal was reached."""


Home = Annotated[str | None, typer.Option("--home", help="Drill the shop that runs from this folder, which is changed by it.")]
Keep = Annotated[bool, typer.Option("--keep", help="Keep the drill's own home when a promise broke, and say where.")]
Seed = Annotated[int, typer.Option(help="Decides who buys what, who reads which page, who dies when; 0: a new one each time.")]
Shoppers = Annotated[int, typer.Option(min=1, max=256, help="Shoppers at the same time.")]

Held = TypeVar("Held", bound=Outcome)
Drill = Callable[[Settings], Coroutine[Any, Any, Held]]

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
    seed: Seed = 0,
    shoppers: Shoppers = 24,
    seconds: Annotated[float, typer.Option(min=0.0, help="The kill comes at a random moment of so many seconds.")] = 2.0,
    home: Home = None,
    keep: Keep = False,
    as_json: JsonOption = False,
) -> None:
    """Kill -9 one process after the other under checkout load; exit code 1 when a promise was broken.

    Without --home it starts a whole shop in a folder of its own, and removes it afterwards. Every kind of process has its
    turn: web, worker, PostgreSQL (the server or one of its sessions), DynamoDB Local, Valkey, the graph, the card gateway.
    """
    unknown = sorted(set(kill or ()) - set(drills.KINDS))
    if unknown:
        raise BadInput(field="kill", problem=f"There is no kind {unknown[0]!r}; choose from {', '.join(drills.KINDS)}.")
    plan = drills.CrashPlan(rounds, seed or secrets.randbelow(10**6) + 1, tuple(kill or drills.KINDS), shoppers, seconds)
    show = say if as_json else functools.partial(out.print, soft_wrap=True)
    say(f"seed {plan.seed}")

    async def hold(loaded: Settings) -> drills.Verdict:
        return await drills.drill_crash(loaded, plan, tell=lambda one: show(_line(one)))

    found = _run(hold, home=home, keep=keep, profile="single")
    if as_json:
        show_json(found)
    else:
        show(_summary(found))
        out.print(verdict(found.report))
    if not found.kept:
        raise typer.Exit(1)


@app.command("failover")
def failover(
    mode: Annotated[str, typer.Option(help=f"What happens to the node that leads: {', '.join(drills.MODES)}.")] = "crash",
    seed: Seed = 0,
    shoppers: Shoppers = 16,
    picture: Annotated[Path | None, typer.Option(help="Write the chart to this SVG file too.")] = None,
    home: Home = None,
    keep: Keep = False,
    as_json: JsonOption = False,
) -> None:
    """Take the leading PostgreSQL node away under load; exit code 1 when a promise was broken or a goal missed.

    Without --home it starts a shop with three nodes in a folder of its own, and removes it afterwards. crash: kill -9 of
    PostgreSQL. node: kill -9 of everything on the node. freeze: its processes are stopped for longer than its lease, then
    thawed. switchover: planned.
    """
    if mode not in drills.MODES:
        raise BadInput(field="mode", problem=f"There is no mode {mode!r}; choose from {', '.join(drills.MODES)}.")
    plan = drills.FailoverPlan(mode, seed or secrets.randbelow(10**6) + 1, shoppers)
    say(f"seed {plan.seed}")
    found = _run(lambda loaded: drills.drill_failover(loaded, plan, tell=say), home=home, keep=keep, profile="ha")
    if picture is not None:
        picture.write_text(drills.draw_svg(found.chart, found.timeline, title=title(found)), encoding="utf-8")
        say(f"the chart is in {picture}")
    if as_json:
        show_json(found)
    else:
        out.print(drills.draw_text(found.chart), markup=False, soft_wrap=True)
        out.print(told(found), markup=False, soft_wrap=True)
    for sentence in missed(found):
        say(sentence)
    if not (found.kept and found.met):
        raise typer.Exit(1)


@app.command("dependency")
def dependency(
    kill: Annotated[str, typer.Option(help=f"What dies: {', '.join(drills.HELPERS)}.")],
    away: Annotated[float, typer.Option(min=0.5, help="Seconds that it stays away.")] = 5.0,
    seed: Seed = 0,
    shoppers: Shoppers = 16,
    home: Home = None,
    keep: Keep = False,
    as_json: JsonOption = False,
) -> None:
    """Take a helper away under load and let it back; exit code 1 when a promise broke or somebody was hurt needlessly.

    Without --home it starts a shop with two web processes in a folder of its own, and removes it afterwards. cache: Valkey.
    dynamodb: DynamoDB Local, with carts and sessions. web: one web process.
    """
    if kill not in drills.HELPERS:
        raise BadInput(field="kill", problem=f"There is no helper {kill!r}; choose from {', '.join(drills.HELPERS)}.")
    plan = drills.DependencyPlan(kill, seed or secrets.randbelow(10**6) + 1, shoppers, away)
    say(f"seed {plan.seed}")
    found = _run(
        lambda loaded: drills.drill_dependency(loaded, plan, tell=say), home=home, keep=keep, profile="single", **ENOUGH_TIME
    )
    if as_json:
        show_json(found)
    else:
        out.print(absence(found), markup=False, soft_wrap=True)
        out.print(verdict(found.report))
    if not (found.kept and found.met):
        raise typer.Exit(1)


@app.command("region")
def region(
    planned: Annotated[bool, typer.Option("--planned", help="Hand over instead: nothing may be lost.")] = False,
    seed: Seed = 0,
    shoppers: Annotated[int, typer.Option(min=1, max=64, help="Shoppers in each region at the same time.")] = 8,
    cut: Annotated[
        float, typer.Option(min=0.0, help="Cut the link so many seconds before the region dies: so much is lost.")
    ] = 0.0,
    home: Home = None,
    keep: Keep = False,
    as_json: JsonOption = False,
) -> None:
    """Lose the region that takes the writes, under load in both regions; exit code 1 when a promise broke or a goal was missed.

    Every process of the region is killed at once; the other is promoted by the code of `securecart region promote`; the same
    shoppers go on there, with their sessions and carts. Then the lost region comes back and both have to be equal. Without
    --home it starts a shop in two regions in a folder of its own. Repeated on one home it goes to and fro.
    """
    plan = drills.RegionPlan(planned, seed or secrets.randbelow(10**6) + 1, shoppers, cut)
    say(f"seed {plan.seed}")
    found = _run(
        lambda loaded: drills.drill_region(loaded, plan, tell=say), home=home, keep=keep, profile="regions", web_processes=1
    )
    _end(found, told_of_regions(found), missed_by_regions(found), as_json=as_json)


@app.command("undelete")
def undelete(
    orders: Annotated[int, typer.Option(min=1, max=100_000, help="Orders that are deleted.")] = 1_000,
    calm: Annotated[float, typer.Option(min=1.0, help="Seconds of shopping before a mishap, to compare with.")] = 15.0,
    form: Annotated[str, typer.Option(help=f"The mishap: {', '.join(drills.FORMS)}, or both, one after the other.")] = "both",
    seed: Seed = 0,
    shoppers: Shoppers = 16,
    home: Home = None,
    keep: Keep = False,
    as_json: JsonOption = False,
) -> None:
    """Lose rows by an operator's mistake under load and bring back just those; exit code 1 when it was not exact, or slow.

    orders: DELETE FROM orders, a thousand at once, with all that hangs on them. prices: every price becomes nothing. Then
    [bold]securecart recover rows --at[/bold] a few seconds before the mishap, while shoppers buy. Every lost row has to be as it
    was, byte by byte, no other may be touched, and what was changed on purpose since has to stay. Without --home it starts a
    shop in a folder of its own, and removes it afterwards; the mishap really happens to a shop that is given with --home.
    """
    if form not in {*drills.FORMS, "both"}:
        raise BadInput(field="form", problem=f"There is no form {form!r}; choose from {', '.join(drills.FORMS)}, both.")
    forms = tuple(one for one in drills.FORMS if form in {one, "both"})
    plan = drills.UndeletePlan(forms, orders, seed or secrets.randbelow(10**6) + 1, shoppers, calm)
    say(f"seed {plan.seed}")
    found = _run(
        lambda loaded: drills.drill_undelete(loaded, plan, tell=say), home=home, keep=keep, profile="single", web_processes=0
    )
    _end(found, told_of_undelete(found), missed_by_undelete(found), as_json=as_json)


@app.command("summary")
def summary(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="What `drill ... --json` printed.")],
    as_json: JsonOption = False,
) -> None:
    """Many runs of one drill in a few lines: the middle and the worst of each figure.

    Hold a drill many times with a loop: for i in $(seq 20); do securecart drill failover --json >> crash.json; done
    """
    tables = {file.stem: drills.summarise(drills.runs_in(file.read_text(encoding="utf-8"), str(file))) for file in files}
    if as_json:
        show_json(tables)
        return
    for name, figures in tables.items():
        out.print(summary_of(name, figures))


def _end(found: Judged, told: str, missed: Iterable[str], *, as_json: bool) -> None:
    """Say how a drill with goals ended; exit code 1 when a promise broke or a goal was missed."""
    if as_json:
        show_json(found)
    else:
        out.print(told, markup=False, soft_wrap=True)
    for sentence in missed:
        say(sentence)
    if not (found.kept and found.met):
        raise typer.Exit(1)


def _run(hold: Drill[Held], *, home: str | None, keep: bool, profile: str, **own: Any) -> Held:
    """Hold a drill on the shop that runs from `home`, or on one of its own; `typer.Exit` when it is interrupted."""
    logging.getLogger("asyncpg").setLevel(logging.CRITICAL)  # its pools lament each death of PostgreSQL, which is no news here
    configure_logs("critical")  # nor is it that a node is away
    try:
        if home is not None:
            return uvloop.run(hold(settings.load(home)))
        return _run_on_own_shop(hold, keep=keep, profile=profile, **own)
    except KeyboardInterrupt:
        say("interrupted; everything is stopped" if home is None else "interrupted; the shop runs on")
        raise typer.Exit(INTERRUPTED) from None


def _run_on_own_shop(hold: Drill[Held], *, keep: bool, profile: str, **own: Any) -> Held:
    folder = Path(tempfile.mkdtemp(prefix="securecart-drill-"))
    say(f"the drill's own shop is in {folder}")

    async def run() -> Held:
        async with drills.own_shop(folder, _report, profile=profile, **own) as loaded:
            return await hold(loaded)

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
