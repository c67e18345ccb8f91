"""Named SQL statements, read from the `queries.sql` beside a room's code.

A statement is a line `-- name: reserve_stock`, at least one comment line that says what it does, and the
SQL with `$1` parameters. Code picks it by name, so every statement of the shop can be found, explained
and tested for its plan.
"""

from __future__ import annotations

from importlib.resources import files
from typing import NewType

Statement = NewType("Statement", str)

_NAME = "-- name: "


def statements_of(package: str, file: str = "queries.sql") -> dict[str, Statement]:
    """The statements in `package`'s SQL file by name, comments kept (they show in pg_stat_statements)."""
    text = files(package).joinpath(file).read_text(encoding="utf-8")
    found: dict[str, Statement] = {}
    for block in text.split(_NAME)[1:]:
        name, _, body = block.partition("\n")
        if name.strip() in found:
            raise ValueError(f"{package}/{file} names {name.strip()} twice")
        found[name.strip()] = Statement(f"/* {package}.{name.strip()} */\n{_without_comments(body)}")
    return found


def _without_comments(body: str) -> str:
    return "\n".join(line for line in body.splitlines() if not line.lstrip().startswith("--")).strip()
