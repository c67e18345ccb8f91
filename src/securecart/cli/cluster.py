"""`securecart cluster`: the nodes of the orders database, a planned hand-over, a take-over, a node brought back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Annotated

import typer
from msgspec import Struct
from rich.table import Table

from securecart import settings
from securecart.cli.engines import HomeOption, JsonOption
from securecart.cli.screen import out, say, show_json
from securecart.engines import Home, address_of, supervisor_of
from securecart.errors import NotRunning
from securecart.ops import cluster as ops
from securecart.ops.cluster import Cluster, Node, Snapshot, Step

app = typer.Typer(
    help="See the nodes of the orders database, hand over, bring a node back (profile ha or regions).",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

ToOption = Annotated[
    str | None, typer.Option("--to", help="The node that is to be the writer.", show_default="the one that confirms commits")
]


class Report(Struct, frozen=True):
    """What a command did: each step in a sentence, the seconds it took, and the cluster afterwards."""

    steps: list[str]
    seconds: float
    writer: str | None
    cluster: Snapshot


@app.command()
def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show each node: its part, whether it serves, its timeline, how far it is behind; exit code 1 unless all is well.

    [bold]writer[/bold] takes every write; of the [bold]synchronous[/bold] ones the first to have a commit confirms it, and only
    then it is acknowledged; a [bold]reader[/bold] follows and confirms nothing. A held node stays down until it rejoins.
    """
    seen = asyncio.run(ops.observe(_cluster(home)))
    if as_json:
        show_json(seen)
    else:
        _show(seen)
    if not seen.healthy:
        raise typer.Exit(1)


@app.command()
def switchover(to: ToOption = None, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Hand the writer's part over, planned: before maintenance, or to move it back. Nothing is lost; writes wait a moment.

    Only a node that confirms commits can take over, and only once it has all of them; without --to whichever is first, which is
    about two seconds faster. The old writer follows the new one.
    """
    _do(home, lambda seen: ops.switchover(seen, to), as_json=as_json)


@app.command()
def failover(
    to: ToOption = None,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Go on with a node that may miss acknowledged orders.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have a node take over where there is no writer and none comes by itself. You will rarely need it.

    After a crash the standby that has most takes over without hands: within seconds when PostgreSQL died, within the writer's
    lease of 20 seconds when the whole node did. This command is for what is left: the cluster is paused, or two of three nodes
    are lost. A node that may miss orders that customers were told of takes over only with [bold]--accept-loss[/bold].
    """
    _do(home, lambda seen: ops.failover(seen, to, accept_loss=accept_loss), as_json=as_json)


@app.command()
def rejoin(
    node: Annotated[str, typer.Argument(help="The node, as `securecart cluster status` calls it.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring back a node that is down, held, or does not follow: it is started, and brought in line with the writer.

    What the node had and the writer has not was never acknowledged, and is undone (pg_rewind). When the node still does not
    follow after a minute, its data are thrown away and copied from the writer; that is said.
    """
    folder = Home(settings.load(home).home_path)
    if supervisor_of(folder) is None:
        raise NotRunning(home=str(folder.path))  # who would start the node?
    _do(home, lambda seen: ops.rejoin(seen, node), as_json=as_json)


def _cluster(home: str | None) -> Cluster:
    loaded = settings.load(home)
    if not loaded.postgres_url:
        raise NotRunning(home=str(loaded.home_path))
    return Cluster.of(loaded)


def _do(home: str | None, decide: Callable[[Snapshot], list[Step]], *, as_json: bool) -> None:
    report = asyncio.run(_carried_out(_cluster(home), decide))
    if as_json:
        show_json(report)
    else:
        say(f"done after {report.seconds:.1f} s")
        _show(report.cluster)


async def _carried_out(cluster: Cluster, decide: Callable[[Snapshot], list[Step]]) -> Report:
    began = time.monotonic()
    said = []
    async for sentence in ops.carry_out(cluster, decide(await ops.observe(cluster))):
        say(sentence)
        said.append(sentence)
    seconds = time.monotonic() - began
    after = await ops.observe(cluster)
    return Report(said, round(seconds, 3), after.writer.name if after.writer else None, after)


def _show(seen: Snapshot) -> None:
    if not out.is_terminal:
        for node in seen.nodes:
            parts = (node.name, node.role or "-", _state(node), _timeline(node), _behind(node), address_of(node.url))
            out.print("  ".join(part for part in parts if part), soft_wrap=True, markup=False)
    else:
        table = Table("Node", "Part", "State", "Timeline", "Behind", "Patroni")
        for node in seen.nodes:
            table.add_row(node.name, node.role, _state(node), _timeline(node), _behind(node), address_of(node.url))
        out.print(table)
    if seen.writer is None:
        say("there is no writer at the moment")
    elif seen.synchronous is None:
        say("no standby confirms commits: writes wait until one does")
    if seen.paused:
        say("the cluster is paused: nobody takes over")


def _state(node: Node) -> str:
    return node.state + (", held" if node.held else "")


def _timeline(node: Node) -> str:
    return f"timeline {node.timeline}" if node.timeline else ""


def _behind(node: Node) -> str:
    return "" if node.behind_bytes is None else f"{node.behind_bytes:,} bytes behind"
