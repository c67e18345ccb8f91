"""`securecart fraud`: learn from past orders whose outcome is known, and measure how well that tells fraud from the rest.

What the shop's staff does with live orders is in `fraud_orders.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from securecart import fraud
from securecart.cli import fraud_orders
from securecart.cli.engines import JsonOption
from securecart.cli.screen import out, say
from securecart.errors import DataMissing
from securecart.fraud import Example, Format, ModelKind, Report

__all__ = ["app"]

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
        typer.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
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
        typer.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
        return
    table = Table("", "AUC", "spread", "average precision", "AUC of each split")
    for name, one in found.items():
        each = " ".join(f"{auc:.3f}" for auc in one.aucs)
        table.add_row(name.replace("_", " "), f"{one.auc:.3f}", f"{one.auc_deviation:.3f}", f"{one.average_precision:.3f}", each)
    out.print(table)


@app.command("train")
def train(
    form: FormatOption,
    train: TrainOption,
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="Where the model is written, as JSON.")],
    kind: KindOption = "both",
    label_delay_days: DelayOption = 0,
) -> None:
    """Learn from a file, and keep the model."""
    learnt, _ = fraud.cases(fraud.read_rows(form, train), [], label_delay_days)
    examples = [Example(case.features, case.row.is_fraud) for case in learnt]
    model = fraud.train(examples, kind, source=f"{train.name}, format {form}, outcomes known after {label_delay_days:g} days")
    try:
        to.write_bytes(model.to_json())
    except OSError as error:
        raise DataMissing(problem=f"{to} cannot be written: {error.strerror}.") from error
    say(f"learnt from {model.training.rows:,} rows, {model.training.fraud:,} of them fraud; the model is in {to}")


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
