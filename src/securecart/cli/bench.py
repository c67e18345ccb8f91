"""`securecart bench`: measure the running shop. The benches themselves are in the checkout's `bench/` folder."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console

from securecart.cli.screen import show_json
from securecart.errors import DataMissing

__all__ = ["app"]

ROOT = Path(__file__).parents[3]

app = typer.Typer(no_args_is_help=True, help="Measure the running shop beside its own limits.", rich_markup_mode="rich")

Home = Annotated[
    str | None, typer.Option("--home", envvar="SECURECART_HOME", help="Folder of the running shop.", show_default=".securecart")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON for programs; progress goes to stderr.")]
Seconds = Annotated[float, typer.Option("--seconds", min=0.2, help="Seconds to measure in each round.")]
Rounds = Annotated[int, typer.Option("--rounds", min=1, help="Rounds; each measures the limit and the shop in turn.")]
WarmUp = Annotated[float, typer.Option("--warm-up", min=0.0, help="Seconds to warm up before each measuring.")]
Seed = Annotated[int, typer.Option("--seed", help="Chooses what is asked for; 0: something new each time.")]
Keep = Annotated[bool, typer.Option("--keep", help="Keep the result in docs/benchmarks/ and write docs/benchmarks.md anew.")]


@app.command()
def lookup(
    home: Home = None,
    as_json: Json = False,
    seconds: Seconds = 4.0,
    connections: Annotated[int, typer.Option("--connections", min=1, help="Callers at once.")] = 16,
    rounds: Rounds = 3,
    warm_up: WarmUp = 1.0,
    keep: Keep = False,
) -> None:
    """One product by its key, warm, beside the same server answering the same bytes from a constant."""
    _run("lookup", home, as_json, keep, seconds=seconds, connections=connections, rounds=rounds, warm_up_s=warm_up)


@app.command()
def search(
    home: Home = None,
    as_json: Json = False,
    seconds: Seconds = 5.0,
    connections: Annotated[int, typer.Option("--connections", min=1, help="Callers at once.")] = 4,
    rounds: Rounds = 2,
    warm_up: WarmUp = 1.0,
    seed: Seed = 0,
    keep: Keep = False,
) -> None:
    """Shoppers' searches, new ones and repeated ones, beside the bare SQL of their hits."""
    _run("search", home, as_json, keep, seconds=seconds, connections=connections, rounds=rounds, warm_up_s=warm_up, seed=seed)


@app.command()
def cart(
    home: Home = None,
    as_json: Json = False,
    seconds: Seconds = 4.0,
    connections: Annotated[int, typer.Option("--connections", min=1, help="Shoppers at once.")] = 16,
    rounds: Rounds = 3,
    warm_up: WarmUp = 6.0,
    keep: Keep = False,
) -> None:
    """Filling carts, beside DynamoDB's own write rate."""
    _run("cart", home, as_json, keep, seconds=seconds, connections=connections, rounds=rounds, warm_up_s=warm_up)


@app.command()
def checkout(
    home: Home = None,
    as_json: Json = False,
    seconds: Seconds = 3.0,
    connections: Annotated[int, typer.Option("--connections", min=1, help="Shoppers at once in whole journeys.")] = 16,
    rounds: Rounds = 2,
    warm_up: WarmUp = 1.0,
    seed: Seed = 1,
    keep: Keep = False,
) -> None:
    """Buying carts that are there, grouped and not, spread and on one SKU; whole journeys; each beside its limit."""
    _run("checkout", home, as_json, keep, seconds=seconds, connections=connections, rounds=rounds, warm_up_s=warm_up, seed=seed)


@app.command()
def replicas(
    home: Home = None,
    as_json: Json = False,
    seconds: Seconds = 4.0,
    connections: Annotated[int, typer.Option("--connections", min=1, help="Callers at once.")] = 16,
    rounds: Rounds = 3,
    warm_up: WarmUp = 1.0,
    keep: Keep = False,
) -> None:
    """Catalogue and history reads with no replica, one and two, and the writer's CPU time that they spare."""
    _run("replicas", home, as_json, keep, seconds=seconds, connections=connections, rounds=rounds, warm_up_s=warm_up)


@app.command()
def million(
    home: Home = None,
    as_json: Json = False,
    orders: Annotated[int, typer.Option("--orders", min=10, help="Orders to place.")] = 1_000_000,
    connections: Annotated[int, typer.Option("--connections", min=1, help="Shoppers at once.")] = 64,
    seed: Seed = 1,
    keep: Keep = False,
) -> None:
    """A million orders in a row: speed, memory and lag from beginning to end. Ctrl-C ends it early and tells what there was."""
    result = _run("million", home, as_json, keep, orders=orders, connections=connections, seed=seed)
    if result.figures["orders_acknowledged"] < orders or result.figures["promises_broken"]:
        raise typer.Exit(1)


@app.command()
def backup(
    as_json: Json = False,
    orders: Annotated[int, typer.Option("--orders", min=100, help="Orders that the shop is filled with.")] = 200_000,
    seconds: Annotated[float, typer.Option("--seconds", min=0.5, help="Seconds to measure checkouts in each round.")] = 6.0,
    connections: Annotated[int, typer.Option("--connections", min=1, help="Shoppers at once.")] = 64,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Rounds; each measures with and without in turn.")] = 2,
    kills: Annotated[int, typer.Option("--kills", min=1, help="How often the database is killed under load.")] = 5,
    seed: Seed = 1,
    keep: Keep = False,
) -> None:
    """What backups cost and are worth: checkouts beside one, size, loss, seconds back. On a shop of its own; it takes a while."""
    given = {"orders": orders, "seconds": seconds, "connections": connections, "rounds": rounds, "kills": kills, "seed": seed}
    _finish("backup", lambda bench: bench.run(bench.Options(**given)), as_json, keep)


@app.command()
def fraud(
    as_json: Json = False,
    accounts: Annotated[int, typer.Option("--accounts", min=100, help="Accounts in the graph.")] = 200_000,
    links: Annotated[int, typer.Option("--links", min=500, help="Links between orders and things.")] = 1_000_000,
    seconds: Seconds = 6.0,
    connections: Annotated[int, typer.Option("--connections", min=1, help="Callers at once.")] = 16,
    learn: Annotated[int, typer.Option("--learn", min=1_000, help="Orders to learn while that is measured.")] = 10_000,
    rounds: Annotated[int, typer.Option("--rounds", min=0, help="Rounds of placing orders, with fraud on and off; 0: none.")] = 3,
    seed: Seed = 1,
    keep: Keep = False,
) -> None:
    """Judging by a large graph, learning, the same asked of PostgreSQL, and what it costs a shop. On engines of its own."""
    given = {"accounts": accounts, "links": links, "seconds": seconds, "connections": connections, "learn": learn}
    given |= {"rounds": rounds, "seed": seed}
    _finish("fraud", lambda bench: bench.run(bench.FraudOptions(**given)), as_json, keep)


@app.command()
def record() -> None:
    """Write the tables of docs/benchmarks.md anew from the results kept in docs/benchmarks/."""
    for name in _from_checkout("report").record():
        typer.echo(f"docs/benchmarks.md: {name}", err=True)


def _run(name: str, home: str | None, as_json: bool, keep: bool, **options: Any) -> Any:
    """Measure the shop that runs from `home`."""
    harness = _from_checkout("harness")

    def measure(bench: Any) -> Coroutine[Any, Any, Any]:
        chosen = getattr(bench, "Options", harness.Options)(**options)
        return bench.run(harness.running_shop(home), chosen)  # type: ignore[no-any-return]

    return _finish(name, measure, as_json, keep)


def _finish(name: str, measure: Callable[[Any], Coroutine[Any, Any, Any]], as_json: bool, keep: bool) -> Any:
    """Measure, keep and print the result."""
    report, bench = (_from_checkout(module) for module in ("report", name))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(measure(bench))
    if keep:
        report.keep(result)
        report.record()
    if as_json:
        show_json(result)
    else:
        report.print_result(result, Console())
    return result


def _from_checkout(module: str) -> Any:
    if not (ROOT / "bench" / "harness.py").exists():
        raise DataMissing(
            problem=f"The benches are no part of the installed package: {ROOT / 'bench'} is missing. Clone the repository, "
            "run `make setup` there, and call its .venv/bin/securecart."
        )
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return importlib.import_module(f"bench.{module}")
