"""The dependency drill itself, short: each helper of one shop, and what it says where it cannot be held."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from securecart.cli.drills import ENOUGH_TIME
from securecart.drills.own_shop import HASTE
from securecart.engines import Home
from tests.commands import securecart

PROMISES = ("lost", "doubled", "oversold", "stale")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("dependency") / "home"
    Home(folder).prepare()
    Home(folder).remember({**HASTE, **ENOUGH_TIME, "archive": "off"})
    done = securecart("up", "--detach", "--home", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    yield folder
    securecart("down", "--home", str(folder))


def drill(home: Path, kill: str) -> dict[str, Any]:
    done = securecart("drill", "dependency", "--kill", kill, "--away=2.5", "--shoppers=4", "--home", str(home), "--json")
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout, done.stderr
    verdict: dict[str, Any] = json.loads(done.stdout)
    assert {name: verdict[name] for name in PROMISES} == dict.fromkeys(PROMISES, 0), verdict["report"]
    assert verdict["kept"], verdict["report"]
    assert done.returncode == (0 if verdict["met"] else 1), done.stderr
    assert verdict["pages_during"]["read"] > 0
    assert verdict["acknowledged"] > 0
    assert not list((home / "run").glob("held-*"))
    return verdict


def test_without_the_cache_no_page_fails_and_people_buy(home: Path) -> None:
    verdict = drill(home, "cache")
    assert (verdict["killed"], verdict["pages_failed"], verdict["unanswered"]) == ("valkey", 0, 0)
    assert verdict["checkouts_during"] > 0


def test_without_dynamodb_no_page_fails_and_carts_come_back(home: Path) -> None:
    verdict = drill(home, "dynamodb")
    assert (verdict["killed"], verdict["pages_failed"], verdict["other_errors"]) == ("dynamodb", 0, 0)
    assert verdict["carts_refused"] > 0
    assert verdict["begun"] > 0
    assert verdict["seconds_until_carts_are_back"] > 0


def test_a_dead_web_process_takes_no_more_along_than_it_had_in_hand(home: Path) -> None:
    verdict = drill(home, "web")
    assert verdict["killed"].startswith("web-")
    assert verdict["unanswered"] + verdict["pages_failed"] <= verdict["in_hand_max"]


def test_an_unknown_helper_is_refused_in_one_sentence() -> None:
    done = securecart("drill", "dependency", "--kill", "moon")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == "securecart: There is no helper 'moon'; choose from cache, dynamodb, web."
