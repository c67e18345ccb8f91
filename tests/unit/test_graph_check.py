"""What both graph engines know: one sample a rule, refused by rule and line; and every statement of the shop."""

from __future__ import annotations

from pathlib import Path

import pytest

from securecart.stores.graph import RULES, refusals, statements_in

SOURCE = Path(__file__).parents[2] / "src" / "securecart"
FILES = sorted(SOURCE.rglob("queries.cypher"))

SAMPLES = {
    "shortest-path": "MATCH p =\nshortestPath((a:Account)-[:PLACED*1..4]-(o)) RETURN p",
    "mandatory-match": "UNWIND [1] AS x\nMANDATORY MATCH (a:Account) RETURN a",
    "call-yield": "UNWIND [1] AS x\nCALL db.labels() YIELD label RETURN label",
    "function": "MATCH (a:Account)\nRETURN apoc.text.clean(a.id) AS clean",
    "power": "MATCH (a:Account)\nRETURN a.at ^ 2 AS square",
    "union-write": "MERGE (a:Account {id: 'a'}) RETURN a.id AS id\nUNION MERGE (d:Device {id: 'd'}) RETURN d.id AS id",
    "index": "MATCH (a:Account)\nRETURN a[$key] AS value",
    "skip-limit": "MATCH (a:Account) WITH a, 3 AS n RETURN a\nLIMIT n",
    "path-filter": "MATCH (a:Account)\nMATCH (a)-[:PLACED*1..2 {at: a.at}]-(b) RETURN b",
    "endless-path": "MATCH (a:Account)\n-[:PLACED*2..]-(b) RETURN b",
    "date-time": "MATCH (a:Account)\nWHERE a.at > datetime() - duration('P1D') RETURN a",
    "id-function": "MATCH (a:Account)\nWHERE id(a) > 5 RETURN a",
    "ladybug-path": "MATCH (a:Account)\n-[:PLACED* SHORTEST 1..4]-(b) RETURN b",
    "ladybug-projection": "MATCH (a:Account)\n-[:PLACED*1..4 (r, n | WHERE r.at > 5)]-(b) RETURN b",
    "ladybug-command": "/* tables */\nCREATE NODE TABLE Thing(id STRING PRIMARY KEY)",
    "subquery": "MATCH (a:Account)\nWHERE EXISTS { MATCH (a)-[:PLACED]->(o) } RETURN a",
    "several-labels": "MATCH\n(a:Account:Device) RETURN a",
    "twice": "MATCH (a:Account)-[:ON_DEVICE]->(d)\n<-[:ON_DEVICE]-(b:Account) RETURN b",
    "several-statements": "MATCH (a:Account) RETURN a;\nMATCH (d:Device) RETURN d",
}
LINE_OF = {"several-statements": 1}

ALSO_REFUSED = [
    ("shortest-path", "MATCH p = allShortestPaths((a)-[:PLACED*1..4]-(b)) RETURN p"),
    ("function", "MATCH (a:Account)-[r]->(b) RETURN type(r) AS kind"),
    ("function", "MATCH (a:Account) RETURN label(a) AS kind"),
    ("function", "RETURN log(10.0) AS l"),
    ("index", "RETURN [1, 2][0] AS first"),
    ("index", "MATCH (a:Account) RETURN a['id'] AS id"),
    ("skip-limit", "MATCH (a:Account) RETURN a SKIP 1 + 1 LIMIT 2"),
    ("skip-limit", "MATCH (a:Account) RETURN a LIMIT size([1, 2])"),
    ("path-filter", "MATCH (a:Account)-[:PLACED*1..2 {at: $at + 1}]-(b) RETURN b"),
    ("endless-path", "MATCH (a:Account)-[:PLACED*]-(b) RETURN b"),
    ("ladybug-path", "MATCH (a:Account)-[:PLACED* ALL SHORTEST 1..4]-(b) RETURN b"),
    ("ladybug-path", "MATCH (a:Account)-[:PLACED* TRAIL 1..4]-(b) RETURN b"),
    ("ladybug-command", "COPY Account FROM '/etc/passwd'"),
    ("ladybug-command", "LOAD FROM '/etc/passwd' RETURN *"),
    ("ladybug-command", "MATCH (a:Account) LOAD FROM '/etc/passwd' RETURN *"),
    ("ladybug-command", "CREATE REL TABLE X(FROM A TO B)"),
    ("ladybug-command", "INSTALL httpfs"),
    ("ladybug-command", "ATTACH 'other.db' AS other"),
    ("ladybug-command", "DETACH other"),
    ("ladybug-command", "DROP TABLE Account"),
    ("ladybug-command", "EXPORT DATABASE '/tmp/all'"),
    ("ladybug-command", "BEGIN TRANSACTION"),
    ("ladybug-command", "PROFILE MATCH (a) RETURN a"),
    ("call-yield", "CALL show_tables() RETURN *"),
    ("several-labels", "MATCH (:Account|Device) RETURN 1 AS one"),
    ("twice", "MATCH (a:Account)-->(d)<--(b:Account) RETURN b"),
    ("twice", "MATCH (a:Account)-[r]->(d), (d)<-[:PLACED]-(b) RETURN b"),
    ("twice", "MATCH (a)-[:PLACED|ON_DEVICE*1..2]-(b)-[:ON_DEVICE]->(c) RETURN c"),
]

ALLOWED = [
    "MATCH (a:Account {id: $id}) RETURN a",
    "MERGE (a:Account {id: $id}) ON CREATE SET a.at = $at ON MATCH SET a.at = CASE WHEN a.at < $at THEN a.at ELSE $at END",
    "MATCH (a:Account {id: $id})-[:ON_DEVICE]->(d) MATCH (d)<-[:ON_DEVICE]-(b) WHERE b <> a RETURN count(DISTINCT b) AS n",
    "UNWIND $rows AS row MERGE (o:`Order` {id: row.id}) SET o.at = row.at, o.fraud = false",
    "MATCH (a:Account)-[r:ON_DEVICE|PAID_WITH*1..4 {at: $at}]-(b) RETURN DISTINCT b.id AS id ORDER BY id SKIP $from LIMIT 10;",
    "MATCH p = (a)-[:PLACED*..3]->(b) RETURN p, length(p) AS hops",
    "MATCH (a:Account)-[:PLACED*2]-(b) RETURN b",
    "MATCH (a:Account) WHERE a.id IN ['x', 'y'] AND NOT (a)-[:PLACED]->() RETURN a.id, coalesce(a.at, 0) AS at",
    "MATCH (a:Account)-[:PLACED]->(o)-[:ON_DEVICE]->(d) OPTIONAL MATCH (d)<-[:ON_DEVICE]-(b) RETURN d, collect(b.id) AS others",
    "MATCH (a:Account) DETACH DELETE a",
    "MATCH (a:Account) RETURN a.id AS id UNION ALL MATCH (d:Device) RETURN d.id AS id",
    "USING QUERY:TIMEOUTMILLISECONDS 20 MATCH (a:Account) RETURN a",
    "MATCH (load:Account) WHERE load.id = 'COPY ^ [0]; id(x)' RETURN load.use AS copy, {drop: load.at} AS m // ^ shortestPath(",
    "WITH [1, 2] AS list UNWIND list AS x RETURN x, all(y IN list WHERE y > 0) AS positive",
]


def test_every_rule_has_a_sample() -> None:
    assert set(SAMPLES) == set(RULES)


@pytest.mark.parametrize("rule", SAMPLES)
def test_a_sample_is_refused_by_rule_and_line(rule: str) -> None:
    found = [one for one in refusals(SAMPLES[rule]) if one.rule == rule]
    assert found, refusals(SAMPLES[rule])
    assert found[0].line == LINE_OF.get(rule, 2)
    assert str(found[0]).startswith(f"line {found[0].line}: {rule}: ")
    assert str(found[0]).endswith(".")


@pytest.mark.parametrize(("rule", "statement"), ALSO_REFUSED)
def test_its_other_forms_are_refused_too(rule: str, statement: str) -> None:
    assert rule in {one.rule for one in refusals(statement)}


@pytest.mark.parametrize("statement", ALLOWED)
def test_what_both_know_is_allowed(statement: str) -> None:
    assert [str(one) for one in refusals(statement)] == []


def test_the_shops_statements_run_on_both() -> None:
    refused = [
        f"{path.relative_to(SOURCE)}: {name}: {refusal}"
        for path in FILES
        for name, statement in statements_in(path.read_text(encoding="utf-8"), path.name).items()
        for refusal in refusals(statement)
    ]
    assert refused == []
