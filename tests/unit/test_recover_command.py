"""What `securecart recover preview` and `rows` print, where nobody watches a terminal, and what they refuse."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from securecart.cli.recover_rows import _show_preview, _show_report
from securecart.ops.recovery.deciding import Conflict
from securecart.ops.recovery.happenings import Changes
from securecart.ops.recovery.model import Moment
from securecart.undo import Accident, Part, Preview, Report, TableSeen, Transaction
from tests.commands import securecart

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
DELETED = Transaction(77, NOON, 1_003, {"orders": Changes(deleted=1_000), "note": Changes(updated=3, inserted=2)})
EMPTIED = Transaction(78, NOON, 0, {"price": Changes(truncated=True)})
ACCIDENT = Accident(Moment(xid=77, before=True), Moment(xid=77), frozenset({"orders"}), DELETED, (EMPTIED,))


def test_a_preview_names_what_differs_and_what_to_do_next(capsys: pytest.CaptureFixture[str]) -> None:
    orders = TableSeen("orders", 5_000, 4_001, 1_000, 0, 1, {"deleted": ["1", "2, a"], "added": ["9"]}, "columns that came since")
    same = TableSeen("payment", 5, 5, 0, 0, 0)
    _show_preview(Preview("noon", NOON, [orders, same], ["shelf"], 4, [DELETED, EMPTIED]), "10 minutes ago")
    said = capsys.readouterr()
    assert "orders  rows then 5,000  rows now 4,001  deleted 1,000  changed 0  added 1  deleted 1, (2, a); added 9" in said.out
    assert "before:77  2026-11-30 12:00:00.000  rows 1,003  orders 1,000 deleted; note 3 changed, 2 new" in said.out
    assert "before:78  2026-11-30 12:00:00.000  rows 0  price emptied" in said.out
    assert "payment" not in said.out
    for hint in (
        "1 tables are as they were; left out, as they follow: shelf",
        "columns that came since",
        "--at before:77",
        "--until now",
    ):
        assert hint in said.err


def test_a_dry_run_shows_the_accident_and_every_conflict_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    part = Part("orders", written=999, conflicts=1, left=2)
    report = Report(ACCIDENT, False, 999, (part,), (Conflict("orders", ("7",), "its number is taken"),), 25)
    _show_report(report)
    said = capsys.readouterr()
    assert "The accident: 77 committed 2026-11-30 12:00:00.000 UTC: orders 1,000 deleted; note 3 changed, 2 new" in said.out
    assert "orders  deleted 999  changed 0  counted 0  conflicts 1  left 2" in said.out
    assert "left: orders 7: its number is taken" in said.out
    assert "If it was another:" in said.out
    assert "5 conflicts more" in said.err
    assert "999 rows would come back; nothing was changed yet" in said.err


def test_what_was_done_is_told_and_what_is_still_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    between = Accident(Moment(at=NOON), Moment(xid=80), frozenset())
    _show_report(
        Report(between, True, 12, (Part("stock", corrected=12),), (), 0, still_wrong=("TEA: 3 taken, 2 by the orders.",))
    )
    said = capsys.readouterr()
    assert "Between 2026-11-30 12:00:00.000 UTC and the moment right after transaction 80" in said.out
    assert "not as promised, before and still: TEA: 3 taken, 2 by the orders." in said.out
    assert "12 rows are back" in said.out
    _show_report(Report(between, False, 0, (), (), 0))
    assert "there is nothing to bring back" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["preview", "rows"])
def test_a_home_without_a_shop_is_refused(command: str, tmp_path: Path) -> None:
    done = securecart("recover", command, "--at", "now", f"--home={tmp_path / 'none'}")
    assert (done.returncode, done.stdout) == (1, "")
    assert "No SecureCart runs from" in done.stderr
