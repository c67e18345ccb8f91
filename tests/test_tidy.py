"""The house rules that no linter knows: short functions, honest file names, explained queries, rooms with doors."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "securecart"
ROOMS = (
    "accounts",
    "carts",
    "catalog",
    "checkout",
    "fraud",
    "inventory",
    "orders",
    "payments",
    "promises",
    "readers",
    "sessions",
)
FORBIDDEN_NAMES = ("utils", "helpers", "common", "service", "manager")
FUNCTION_LINES_MAX = 70
STATEMENT = re.compile(r"^(?:--|//) name: (?P<name>\S+)\n(?P<body>.*?)(?=^(?:--|//) name: |\Z)", re.MULTILINE | re.DOTALL)

PYTHON_FILES = sorted(path for folder in ("src", "tests", "bench") for path in (ROOT / folder).rglob("*.py"))
SQL_FILES = sorted(SOURCE.rglob("queries.sql"))
CYPHER_FILES = sorted(SOURCE.rglob("queries.cypher"))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", PYTHON_FILES, ids=named)
def test_no_function_is_longer_than_a_screen(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    too_long = [
        f"{node.name} has {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert too_long == []


def test_no_file_is_a_drawer() -> None:
    drawers = [named(path) for path in PYTHON_FILES if path.stem.strip("_") in FORBIDDEN_NAMES]
    assert drawers == []


@pytest.mark.parametrize("path", PYTHON_FILES, ids=named)
def test_every_file_says_first_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{named(path)} has no docstring"


@pytest.mark.parametrize("path", SQL_FILES + CYPHER_FILES, ids=named)
def test_every_named_query_is_explained_and_sent(path: Path) -> None:
    statements = {match["name"]: match["body"] for match in STATEMENT.finditer(path.read_text(encoding="utf-8"))}
    assert statements, f"{named(path)} names no statement"
    code = "\n".join(file.read_text(encoding="utf-8") for file in path.parent.rglob("*.py"))
    unexplained = [name for name, body in statements.items() if not body.lstrip().startswith(("-- ", "// "))]
    unsent = [name for name in statements if f'"{name}"' not in code]
    assert (unexplained, unsent) == ([], [])


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_has_a_door(room: str) -> None:
    door = importlib.import_module(f"securecart.{room}")
    assert door.__doc__
    assert list(door.__all__) == sorted(set(door.__all__), key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    assert all(hasattr(door, name) for name in door.__all__)


def test_every_folder_of_the_house_is_a_known_room() -> None:
    known = {*ROOMS, "cli", "demo", "drills", "engines", "graph", "migrations", "ops", "proving", "regions", "sandbox"}
    known |= {"stores", "undo", "web"}
    found = {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert found == known
