"""What the witness of a failover concludes from the roles that it saw, and which node is which."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from securecart.drills.deeds import Victim
from securecart.drills.witness import Node, Role, Witness, nodes_of
from securecart.engines import Home
from securecart.errors import DrillFailed
from securecart.settings import Settings

HOSTS = "127.0.0.1:5001,127.0.0.1:5002,127.0.0.1:5003"


def three(**roles: Role) -> Witness:
    """A witness who saw these roles of nodes 1 to 3, the leader with one synchronous follower."""
    witness = Witness([Node(f"patroni-{number}", "postgresql://nowhere") for number in (1, 2, 3)])
    for label, role in roles.items():
        witness._note(label.replace("_", "-"), role)
        witness._synchronous[label.replace("_", "-")] = int(role == "leads")
    return witness


def test_all_is_well_when_one_leads_and_the_others_follow() -> None:
    assert three(patroni_1="follows", patroni_2="leads", patroni_3="follows").all_well()
    assert not three(patroni_1="follows", patroni_2="leads").all_well()
    assert not three(patroni_1="follows", patroni_2="leads", patroni_3="catches up").all_well()


def test_a_leader_that_nobody_follows_synchronously_is_not_well() -> None:
    witness = three(patroni_1="follows", patroni_2="leads", patroni_3="follows")
    witness._synchronous["patroni-2"] = 0
    assert not witness.all_well()


def test_of_two_that_say_they_lead_neither_does() -> None:
    witness = three(patroni_1="leads", patroni_2="leads", patroni_3="follows")
    assert witness.leader() is None
    assert not witness.all_well()


def test_a_new_leader_is_the_first_who_began_to_lead_after_the_deed(monkeypatch: pytest.MonkeyPatch) -> None:
    witness = three()
    told: list[tuple[float, str, Role]] = [
        (10.0, "patroni-1", "leads"),
        (20.5, "patroni-1", "away"),
        (22.0, "patroni-3", "leads"),
        (40.0, "patroni-1", "leads"),  # a thawed node that has not understood yet
        (44.0, "patroni-1", "follows"),
    ]
    for at, label, role in told:
        monkeypatch.setattr(time, "monotonic", lambda at=at: at)
        witness._note(label, role)
    led = witness.led(20.0)
    assert led is not None
    assert (led.label, led.at) == ("patroni-3", 22.0)
    assert witness.when("patroni-1", "follows", since=40.0) == 44.0
    assert witness.when("patroni-2", "follows", since=0.0) is None


async def test_waiting_in_vain_says_for_what_and_what_was_seen_instead() -> None:
    witness = three(patroni_1="leads")
    with pytest.raises(DrillFailed, match=r"a new leader: not within 0 s \(patroni-1 leads, patroni-2 away, patroni-3 away\)"):
        await witness.wait_until(lambda: False, within_s=0.2, what="a new leader")


def test_nodes_are_numbered_as_the_address_names_them_and_know_their_data(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.remember({"postgres_superuser_password": "pw"})
    nodes = nodes_of(home, Settings(home=str(tmp_path), postgres_url=f"postgresql://app:secret@{HOSTS}/securecart"))
    assert [node.label for node in nodes] == ["patroni-1", "patroni-2", "patroni-3"]
    assert nodes[1].url == "postgresql://postgres:pw@127.0.0.1:5002/postgres"
    assert [Victim(home, node).data.name for node in nodes] == ["postgres", "postgres-2", "postgres-3"]


def test_a_single_database_is_one_node(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.remember({"postgres_superuser_password": "pw"})
    (node,) = nodes_of(home, Settings(home=str(tmp_path), postgres_url="postgresql://app:secret@127.0.0.1:5001/securecart"))
    assert (node.label, Victim(home, node).data.name) == ("postgres", "postgres")
