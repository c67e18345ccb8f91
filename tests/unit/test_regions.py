"""What a person may do about a region, decided from what was seen, without a database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from securecart.engines import Home
from securecart.engines.beyond import Beyond
from securecart.engines.patroni_yaml import scope_of
from securecart.engines.regions import second_region
from securecart.errors import OperatorError
from securecart.ops.regions import Node, Region, Regions, Step, to_fence, to_move, to_promote, to_return
from securecart.stores.postgres import NodeState
from securecart.web.api.health import _lag_of_region

WRITER = Node("patroni-1", "primary", "running", synchronous=False, timeline=1, position=1000, writes=True)
STANDBY = Node("patroni-2", "replica", "running", streams=True, synchronous=True, position=1000, writes=False)
LEADER = Node("patroni-1", "standby_leader", "running", streams=True, position=1000, writes=False)
SILENT = Node("patroni-1")

WRITES = Region("a", (WRITER, STANDBY), follows=False, writes_through_link=True)
FOLLOWS = Region("b", (LEADER, STANDBY), follows=True, behind_bytes=0, behind_seconds=0.0)
DOWN = Region("a", (SILENT, SILENT))


def seen(first: Region = WRITES, second: Region = FOLLOWS, *, link_cut: bool = False) -> Regions:
    return Regions((first, second), link_cut)


def but(region: Region, **changes: Any) -> Region:
    return msgspec.structs.replace(region, **changes)


def test_a_lost_region_is_fenced_before_the_other_takes_over() -> None:
    assert to_promote(seen(DOWN), "b") == [Step("hold", "a"), Step("promote", "b")]
    assert to_promote(seen(but(DOWN, fenced=True)), "b") == [Step("promote", "b")]


FENCED_ALIVE = but(FOLLOWS, name="a")


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (WRITES, "Region a takes writes, so b is not promoted"),
        # PostgreSQL itself, or the way through the link, says what a dead Patroni does not
        (Region("a", (Node("patroni-1", writes=True),)), "Region a takes writes"),
        (but(DOWN, writes_through_link=True), "Region a takes writes"),
        (Region("a", (Node("patroni-1", "replica", "running"), SILENT), follows=False), "may take writes at any moment"),
        (Region("a", (Node("patroni-1", writes=False), SILENT)), "may take writes at any moment"),
        (but(FENCED_ALIVE, nodes=(msgspec.structs.replace(LEADER, position=1500),)), "500 bytes of changes"),
    ],
)
def test_nobody_is_promoted_beside_a_region_that_lives(other: Region, sentence: str) -> None:
    with pytest.raises(OperatorError, match=sentence):
        to_promote(seen(other), "b")


def test_a_fenced_region_may_live_and_its_extra_may_be_given_up() -> None:
    assert to_promote(seen(FENCED_ALIVE), "b") == [Step("promote", "b")]
    ahead = but(FENCED_ALIVE, nodes=(msgspec.structs.replace(LEADER, position=1500),))
    assert to_promote(seen(ahead), "b", accept_loss=True) == [Step("promote", "b")]


def test_a_region_without_a_leader_and_one_that_writes_are_not_promoted() -> None:
    with pytest.raises(OperatorError, match="No node leads region b"):
        to_promote(seen(DOWN, but(FOLLOWS, nodes=(SILENT,))), "b")
    with pytest.raises(OperatorError, match="takes the writes already"):
        to_promote(seen(), "a")
    with pytest.raises(OperatorError, match=r"no region 'c'; this shop has a and b"):
        to_promote(seen(), "c")


def test_a_move_stops_the_one_waits_and_promotes_the_other() -> None:
    assert to_move(seen(), "b") == [
        Step("follow", "a"),
        Step("wait until equal", "b"),
        Step("promote", "b"),
        Step("wait until it follows", "a"),
    ]


@pytest.mark.parametrize(
    ("regions", "sentence"),
    [
        (seen(link_cut=True), "link between the regions is cut"),
        (seen(DOWN), "Region a takes no writes"),
        (seen(second=but(FOLLOWS, behind_bytes=2**30)), "too far behind"),
        (seen(second=but(FOLLOWS, behind_bytes=None)), "too far behind"),
        (seen(second=but(FOLLOWS, nodes=(msgspec.structs.replace(LEADER, streams=False),))), "does not follow a"),
    ],
)
def test_a_move_that_could_not_be_short_is_not_begun(regions: Regions, sentence: str) -> None:
    with pytest.raises(OperatorError, match=sentence):
        to_move(regions, "b")


def test_a_region_that_is_well_follows_and_one_that_is_not_is_held() -> None:
    assert to_fence(seen(), "a") == [Step("follow", "a")]
    assert to_fence(seen(DOWN), "a") == [Step("hold", "a")]
    half_dead = Region("a", (Node("patroni-1", writes=True), SILENT))
    assert to_fence(seen(half_dead), "a") == [Step("hold", "a")]
    with pytest.raises(OperatorError, match="fenced already"):
        to_fence(seen(), "b")


def test_a_region_returns_only_as_a_follower_of_one_that_writes() -> None:
    b_writes = but(WRITES, name="b")
    assert to_return(seen(but(DOWN, fenced=True), b_writes), "a") == [Step("let go", "a"), Step("wait until it follows", "a")]
    for first, second, sentence in (
        (but(DOWN, fenced=True), FOLLOWS, "has nobody to follow"),
        (WRITES, b_writes, "Both regions take writes"),
        (Region("a", (Node("patroni-1", "replica", "running"),), follows=False), b_writes, "alive and not fenced"),
    ):
        with pytest.raises(OperatorError, match=sentence):
            to_return(seen(first, second), "a")


def test_a_regions_part_says_in_a_word_what_it_is() -> None:
    assert [region.part for region in (WRITES, FOLLOWS, DOWN, but(DOWN, fenced=True))] == [
        "writer",
        "follower",
        "down",
        "down, fenced",
    ]


def test_the_second_region_is_handed_the_first_ones_settings_but_not_its_addresses(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    home.remember({"profile": "regions", "currency": "EUR", "web_port": 8000, "web_url": "http://x", "raft_secret": "first's"})
    second = second_region(home)
    written = json.loads((home.region("b").path / "settings.json").read_text())
    assert (second.region, second.currency, second.profile, second.web_port, second.web_url) == ("b", "EUR", "regions", 0, "")
    assert "raft_secret" not in written
    password = "postgres_superuser_password"
    assert written[password] == home.settings()[password]  # its database is a copy
    assert written["internal_secret"] == home.settings()["internal_secret"]  # a program may go to either door
    assert home.settings()["region"] == "a"


def test_a_region_that_follows_tells_what_would_be_lost_and_one_that_writes_does_not() -> None:
    def node(name: str, role: str, lag_s: float | None) -> NodeState:
        return NodeState(name, role, serves=True, lag_bytes=0, lag_seconds=lag_s, replayed_s=lag_s)

    beyond, own = node("127.0.0.1:1", "writer", None), [node("127.0.0.1:2", "replica", 0.4), node("127.0.0.1:3", "replica", 0.1)]
    url = "postgresql://app:secret@127.0.0.1:2,127.0.0.1:3/securecart"
    assert _lag_of_region([beyond, *own], url) == 0.1
    assert _lag_of_region([beyond, node("127.0.0.1:2", "writer", None), own[1]], url) is None
    assert _lag_of_region([beyond, *own], "") is None


def test_a_fence_has_the_nodes_agree_anew_under_another_name(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    assert (home.is_fenced(), scope_of(home)) == (False, "securecart")
    home.fence()
    home.fence()
    assert (home.is_fenced(), scope_of(home)) == (True, "securecart-1")
    home.take_fence_down()
    assert (home.is_fenced(), scope_of(home)) == (False, "securecart-1")


def test_nodes_that_come_back_without_a_leader_do_not_share_a_slot() -> None:
    beyond = Beyond("a", "b", False, lambda region, store: {("b", "replication"): 4711}[region, store])
    assert beyond.as_standby() == {"host": "127.0.0.1", "port": 4711, "primary_slot_name": "region_a"}
    assert "primary_slot_name" not in beyond.as_leaderless_standby()
