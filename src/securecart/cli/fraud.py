"""`securecart fraud`: learn from past orders whose outcome is known, and measure how well that tells fraud from the rest.

What the shop's staff does with live orders is in `fraud_orders.py`.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.table import Table

from securecart import fraud, settings
from securecart.app import open_shop
from securecart.cli import fraud_orders
from securecart.cli.engines import HomeOption, JsonOption
from securecart.cli.screen import out, say, show_json
from securecart.errors import BadInput, DataMissing
from securecart.fraud import Format, Lesson, ModelKind, NewAccount, Report, Row

__all__ = ["app"]

PAGE = 5_000
DAY_S = 86_400

app = typer.Typer(
    help="See what waits and why, say what was fraud; learn from past orders, and measure how good that is.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
for _command in (fraud_orders.review, fraud_orders.explain, fraud_orders.rings, fraud_orders.mark):
    app.command()(_command)

FormatOption = Annotated[Format, typer.Option("--format", help="What the columns are called; see docs/fraud.md.")]
TrainOption = Annotated[Path, typer.Option("--train", metavar="FILE", help="CSV to learn from, packed with gzip or not.")]
KindOption = Annotated[ModelKind, typer.Option("--model", help="Weights, boosted trees, or the mean of both.")]
DelayOption = Annotated[float, typer.Option("--label-delay-days", min=0, help="How long fraud takes to become known.")]


@app.command("evaluate")
def evaluate(
    form: FormatOption,
    train: TrainOption,
    test: Annotated[Path, typer.Option("--test", metavar="FILE", help="CSV to be judged, not learnt from.")],
    kind: KindOption = "both",
    label_delay_days: DelayOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Learn from one file and judge another, row by row, each seeing only what came before it.

    Both files are replayed as one story by time; rows of the same time come in the order of the files, those to learn from
    first, and never see each other's outcome. Baselines are judged on the same rows.
    """
    learnt_from, judged = fraud.read_rows(form, train), fraud.read_rows(form, test)
    report = fraud.evaluate(form, learnt_from, judged, kind, label_delay_days=label_delay_days)
    if as_json:
        show_json(report)
    else:
        _show(report)


@app.command("splits")
def splits(
    form: FormatOption,
    file: Annotated[Path, typer.Option("--file", metavar="FILE", help="CSV to be split, packed with gzip or not.")],
    kind: KindOption = "both",
    label_delay_days: DelayOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Split one file in several ways, by time (cards) or by device (ecommerce), and show mean and spread.

    One split with a few hundred frauds says little: look here before you believe a difference of a hundredth.
    """
    found = fraud.evaluate_splits(form, fraud.read_rows(form, file), kind, label_delay_days=label_delay_days)
    if as_json:
        show_json(found)
        return
    table = Table("", "AUC", "spread", "average precision", "AUC of each split")
    for name, one in found.items():
        each = " ".join(f"{auc:.3f}" for auc in one.aucs)
        table.add_row(name.replace("_", " "), f"{one.auc:.3f}", f"{one.auc_deviation:.3f}", f"{one.average_precision:.3f}", each)
    out.print(table)


@app.command("train")
def train(
    form: Annotated[
        Format | None, typer.Option("--format", help="What the columns of the file are called; see docs/fraud.md.")
    ] = None,
    train: Annotated[
        Path | None, typer.Option("--train", metavar="FILE", help="CSV to learn from; none: the shop's own orders.")
    ] = None,
    *,
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="Where the model is written, as JSON.")],
    kind: KindOption = "both",
    label_delay_days: Annotated[
        float | None, typer.Option("--label-delay-days", min=0, help="How long fraud takes to become known; none: as it was.")
    ] = None,
    home: HomeOption = None,
) -> None:
    """Learn from the shop's own orders and what was said of them, or from a file, and keep the model.

    Have the shop judge by it with [bold]SECURECART_FRAUD_MODEL=FILE[/bold]. Its figures are those of a model that knew only the
    earlier 70 % of the orders, on the others.
    """
    if (form is None) != (train is None):
        raise BadInput(problem="Give --format and --train together, or neither to learn from the shop's own orders.")
    if form is not None and train is not None:
        rows, days, what = fraud.read_rows(form, train), label_delay_days or 0.0, f"{train.name}, format {form}"
    else:
        rows, delay = asyncio.run(_own_rows(home))
        days, what = delay.total_seconds() / DAY_S if label_delay_days is None else label_delay_days, "the shop's own orders"
    model = fraud.learn(rows, kind, source=f"{what}, outcomes known after {days:.3g} days", label_delay_days=days)
    try:
        to.write_bytes(model.to_json())
    except OSError as error:
        raise DataMissing(problem=f"{to} cannot be written: {error.strerror}.") from error
    told = model.training
    say(f"learnt from {told.rows:,} rows, {told.fraud:,} of them fraud; the model is in {to}")
    if told.auc is None or told.average_precision is None:
        say("there is too little fraud to say how good it is")
    else:
        figures = f"AUC {told.auc:.3f}, average precision {told.average_precision:.3f}"
        say(f"one of the earlier rows judged the {told.judged:,} latest: {figures}")


async def _own_rows(home: str | None) -> tuple[list[Row], timedelta]:
    """The shop's decided orders and what is known of them, page by page."""
    found: list[Lesson] = []
    accounts: list[NewAccount] = []
    async with open_shop(settings.load(home)) as shop:
        last = UUID(int=0)
        while True:
            async with shop.database.fresh() as fresh:
                page, last = await fraud.new_accounts_after(fresh, last, limit=PAGE)
            if not page:
                break
            accounts += page
        while True:
            async with shop.database.fresh() as fresh:
                lessons = await fraud.lessons_after(fresh, found[-1].order_id if found else 0, limit=PAGE)
            if not lessons:
                break
            found += lessons
    return fraud.rows_of(found, accounts)


def _show(report: Report) -> None:
    title = (
        f"{report.format}: {report.rows:,} rows judged, {report.fraud:,} of them fraud; learnt from {report.train_rows:,} "
        f"with {report.train_fraud:,}; outcomes known after {report.label_delay_days:g} days; {report.seconds:.1f} s"
    )
    table = Table("", "AUC", "average precision", title=title, title_justify="left")
    table.add_row(f"SecureCart ({report.kind})", f"{report.auc:.3f}", f"{report.average_precision:.3f}", style="bold")
    for name, quality in report.baselines.items():
        table.add_row(name.replace("_", " "), f"{quality.auc:.3f}", f"{quality.average_precision:.3f}")
    out.print(table)
    thresholds = (
        ("review", report.review, report.precision_at_review, report.recall_at_review),
        ("decline", report.decline, report.precision_at_decline, report.recall_at_decline),
    )
    for name, threshold, precision, recall in thresholds:
        right = "nothing reaches it" if precision is None else f"{precision:.1%} of what reaches it is fraud"
        out.print(f"{name} from {threshold:.0%}: {right}, {recall:.1%} of the fraud is found")
