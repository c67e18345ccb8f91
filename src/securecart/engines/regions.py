"""The profile `regions`: one shop in two regions, each with stores and doors of its own, and a link between them.

Region `a` is the home itself, run as in the profile `ha`; region `b` is a folder in it with settings of its own, so every
command speaks to it with `--home HOME/region-b`. Its database begins as a copy of the first region's and follows it. The
card gateway and the graph are in neither region, so both have the same.
"""

from __future__ import annotations

from securecart import settings as settings_table
from securecart.engines.beyond import DYNAMODB, Beyond
from securecart.engines.dynamodb import DynamoDB
from securecart.engines.gateway import Gateway
from securecart.engines.graph import Graph
from securecart.engines.home import Home
from securecart.engines.link import Link
from securecart.engines.patroni import PatroniNode, patroni_nodes
from securecart.engines.postgres_roles import SECRETS
from securecart.engines.process import Engine
from securecart.engines.replicator import Replicator
from securecart.engines.valkey import Valkey
from securecart.engines.witness import Witness
from securecart.errors import OperatorError
from securecart.settings import Settings

__all__ = ["FIRST", "SECOND", "SHARED", "region_stores", "second_region"]

FIRST, SECOND = "a", "b"
NODES_OF_SECOND = 2
# What belongs to no region and outlives each of them.
SHARED = ("link", "gateway", "graph", "replicator", "archiver")
# What belongs to one region and is not handed down to the next.
OWN = {
    *("region", "postgres_url", "postgres_owner_url", "region_postgres_url", "cluster_urls", "cluster_key", "cluster_name"),
    *(
        "dynamodb_url",
        "valkey_url",
        "web_url",
        "link_url",
        "replicator_url",
        "archiver_url",
        "gateway_url",
        "gateway_key",
        "graph_url",
        "internal_key",
    ),
    *("patroni_secret", "raft_secret", "valkey_password", "graph_secret", "fences"),
}


def second_region(home: Home) -> Settings:
    """Make the second region's folder, with the first one's settings but for what is each region's own."""
    if given := sorted(OWN & settings_table.from_environment().keys()):
        name = settings_table.PREFIX + given[0].upper()
        raise OperatorError(
            problem=f"The profile regions runs every engine itself, twice; unset {name}. docs/regions.md tells of AWS."
        )
    home.remember({"region": FIRST})
    for secret in SECRETS.values():
        home.secret(f"postgres_{secret}_password")  # the second region's database is a copy, so it has the same
    home.secret("internal_secret")  # by which the doors of both know the shop's own programs
    there = home.region(SECOND)
    there.prepare()
    handed = {name: value for name, value in home.settings().items() if name not in OWN and not name.endswith("_port")}
    there.remember({**handed, "region": SECOND})
    return settings_table.load(str(there.path))


def region_stores(home: Home, settings: Settings, there: Settings) -> list[Engine]:
    """The stores of both regions and what is in neither; they start together, and the second waits for the first's data."""
    second = Home(there.home_path)
    link = Link(home, settings, regions=(FIRST, SECOND))
    here_nodes = patroni_nodes(home, settings, beyond=Beyond(FIRST, SECOND, False, link.port_to))
    there_nodes = patroni_nodes(second, there, count=NODES_OF_SECOND, beyond=Beyond(SECOND, FIRST, True, link.port_to))
    here_tables, there_tables = DynamoDB(home, settings), DynamoDB(second, there)
    link.lead_to(FIRST, here_nodes, here_tables)
    link.lead_to(SECOND, there_nodes, there_tables)
    # It stands beside the first region, and goes to the second one's tables through the link.
    replicator = Replicator(home, settings, urls=lambda: {FIRST: here_tables.url(), SECOND: _door(link, SECOND)})
    shared: list[Engine] = [link, replicator, Graph(home, settings)]
    if settings.gateway == "sandbox":
        shared.append(Gateway(home, settings))
    for engine in shared:
        engine.told_to.append(second)
    return [
        *shared,
        *(*here_nodes, Valkey(home, settings), here_tables),
        *(*there_nodes, *_witness(second, there, there_nodes), Valkey(second, there), there_tables),
    ]


def _door(link: Link, region: str) -> str:
    return f"http://127.0.0.1:{link.port_to(region, DYNAMODB)}"


def _witness(home: Home, settings: Settings, nodes: list[PatroniNode]) -> list[Engine]:
    return [] if settings.cluster_store else [Witness(home, settings, nodes=nodes)]
