"""Named openCypher statements, read from the `queries.cypher` beside a room's code.

A statement is a line `// name: shared_devices`, at least one comment line that says what it does, and the openCypher with
`$name` parameters. Code picks it by name, and a test holds each against what both engines know (`check`).
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from typing import NewType

__all__ = ["BETWEEN", "Statement", "chained", "either", "statements_in", "statements_of"]

Statement = NewType("Statement", str)

# Between the pieces of a statement that changes several things, each on its own.
BETWEEN = "WITH count(*) AS done"

_NAME = "// name: "


def statements_of(package: str, file: str = "queries.cypher") -> dict[str, Statement]:
    """The statements in `package`'s file by name, without their comments."""
    return statements_in(files(package).joinpath(file).read_text(encoding="utf-8"), f"{package}/{file}")


def statements_in(text: str, where: str) -> dict[str, Statement]:
    """The statements in this text by name; a `ValueError` names the place where one name stands twice."""
    found: dict[str, Statement] = {}
    for block in text.split(_NAME)[1:]:
        name, _, body = block.partition("\n")
        if name.strip() in found:
            raise ValueError(f"{where} names {name.strip()} twice")
        lines = (line for line in body.splitlines() if not line.lstrip().startswith("//"))
        found[name.strip()] = Statement("\n".join(lines).strip())
    return found


def either(pieces: Iterable[Statement]) -> Statement:
    """One statement that finds what each of these finds, with the same columns; in no order."""
    return Statement("\nUNION ALL\n".join(pieces))


def chained(pieces: Iterable[Statement]) -> Statement:
    """One statement, and so one transaction, that changes what each of these changes, in order; none has a RETURN."""
    return Statement(f"\n{BETWEEN}\n".join(pieces))
