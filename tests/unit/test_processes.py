"""How a process that was written down is found again, and no other is taken for it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import msgspec
import psutil
import pytest

from securecart.engines.home import RunningEngine
from securecart.engines.process import birth_of, living, process_of


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["/bin/sleep", "60"]) as running:
        yield running
        running.kill()


def remembered(child: subprocess.Popen[bytes]) -> RunningEngine:
    return RunningEngine("gateway", child.pid, birth_of(child.pid), port=1, version="1")


@pytest.mark.skipif(not psutil.LINUX, reason="only there does the time of a process's birth follow the clock")
def test_a_process_is_found_again_after_the_clock_was_corrected(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, told = remembered(child), psutil.Process(child.pid).create_time()
    started = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: started + 13)
    assert psutil.Process(child.pid).create_time() - told == pytest.approx(13, abs=1)
    found = process_of(before)
    assert found is not None
    assert found.pid == child.pid


def test_another_process_with_the_same_pid_is_not_taken_for_it(child: subprocess.Popen[bytes]) -> None:
    elder = msgspec.structs.replace(remembered(child), born=birth_of(1))
    assert process_of(elder) is None
    assert living(child.pid) is not None


def test_one_that_has_ended_is_not_found(child: subprocess.Popen[bytes]) -> None:
    before = remembered(child)
    child.kill()
    child.wait()
    assert process_of(before) is None
    with pytest.raises(psutil.NoSuchProcess):
        birth_of(child.pid)
