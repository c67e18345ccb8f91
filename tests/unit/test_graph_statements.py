"""Named openCypher, and what the local graph makes of a statement before it runs it."""

from __future__ import annotations

import pytest

from securecart.graph.shapes import Problem
from securecart.graph.statement import made_ready, with_parameters
from securecart.stores.graph import Statement, chained, statements_in
from securecart.stores.graph.tokens import columns_of, tokens_of, writes

TEXT = """// Statements of a test.

// name: first
// Finds an account.
MATCH (a:Account {id: $id})
RETURN a

// name: second
// Finds them all.
MATCH (a:Account) RETURN a.id AS id
"""


def test_statements_are_found_by_name_without_their_comments() -> None:
    found = statements_in(TEXT, "here")
    assert found == {
        "first": "MATCH (a:Account {id: $id})\nRETURN a",
        "second": "MATCH (a:Account) RETURN a.id AS id",
    }


def test_a_name_that_stands_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="here names first twice"):
        statements_in(TEXT + TEXT, "here")


@pytest.mark.parametrize(
    ("statement", "columns"),
    [
        ("MATCH (a) RETURN a", ["a"]),
        ("MATCH (a) RETURN DISTINCT a.id, count(*) AS n ORDER BY n", ["a.id", "n"]),
        ("RETURN count( * ), coalesce(1, 2) LIMIT 1", ["count( * )", "coalesce(1, 2)"]),
        ("RETURN {a: 1, b: 2} AS `a map`;", ["a map"]),
        ("MATCH (a) RETURN a.id AS id UNION MATCH (b) RETURN b.id AS other", ["id"]),
        ("MATCH (a) RETURN *", []),
        ("MATCH (a) SET a.at = 1", []),
    ],
)
def test_columns_are_named_as_opencypher_names_them(statement: str, columns: list[str]) -> None:
    assert columns_of(statement, tokens_of(statement)) == columns


@pytest.mark.parametrize(
    ("statement", "changes"),
    [
        ("MATCH (a) RETURN a", False),
        ("MATCH (a) RETURN a.set AS create, {merge: 1} AS m", False),
        ("MATCH (a) WHERE a.id = 'DELETE' RETURN a // SET", False),
        ("MERGE (a:Account {id: 1})", True),
        ("MATCH (a) set a.at = 1", True),
        ("MATCH (a) DETACH DELETE a", True),
    ],
)
def test_what_writes_is_told_from_what_reads(statement: str, *, changes: bool) -> None:
    assert writes(tokens_of(statement)) is changes


def test_the_hint_is_read_and_paths_take_no_relationship_twice() -> None:
    ready = made_ready("USING QUERY:TIMEOUTMILLISECONDS 20 MATCH (a)-[r:PLACED*1..3]-(b) RETURN count(*)")
    assert ready.timeout_ms == 20
    assert [piece.text for piece in ready.pieces] == ["MATCH (a)-[r:PLACED* TRAIL 1..3]-(b) RETURN count(*)"]
    assert ready.columns == ("count(*)",)


def test_an_empty_list_stands_in_the_text() -> None:
    ready = made_ready("MATCH (a) WHERE a.id IN $ids AND a.at > $at RETURN a")
    assert with_parameters(ready, {"ids": [], "at": 1, "unused": 2}) == [
        ("MATCH (a) WHERE a.id IN [] AND a.at > $at RETURN a", {"at": 1})
    ]


def test_a_missing_parameter_and_a_refused_statement_are_told_in_neptunes_words() -> None:
    with pytest.raises(Problem, match="The parameter id is not given") as missing:
        with_parameters(made_ready("MATCH (a {id: $id}) RETURN a"), {})
    assert missing.value.code == "MissingParameterException"
    with pytest.raises(Problem, match="line 1: power:") as refused:
        made_ready("RETURN 2 ^ 3 AS eight")
    assert refused.value.code == "MalformedQueryException"


def test_pieces_that_were_chained_run_apart_and_nothing_else_does() -> None:
    one, two = Statement("UNWIND $a AS x CREATE (:Card {id: x})"), Statement("UNWIND $b AS x CREATE (:Device {id: x})")
    ready = made_ready(chained([one, two, one]))
    assert [(piece.text, set(piece.parameters)) for piece in ready.pieces] == [(one, {"a"}), (two, {"b"}), (one, {"a"})]
    assert ready.parameters == {"a", "b"}
    for whole in (f"{chained([one, two])} RETURN count(*)", f"{chained([one, two])} SET x.at = done", one):
        assert [piece.text for piece in made_ready(whole).pieces] == [whole]
