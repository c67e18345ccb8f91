"""`securecart import products FILE`: bring a catalogue in from CSV or JSON lines."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Literal

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from securecart import catalog, settings
from securecart.catalog import ImportReport, NewProduct, Rejected
from securecart.cli.engines import HomeOption, JsonOption
from securecart.errors import DataMissing, NotRunning
from securecart.settings import Settings
from securecart.stores import cache, postgres

__all__ = ["app"]

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode="rich")
err = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


@app.callback()
def imports() -> None:
    """Bring in products from files."""


@app.command("products")
def products(
    file: Annotated[str, typer.Argument(help="CSV or JSON lines, packed with gzip or not; - is standard input.")],
    maps: Annotated[
        list[str] | None, typer.Option("--map", metavar="TARGET=COLUMN", help="What a column holds. Repeatable.")
    ] = None,
    map_file: Annotated[Path | None, typer.Option("--map-file", help="The same as a TOML file: target = 'column'.")] = None,
    kind: Annotated[Literal["csv", "jsonl"] | None, typer.Option("--format", help="Seen from the file when left out.")] = None,
    currency: Annotated[str, typer.Option(metavar="CODE", help="Of prices whose column names none.")] = "USD",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import products; those unchanged since the last import are left alone, so it is safe to repeat.

    Targets: slug, sku, title, variant, description, brand, categories (A > B > C), tax_class, image_url, active,
    price.USD (12.50), price_minor.USD (1250), attribute.NAME, and attributes=PREFIX* for all columns that begin so.
    Rows that share a slug are variants of one product. A row that cannot be used is named on standard error and all
    others are imported; the exit code is 1 then.
    """
    given = catalog.column_map(maps or [], map_file)
    began = time.perf_counter()
    with _opened(file) as (source, size):
        rows = catalog.read_products(source, given, kind=kind, currency=currency)
        with _bar(source, size) as progress:
            report = asyncio.run(_import(settings.load(home), rows, lambda one: _tell(file, one), progress))
    seconds = round(time.perf_counter() - began, 2)
    if as_json:
        typer.echo(msgspec.json.encode({**msgspec.structs.asdict(report), "seconds": seconds}).decode())
    else:
        err.print(
            f"products: {report.created:,} new, {report.updated:,} changed, {report.unchanged:,} as they were, "
            f"{report.rejections:,} rejected, {seconds:.1f} s"
        )
    if report.rejections:
        raise typer.Exit(1)


async def _import(
    loaded: Settings,
    rows: Iterator[NewProduct | Rejected],
    reject: Callable[[Rejected], None],
    progress: Callable[[ImportReport], None],
) -> ImportReport:
    if not loaded.postgres_url:
        raise NotRunning(home=str(loaded.home_path))
    database = await postgres.connect(loaded.postgres_url, pool_size=2)
    memory = cache.connect(loaded.valkey_url)
    try:
        return await catalog.import_products(database, memory, rows, progress=progress, reject=reject)
    finally:
        await memory.close()
        await database.close()


@contextmanager
def _opened(name: str) -> Iterator[tuple[IO[bytes], int | None]]:
    """The file and its size in bytes where that is known."""
    if name == "-":
        yield sys.stdin.buffer, None
        return
    path = Path(name)
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataMissing(problem=f"{name} cannot be read: {error.strerror}.") from error
    with file:
        yield file, path.stat().st_size if path.is_file() else None


@contextmanager
def _bar(source: IO[bytes], size: int | None) -> Iterator[Callable[[ImportReport], None]]:
    """On a terminal, a bar of how much of the file is read and what was made of it so far."""
    if not err.is_terminal:
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("reading", total=size)

        def update(done: ImportReport) -> None:
            products = done.created + done.updated + done.unchanged
            text = f"{products:,} products, {done.rejections:,} rejected"
            bar.update(task, description=text, completed=source.tell() if size else None)

        yield update


def _tell(file: str, rejected: Rejected) -> None:
    err.print(f"{file}:{rejected.line}: {rejected.reason}")
