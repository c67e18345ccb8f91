"""The gate of the graph's file: readers together, a commit alone."""

from __future__ import annotations

import threading

from securecart.graph.gate import Gate

SOON_S = 5.0


def test_readers_are_inside_together_and_a_commit_waits_for_all_of_them() -> None:
    gate, inside, go = Gate(), threading.Barrier(3), threading.Event()
    committed = threading.Event()

    def read() -> None:
        with gate.together():
            inside.wait(SOON_S)
            assert go.wait(SOON_S)

    def commit() -> None:
        with gate.alone():
            committed.set()

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    inside.wait(SOON_S)  # both are inside at once
    writer = threading.Thread(target=commit)
    writer.start()
    assert not committed.wait(0.05)
    go.set()
    assert committed.wait(SOON_S)
    for thread in (*readers, writer):
        thread.join(SOON_S)


def test_nobody_comes_in_while_one_wants_to_be_alone() -> None:
    gate, entered = Gate(), threading.Event()

    def read() -> None:
        with gate.together():
            entered.set()

    with gate.alone():
        late = threading.Thread(target=read)
        late.start()
        assert not entered.wait(0.05)
    assert entered.wait(SOON_S)
    late.join(SOON_S)
