"""What a region's database knows of the other region: how it is called, and the doors of the link that lead there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

__all__ = ["DYNAMODB", "REPLICATION", "WRITER", "Beyond", "slot_for", "standby_of"]

# What a region offers to the other: its writer, where its log of changes is sent from, its carts and sessions.
WRITER, REPLICATION, DYNAMODB = "writer", "replication", "dynamodb"


class Beyond(Struct, frozen=True):
    """This `region` and the `other` one, as this one sees it; `begins_as_copy`: this one's first data is a copy of the other's.

    `port_to` gives the port of the link's door to a store of a region, once the link has chosen it.
    """

    region: str
    other: str
    begins_as_copy: bool
    port_to: Callable[[str, str], int]

    @property
    def writer_port(self) -> int:
        """Where the other region's writer is reached, if it has one."""
        return self.port_to(self.other, WRITER)

    def as_standby(self) -> dict[str, Any]:
        """What Patroni is told to have this region follow the other."""
        return standby_of(self.region, self.port_to(self.other, REPLICATION))

    def as_leaderless_standby(self) -> dict[str, Any]:
        """The same for nodes that have no leader yet: each follows by itself, and the slot is for one."""
        return {name: value for name, value in self.as_standby().items() if name != "primary_slot_name"}


def standby_of(region: str, port: int) -> dict[str, Any]:
    """What Patroni is told to have `region` follow who is behind this door."""
    return {"host": "127.0.0.1", "port": port, "primary_slot_name": slot_for(region)}


def slot_for(region: str) -> str:
    """The slot in which the other region's leader keeps what `region` has not received."""
    return f"region_{region}"
