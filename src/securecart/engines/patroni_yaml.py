"""What a node's Patroni is told: its neighbours, where the leader is agreed on, and how PostgreSQL is to run.

What all nodes must agree on (`dynamic`) is kept by the cluster itself and sent to it again at each start; the rest is the
node's own. Written as JSON, which is YAML too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from securecart.engines.beyond import Beyond, slot_for
from securecart.engines.home import Home
from securecart.engines.patroni_rest import ACCOUNT
from securecart.engines.postgres import CONFIGURATION, archived
from securecart.engines.postgres_roles import ARCHIVER, REPLICATION, REWIND, SUPERUSER, Roles
from securecart.errors import BadInput
from securecart.settings import Settings

__all__ = ["LEASE_S", "Folders", "Neighbour", "configuration", "dynamic", "founding", "raft", "raft_folder", "scope_of"]

SCOPE = "securecart"
FOUNDER = "patroni-1"
# The writer's lease: who has not renewed it for so long is no writer any more. Patroni allows no less.
LEASE_S = 20

# What replication needs beside CONFIGURATION and what the archiver needs. A node that is frozen or cut off is noticed within
# 5 seconds; a slot keeps at most 2 GB of log for a node that is away, and a node that missed more is copied anew.
REPLICATED = {
    "hot_standby": "on",
    "wal_log_hints": "on",
    "wal_keep_size": "256MB",
    "wal_sender_timeout": "5s",
    "wal_receiver_timeout": "5s",
    "wal_receiver_status_interval": "1s",
    "wal_retrieve_retry_interval": "500ms",
    "tcp_keepalives_idle": "3",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
    "hot_standby_feedback": "on",
    "max_standby_streaming_delay": "3s",
    "restart_after_crash": "off",  # Patroni decides what follows a crash: another node takes over
}


class Neighbour(Struct, frozen=True):
    """A node as the others reach it: PostgreSQL, Patroni's REST interface, Raft. `name` is what PostgreSQL calls it."""

    label: str
    name: str
    port: int
    rest_port: int
    raft_port: int


class Folders(Struct, frozen=True):
    """Where a node's data, PostgreSQL's programs and its Unix socket are; no socket where that is empty."""

    data: Path
    programs: Path
    sockets: str


# The archiver's slot is on the node that writes, and on the others as far as the writer's: after a failover nothing is lost.
# In a region that follows another nobody reads it, so it is not there.
ARCHIVERS = {"type": "physical", "cluster_type": "primary"}


def dynamic(version: str, settings: Settings, beyond: Beyond | None = None) -> dict[str, Any]:
    """What all nodes agree on: that they keep the archiver's slot, and where there is another region, that region's.

    A commit is acknowledged when two nodes have it, always: the writer and whichever of the others is first (`quorum`);
    without a second node there are no writes (`synchronous_mode_strict`). A writer whose PostgreSQL crashed hands over at
    once (`primary_start_timeout` 0).
    """
    parameters = {**CONFIGURATION, **archived(version, settings), **REPLICATED}
    parameters.pop("listen_addresses")  # each node's own
    slots = {ARCHIVER: None if settings.archive == "off" else ARCHIVERS}
    if beyond is not None:
        slots[slot_for(beyond.other)] = {"type": "physical"}
    return {
        "ttl": LEASE_S,
        "loop_wait": 1,
        "retry_timeout": 3,
        "primary_start_timeout": 0,
        "synchronous_mode": "quorum",
        "synchronous_mode_strict": True,
        "check_timeline": True,
        "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": parameters},
        "slots": slots,
    }


def configuration(
    roles: Roles, me: Neighbour, voters: Sequence[int], folders: Folders, at_first: Mapping[str, Any], *, store: str
) -> dict[str, Any]:
    """Everything for one node; `store` is where the leader is agreed on, empty for Raft with the others' ports `voters`.

    `at_first` is what the node that founds the cluster gives all of them to agree on.
    """
    home = roles.home
    return {
        "scope": scope_of(home),
        "name": me.name,
        "restapi": {
            "listen": f"127.0.0.1:{me.rest_port}",
            "connect_address": f"127.0.0.1:{me.rest_port}",
            "authentication": {"username": ACCOUNT, "password": home.secret("patroni_secret")},
        },
        **_agreement(home, me, voters, store),
        # Only the node that has data may begin a cluster: another one would make an empty one of its own.
        **({"bootstrap": {"dcs": at_first}} if me.label == FOUNDER else {}),
        "postgresql": {
            "listen": f"127.0.0.1:{me.port}",
            "connect_address": f"127.0.0.1:{me.port}",
            "data_dir": str(folders.data),
            "bin_dir": str(folders.programs),
            "pgpass": str(home.run() / f"{me.label}.pgpass"),
            "authentication": {
                name: {"username": role, "password": roles.password(role)}
                for name, role in (("superuser", SUPERUSER), ("replication", REPLICATION), ("rewind", REWIND))
            },
            "parameters": {"unix_socket_directories": folders.sockets},
            "pg_hba": [
                "local all all scram-sha-256",
                "host all all 127.0.0.1/32 scram-sha-256",
                f"host replication {REPLICATION} 127.0.0.1/32 scram-sha-256",
            ],
            "basebackup": [{"checkpoint": "fast"}],
            # The leader's key is there a moment before the leader takes writes, and a copy begun in between fails and is
            # tried again only 5 seconds later. The first method does nothing but wait, and leaves the work to the second.
            "create_replica_methods": ["pause", "basebackup"],
            "pause": {"command": "/bin/sh -c 'sleep 0.7; exit 1'", "no_params": True, "keep_data": True},
        },
    }


def scope_of(home: Home) -> str:
    """Under which name the nodes agree; another after each fence and each recovery: nothing agreed on before comes back."""
    fences, recovery = home.fences(), home.recovery()
    return "-".join([SCOPE, *([str(fences)] if fences else []), *([recovery] if recovery else [])])


def raft(home: Home, label: str, port: int, voters: Sequence[int]) -> dict[str, Any]:
    """How the nodes agree among themselves."""
    return {
        "data_dir": str(raft_folder(home, label)),
        "self_addr": f"127.0.0.1:{port}",
        "partner_addrs": [f"127.0.0.1:{voter}" for voter in voters],
        "password": home.secret("raft_secret"),
    }


def raft_folder(home: Home, label: str) -> Path:
    """Where a node keeps what was agreed on."""
    return home.path / "data" / "raft" / label


def founding(version: str, settings: Settings, beyond: Beyond | None = None) -> dict[str, Any]:
    """What all nodes agree on at first: where the region begins as a copy of another, that it follows it."""
    agreed = dynamic(version, settings, beyond)
    agreed["slots"] = {name: slot for name, slot in agreed["slots"].items() if slot is not None}
    follows = beyond is not None and beyond.begins_as_copy
    return {**agreed, **({"standby_cluster": beyond.as_standby()} if beyond is not None and follows else {})}


def _agreement(home: Home, me: Neighbour, voters: Sequence[int], store: str) -> dict[str, Any]:
    if not store:
        return {"raft": raft(home, me.label, me.raft_port, voters)}
    parts = urlsplit(store)
    if parts.scheme != "etcd" or not parts.netloc:
        raise BadInput(field="cluster_store", problem="Setting SECURECART_CLUSTER_STORE: give it as etcd://host:port.")
    # One etcd serves many homes: each has a place of its own, named at its first start.
    return {"etcd3": {"hosts": parts.netloc.rpartition("@")[2]}, "namespace": f"/securecart/{home.secret('cluster_name')}/"}
