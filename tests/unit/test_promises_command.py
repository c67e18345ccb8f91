"""`securecart promises`: what it prints and how it leaves; the check itself is told of elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from securecart.cli import app
from securecart.cli import promises as command
from securecart.promises import Finding, Report
from securecart.settings import Settings

SOUND = Report.of([], orders=7, acknowledged=0, projections={"history": 0}, unchecked=(), seconds=0.1)
BROKEN = Report.of(
    [Finding("lost", "SC-1", "Order SC-1 is not there.")],
    orders=7,
    acknowledged=2,
    projections=None,
    unchecked=("the projections",),
    seconds=0.1,
)


def run(monkeypatch: pytest.MonkeyPatch, report: Report, *arguments: str) -> tuple[int, str]:
    async def check(_: Settings, *, projections: bool) -> Report:
        assert projections == ("--no-projections" not in arguments)
        return report

    monkeypatch.setattr(command, "_check", check)
    done = CliRunner().invoke(app, ["promises", *arguments])
    return done.exit_code, done.stdout


def test_kept_promises_end_with_exit_code_0(monkeypatch: pytest.MonkeyPatch) -> None:
    code, printed = run(monkeypatch, SOUND, "--json")
    assert code == 0
    shown = json.loads(printed)
    assert (shown["kept"], shown["lost"], shown["projections_equal"]) == (True, 0, True)


def test_a_broken_promise_ends_with_exit_code_1_and_an_example(monkeypatch: pytest.MonkeyPatch) -> None:
    code, printed = run(monkeypatch, BROKEN, "--no-projections")
    assert code == 1
    assert "A PROMISE IS BROKEN: 7 orders, 2 of them told to shoppers" in printed
    assert "lost: Order SC-1 is not there." in printed
    assert "not checked: the projections" in printed


def test_without_a_shop_it_says_so(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["promises", "--home", str(tmp_path)])
    assert "No SecureCart runs from" in str(done.exception)
