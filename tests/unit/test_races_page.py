"""The page about races names tests that are there, and every race of the suite is on it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEST = re.compile(r"^async def (test_\w+)|^def (test_\w+)", re.MULTILINE)


def names_in(folder: str) -> set[str]:
    found = [match for path in (ROOT / folder).rglob("test_*.py") for match in TEST.findall(path.read_text(encoding="utf-8"))]
    return {first or second for first, second in found}


def test_the_page_and_the_suite_tell_of_the_same_races() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "races.md").read_text(encoding="utf-8")))
    assert named - names_in("tests") == set()
    assert names_in("tests/races") - named == set()
