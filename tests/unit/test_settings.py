"""The settings table: where a value comes from, what a wrong one says, and that the docs know them all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from securecart import settings
from securecart.engines import Home
from securecart.errors import BadInput

DOCS = Path(__file__).parents[2] / "docs" / "operations.md"


def test_the_environment_wins_over_the_home_and_the_home_over_the_default(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(json.dumps({"shop_name": "From home", "currency": "EUR"}))
    loaded = settings.load(str(tmp_path), {"SECURECART_CURRENCY": "GBP"})
    assert (loaded.shop_name, loaded.currency, loaded.country) == ("From home", "GBP", "US")


def test_text_from_the_environment_becomes_what_the_setting_is(tmp_path: Path) -> None:
    loaded = settings.load(str(tmp_path), {"SECURECART_POSTGRES_POOL": "7", "SECURECART_RATE_LIMITS": "false"})
    assert (loaded.postgres_pool, loaded.rate_limits) == (7, False)


@pytest.mark.parametrize(("name", "text"), [("POSTGRES_POOL", "many"), ("RATE_LIMITS", "perhaps"), ("SWEEP_SECONDS", "soon")])
def test_a_value_that_does_not_fit_names_its_setting(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(BadInput, match=f"SECURECART_{name}"):
        settings.load(str(tmp_path), {f"SECURECART_{name}": text})


def test_every_setting_has_a_help_and_stands_in_the_guide() -> None:
    guide = DOCS.read_text(encoding="utf-8")
    for name, _, text in settings.table():
        assert text.endswith("."), name
        assert f"`{settings.PREFIX}{name.upper()}`" in guide, f"docs/operations.md does not mention {name}"
        assert text in guide, f"docs/operations.md explains {name} differently"


def test_free_ports_come_from_the_range_and_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECURECART_PORTS", "28100-28120")
    home = Home(tmp_path)
    home.prepare()
    chosen = {name: home.port(name) for name in ("one", "two", "three")}
    assert len(set(chosen.values())) == 3
    assert all(28_100 <= port <= 28_120 for port in chosen.values())
    assert {name: home.port(name) for name in chosen} == chosen


@pytest.mark.parametrize("text", ["", "20000", "a-b", "30000-20000", "20000-70000", "0-10"])
def test_a_range_of_ports_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(BadInput, match="SECURECART_PORTS"):
        _ = settings.Settings(ports=text).port_range
