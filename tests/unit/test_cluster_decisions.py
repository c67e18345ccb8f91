"""What follows from a snapshot of the cluster: steps, or a refusal that says what to do."""

from __future__ import annotations

import msgspec
import pytest

from securecart.errors import ClusterRefused
from securecart.ops.cluster import Node, Snapshot, Step, failover, rejoin, switchover
from securecart.ops.cluster.model import AwaitConfirmed, AwaitFollowing, AwaitWriter, HandOver, Rebuild, Release, TakeOver

WRITER = Node("patroni-1", "http://1", role="writer", serves=True, state="running", timeline=3)
STANDBY = Node("patroni-2", "http://2", role="synchronous", serves=True, state="streaming", timeline=3, behind_bytes=0, has=9000)
READER = Node("patroni-3", "http://3", role="reader", serves=True, state="streaming", timeline=3, behind_bytes=4711, has=4289)
WELL = Snapshot((WRITER, STANDBY, READER))


def gone(node: Node, *, held: bool = False) -> Node:
    return Node(node.name, node.url, held=held)


def with_(node: Node, seen: Snapshot = WELL) -> Snapshot:
    return Snapshot(tuple(node if one.name == node.name else one for one in seen.nodes))


def refused(decide: object) -> str:
    with pytest.raises(ClusterRefused) as caught:
        decide()  # type: ignore[operator]
    return str(caught.value)


def test_a_well_cluster_is_well_and_one_that_cannot_confirm_is_not() -> None:
    assert WELL.healthy
    assert not with_(msgspec.structs.replace(STANDBY, role="reader")).healthy
    assert not with_(gone(READER)).healthy
    assert not with_(gone(WRITER)).healthy


def test_the_writer_hands_over_to_the_node_that_confirms_commits() -> None:
    for candidate in (None, "patroni-2"):
        expected: list[Step] = [
            HandOver("patroni-1", candidate),
            AwaitWriter(candidate),
            AwaitConfirmed(),
            AwaitFollowing("patroni-1"),
        ]
        assert switchover(WELL, candidate) == expected


def test_of_two_that_confirm_commits_the_one_that_has_more_counts() -> None:
    both = with_(msgspec.structs.replace(READER, role="synchronous", has=9001))
    assert both.synchronous == both.node("patroni-3")
    assert both.healthy
    assert switchover(both, "patroni-2")[0] == HandOver("patroni-1", "patroni-2")


def test_no_hand_over_to_the_reader_which_may_miss_commits() -> None:
    sentence = refused(lambda: switchover(WELL, "patroni-3"))
    assert "4,711 bytes behind" in sentence
    assert "patroni-2 does: hand over to that one" in sentence


def test_no_hand_over_to_the_writer_itself_or_to_a_stranger() -> None:
    assert "is the writer already" in refused(lambda: switchover(WELL, "patroni-1"))
    assert "no node patroni-9; there are patroni-1, patroni-2, patroni-3" in refused(lambda: switchover(WELL, "patroni-9"))


def test_no_hand_over_when_only_one_node_is_left() -> None:
    alone = Snapshot((WRITER, gone(STANDBY, held=True), gone(READER)))
    sentence = refused(lambda: switchover(alone))
    assert "Too few nodes answer" in sentence
    assert "securecart cluster rejoin patroni-2" in sentence


def test_no_hand_over_when_no_standby_has_everything() -> None:
    seen = with_(msgspec.structs.replace(STANDBY, role="reader", serves=False, state="starting"))
    assert "the only node that has everything" in refused(lambda: switchover(seen))


def test_a_named_node_that_is_down_must_rejoin_first() -> None:
    assert "it is held down. `securecart cluster rejoin patroni-2` first" in refused(
        lambda: switchover(with_(gone(STANDBY, held=True)), "patroni-2")
    )


def test_without_a_writer_none_hands_over_and_the_sentence_says_to_wait() -> None:
    assert "takes over by itself within 20 seconds" in refused(lambda: switchover(with_(gone(WRITER))))


def test_no_failover_while_the_writer_is_well() -> None:
    assert "cluster switchover" in refused(lambda: failover(WELL, "patroni-2"))


def test_of_two_nodes_that_are_left_the_furthest_takes_over_without_a_word_about_loss() -> None:
    seen = with_(gone(WRITER))
    assert failover(seen) == [TakeOver("patroni-2"), AwaitWriter("patroni-2"), AwaitConfirmed()]
    assert "has less than patroni-2" in refused(lambda: failover(seen, "patroni-3"))
    assert failover(seen, "patroni-3", accept_loss=True)[0] == TakeOver("patroni-3")


def test_a_node_takes_over_alone_only_when_loss_is_accepted() -> None:
    stopped = msgspec.structs.replace(WRITER, serves=False, role="reader", state="stopped")
    seen = Snapshot((stopped, gone(STANDBY), READER))
    assert "--accept-loss" in refused(lambda: failover(seen))
    assert "--accept-loss" in refused(lambda: failover(seen, "patroni-3"))
    assert failover(seen, "patroni-3", accept_loss=True)[0] == TakeOver("patroni-3")
    assert "cannot take over: its state is: stopped" in refused(lambda: failover(seen, "patroni-1", accept_loss=True))


def test_nobody_takes_over_where_too_few_agree_even_when_loss_is_accepted() -> None:
    seen = Snapshot((gone(WRITER), gone(STANDBY), READER))
    assert "Too few nodes answer" in refused(lambda: failover(seen, "patroni-3", accept_loss=True))


def test_a_held_node_is_let_go_and_copied_anew_only_when_it_does_not_follow() -> None:
    steps = rejoin(with_(gone(READER, held=True)), "patroni-3")
    assert steps[0] == Release("patroni-3")
    following = steps[1]
    assert isinstance(following, AwaitFollowing)
    assert following.otherwise == (Rebuild("patroni-3"), AwaitFollowing("patroni-3"))
    assert len(steps) == 2


def test_a_node_that_follows_or_writes_has_nothing_to_rejoin() -> None:
    assert "runs and follows already" in refused(lambda: rejoin(WELL, "patroni-2"))
    assert "is the writer" in refused(lambda: rejoin(WELL, "patroni-1"))


def test_a_node_that_answers_without_following_may_rejoin() -> None:
    assert rejoin(with_(msgspec.structs.replace(READER, serves=False, state="running")), "patroni-3")


def test_nodes_can_rejoin_when_no_writer_is_left() -> None:
    assert rejoin(Snapshot((gone(WRITER, held=True), gone(STANDBY, held=True), READER)), "patroni-1")


def test_of_two_that_call_themselves_writer_the_newer_timeline_is() -> None:
    thawed = msgspec.structs.replace(STANDBY, role="writer", timeline=4)
    seen = with_(thawed)
    assert seen.writer == thawed


def test_a_region_that_follows_is_not_switched_here() -> None:
    leader = msgspec.structs.replace(WRITER, role="standby leader", state="streaming")
    assert "another region" in refused(lambda: switchover(with_(leader)))
    assert "another region" in refused(lambda: failover(with_(leader)))
