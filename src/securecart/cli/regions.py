"""`securecart region`: two regions of one shop; who takes the writes, and how that is changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import msgspec
import typer
from msgspec import Struct
from rich.table import Table

from securecart import regions, settings
from securecart.cli.engines import HomeOption, JsonOption
from securecart.cli.screen import out, say, show_json
from securecart.engines import Home, supervisor_of
from securecart.engines.link import cut_file
from securecart.errors import NotRunning
from securecart.ops import regions as ops
from securecart.ops.regions import Region, Regions
from securecart.values import Money

app = typer.Typer(
    help="Two regions of one shop: who takes the writes, hand them over, take over, come back (profile regions).",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

NameArgument = Annotated[str, typer.Argument(help="The region, as `securecart region status` calls it.")]


class Report(Struct, frozen=True):
    """What a command did, each step in a sentence, how long that took, and the regions afterwards."""

    steps: list[str]
    seconds: float
    regions: Regions


@app.command()
def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show both regions: who takes the writes, and how far the other is behind; exit code 1 unless one writes and one follows.

    Behind, in seconds, is what would be lost if the writing region were lost now (the RPO): the age of the newest commit that
    the other has, or 0 where it has them all.
    """
    seen = asyncio.run(ops.observe(_home(home)))
    if as_json:
        show_json(seen)
    else:
        _show(seen)
    if sorted(region.part for region in seen.regions) != ["follower", "writer"]:
        raise typer.Exit(1)


@app.command()
def promote(
    name: NameArgument,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Give up what the fenced other region has and this one lacks.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have a region take the writes because the other is lost. A person decides this: it may cost the last orders.

    Refused while the other region is alive and not fenced, because two writers would sell the same goods twice. A region
    that gives no answer at all is fenced first: what is left of it is stopped, and when it comes back it follows. What was
    written there in its last moments and had not arrived is lost; [bold]region captures[/bold] finds the money of such orders.
    """
    _do(home, lambda whole, tell: regions.promote(whole, name, tell, accept_loss=accept_loss), as_json=as_json)


@app.command()
def move(name: NameArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Hand the writes over to a region, planned. Nothing is lost; checkouts wait some seconds.

    The other region stops taking writes, this one catches up and takes over, and the other follows it. When it cannot catch
    up within 20 seconds the writes are given back.
    """
    _do(home, lambda whole, tell: regions.move(whole, name, tell), as_json=as_json)


@app.command()
def fence(name: NameArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Make sure that a region takes no writes, now and when it comes back. The shop takes no orders then until one is promoted.

    One that is well follows the other from now on. One that is not is stopped, and held until [bold]region rejoin[/bold].
    """
    _do(home, lambda whole, tell: regions.fence(whole, name, tell), as_json=as_json)


@app.command()
def rejoin(name: NameArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Bring a lost region back: it is rebuilt from the other one and follows it. Move the writes back afterwards if you like.

    What only the lost region had is undone there (pg_rewind). Its histories and carts are made anew from the orders.
    """
    whole = _home(home)
    if supervisor_of(whole) is None:
        raise NotRunning(home=str(whole.path))  # who would start its engines?
    _do(home, lambda whole, tell: regions.rejoin(whole, name, tell), as_json=as_json)


@app.command()
def compare(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Hold both regions against each other, every row and every history; exit code 1 when they differ. Best while nobody buys."""
    found = asyncio.run(regions.compare(_home(home)))
    if as_json:
        show_json(found)
    elif found.equal:
        out.print("both regions are equal")
    else:
        for table, how in found.database.items():
            out.print(f"{table}: {how}", markup=False)
        for table, count in found.tables.items():
            out.print(f"{table}: {count:,} items differ", markup=False)
        for reader, count in found.projections.items():
            if count:
                out.print(f"{reader}: {count:,} shown otherwise than the orders say", markup=False)
    if not found.equal:
        raise typer.Exit(1)


@app.command()
def captures(
    give_back: Annotated[bool, typer.Option("--give-back", help="Return the money to its buyers.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find money that was taken for orders which were lost with a region, and give it back; exit code 1 while there is any.

    Only where the sandbox is the gateway, which shows its book. A buyer who sends the request again, with the same key, has a
    new order, which is paid anew.
    """
    loaded = settings.load(str(_home(home).path))
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


@app.command()
def cut(home: HomeOption = None) -> None:
    """Cut the simulated network between the regions, as a drill: nothing arrives until it is mended."""
    cut_file(_home(home)).touch()
    say("the link is cut; mend it with `securecart region mend`")


@app.command()
def mend(home: HomeOption = None) -> None:
    """Mend the simulated network between the regions."""
    cut_file(_home(home)).unlink(missing_ok=True)
    say("the link is mended")


def _home(home: str | None) -> Home:
    loaded = settings.load(home)
    if not loaded.postgres_url:
        raise NotRunning(home=str(loaded.home_path))
    return ops.whole_home(loaded)


def _do(home: str | None, act: Callable[[Home, Callable[[str], None]], Coroutine[Any, Any, None]], *, as_json: bool) -> None:
    whole, said, began = _home(home), list[str](), time.monotonic()

    def tell(sentence: str) -> None:
        say(sentence)
        said.append(sentence)

    async def carry_out() -> Regions:
        await act(whole, tell)
        return await ops.observe(whole)

    after = asyncio.run(carry_out())
    seconds = time.monotonic() - began
    if as_json:
        show_json(Report(said, round(seconds, 3), after))
    else:
        say(f"done after {seconds:.1f} s")
        _show(after)


def _show(seen: Regions) -> None:
    rows = [(region.name, region.part, _behind(region), _nodes(region)) for region in seen.regions]
    if out.is_terminal:
        table = Table("Region", "Part", "Behind", "Nodes")
        for row in rows:
            table.add_row(*row)
        out.print(table)
    else:
        for row in rows:
            out.print("  ".join(part for part in row if part), soft_wrap=True, markup=False)
    for region in seen.regions:
        if region.fenced and region.answers:
            say(f"region {region.name} is back and follows; finish its return with `securecart region rejoin {region.name}`")
    if seen.link_cut:
        say("the link between them is cut: mend it with `securecart region mend`")


def _behind(region: Region) -> str:
    if region.behind_seconds is None:
        return ""
    size = "" if region.behind_bytes is None else f"{region.behind_bytes:,} bytes, "
    return f"{size}at most {region.behind_seconds:.1f} s behind"


def _nodes(region: Region) -> str:
    return ", ".join(f"{node.label} {node.role or 'no answer'}" for node in region.nodes)
