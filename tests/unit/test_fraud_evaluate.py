"""Evaluation: figures that agree with scikit-learn's, the command, and real fraud where its files are at hand."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from securecart.cli import app
from securecart.errors import BadInput
from securecart.fraud import Row, cases, evaluate, load_model, read_rows
from securecart.fraud.evaluate import precision_recall, quality_of
from securecart.fraud.splits import by_device, by_time

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra `fraud`)")

# Real card and shop fraud; its owners state no licence, so it is not part of the project.
REAL = Path(__file__).parents[3] / "shared" / "data"


def cards_file(path: Path, seed: int, start: int) -> Path:
    """Made-up cards: every fifth user is a thief, who buys dear things, often."""
    drawn = random.Random(seed)
    lines = ["transaction_id,merchant_id,user_id,card_number,transaction_date,transaction_amount,device_id,has_cbk"]
    for number in range(300):
        user = drawn.randrange(100)
        thief = user % 5 == 0 and drawn.random() < 0.8
        minute = start + number
        amount = round(drawn.lognormvariate(6 if thief else 4, 1), 2)
        when = f"2024-03-{1 + minute // 1440:02d}T{minute // 60 % 24:02d}:{minute % 60:02d}:00"
        lines.append(f"{number},{user % 7},u{user},4000**{user},{when},{amount},d{user},{str(thief).upper()}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_figures_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    drawn = random.Random(1)
    truths = [drawn.random() < 0.2 for _ in range(500)]
    scores = [round(drawn.random() + 0.3 * truth, 1) for truth in truths]  # rounded: with many ties
    found = quality_of(truths, scores)
    assert found.auc == pytest.approx(metrics.roc_auc_score(truths, scores), abs=1e-12)
    assert found.average_precision == pytest.approx(metrics.average_precision_score(truths, scores), abs=1e-12)


def test_precision_and_recall_at_a_threshold() -> None:
    truths, scores = [True, False, True, False], [0.9, 0.8, 0.3, 0.1]
    assert precision_recall(truths, scores, 0.8) == (0.5, 0.5)
    assert precision_recall(truths, scores, 0.95) == (None, 0.0)


def test_the_command_prints_figures_and_baselines(tmp_path: Path) -> None:
    train, test = cards_file(tmp_path / "train.csv", 1, 0), cards_file(tmp_path / "test.csv", 2, 300)
    asked = ["fraud", "evaluate", "--format", "cards", "--train", str(train), "--test", str(test)]
    answer = CliRunner().invoke(app, [*asked, "--json"])
    assert answer.exit_code == 0, answer.output
    report = msgspec.json.decode(answer.stdout)
    assert (report["rows"], report["train_rows"], report["label_delay_days"]) == (300, 300, 0)
    assert report["auc"] > 0.8
    assert set(report["baselines"]) == {"account_orders", "account_device_card_orders", "boosting_without_labels"}
    told = CliRunner().invoke(app, [*asked, "--model", "logistic", "--label-delay-days", "30"])
    assert "outcomes known after 30 days" in " ".join(told.stdout.split())


def test_the_command_keeps_a_model(tmp_path: Path) -> None:
    file, to = cards_file(tmp_path / "train.csv", 1, 0), tmp_path / "model.json"
    answer = CliRunner().invoke(app, ["fraud", "train", "--format", "cards", "--train", str(file), "--to", str(to)])
    assert answer.exit_code == 0, answer.output
    model = load_model(to)
    assert (model.training.rows, model.kind) == (300, "both")
    assert model.training.source == "train.csv, format cards, outcomes known after 0 days"
    assert model.training.judged == 90
    assert model.training.auc is not None
    assert model.training.auc > 0.8


def test_a_file_has_a_format_and_the_shop_needs_neither(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["fraud", "train", "--format", "cards", "--to", str(tmp_path / "model.json")])
    assert isinstance(answer.exception, BadInput)
    assert "Give --format and --train together" in answer.exception.message


def test_what_is_learnt_from_does_not_depend_on_what_is_judged_later(tmp_path: Path) -> None:
    train = read_rows("cards", cards_file(tmp_path / "train.csv", 1, 0))
    test = read_rows("cards", cards_file(tmp_path / "test.csv", 2, 300))
    assert cases(train, [])[0] == cases(train, test)[0]
    assert cases(train, test)[1][0].past.seller.orders > 0


def test_splits_show_the_spread(tmp_path: Path) -> None:
    file = cards_file(tmp_path / "train.csv", 1, 0)
    answer = CliRunner().invoke(
        app, ["fraud", "splits", "--format", "cards", "--file", str(file), "--model", "logistic", "--json"]
    )
    assert answer.exit_code == 0, answer.output
    found = msgspec.json.decode(answer.stdout)
    assert len(found["securecart"]["aucs"]) == len(found["account_orders"]["aucs"]) == 6


def test_splits_keep_time_and_devices_apart(tmp_path: Path) -> None:
    rows = read_rows("cards", cards_file(tmp_path / "train.csv", 1, 0))
    for before, after in by_time(rows):
        assert max(row.attempt.at for row in before) <= min(row.attempt.at for row in after)
    for one, other in by_device(rows):
        assert not {row.attempt.device for row in one} & {row.attempt.device for row in other}
        assert len(one) + len(other) == len(rows)


def test_a_file_without_fraud_is_refused(tmp_path: Path) -> None:
    rows = read_rows("cards", cards_file(tmp_path / "train.csv", 1, 0))
    good = [row for row in rows if not row.is_fraud]
    with pytest.raises(BadInput, match="The test file must hold both"):
        evaluate("cards", rows, good, "logistic")


def real_rows(kind: str, name: str) -> list[Row]:
    path = REAL / name
    if not path.exists():
        pytest.skip(f"the real orders are not at {path}")
    return read_rows("cards" if kind == "cards" else "ecommerce", path)


def halves(rows: list[Row], is_first: Callable[[int, Row], bool]) -> tuple[list[Row], list[Row]]:
    first = [row for place, row in enumerate(rows) if is_first(place, row)]
    return first, [row for place, row in enumerate(rows) if not is_first(place, row)]


def test_real_card_fraud_split_by_time() -> None:
    rows = real_rows("cards", "fraud_cards/transactions_dev.csv.gz")
    report = evaluate("cards", *halves(rows, lambda place, _: place < 0.7 * len(rows)), "both")
    assert report.auc > 0.92
    assert report.auc > max(baseline.auc for baseline in report.baselines.values())


def test_real_shop_fraud_split_by_device() -> None:
    rows = real_rows("ecommerce", "fraud_ecommerce/fraud_ecommerce_dev.csv.gz")
    report = evaluate("ecommerce", *halves(rows, lambda _, row: sum(map(ord, str(row.attempt.device))) % 2 == 0), "logistic")
    assert report.auc > 0.775
    assert report.auc > max(baseline.auc for baseline in report.baselines.values())
