"""The engines under bad luck: killed processes, a second start, a taken port, a home that cannot be used."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from securecart.engines import Home, HomeStatus, Step, Supervisor, observe, supervisor_of
from securecart.engines.process import Engine, living
from securecart.errors import DiskFull, EngineFailed, HomeUnusable, PortTaken
from securecart.settings import Settings
from tests.commands import SECURECART, processes_below, securecart

DEADLINE_S = 90


def run(*arguments: str, home: Path, expect: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    return securecart(*arguments, "--home", str(home), expect=expect, **environment)


def seen(home: Path) -> HomeStatus:
    return asyncio.run(observe(Home(home)))


def pids(home: Path) -> dict[str, int]:
    return {engine.name: engine.pid for engine in seen(home).engines}


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not after {DEADLINE_S} s"
        time.sleep(0.05)


def sql(home: Path, statement: str) -> Any:
    async def ask() -> Any:
        connection = await asyncpg.connect(Home(home).settings()["postgres_owner_url"], timeout=10)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(ask())


@pytest.fixture(scope="module")
def home_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("unlucky") / "home"
    yield home
    subprocess.run([*SECURECART, "down", "--home", str(home)], capture_output=True, timeout=DEADLINE_S, check=False)


@pytest.fixture
def running_home(home_path: Path) -> Path:
    """The module's home, up and well; most tests leave it so for the next."""
    if not home_path.exists() or not seen(home_path).healthy:
        run("up", "--detach", home=home_path)
    return home_path


def test_a_second_up_says_who_runs_already(running_home: Path) -> None:
    before = pids(running_home)
    done = run("up", home=running_home)
    assert f"already runs from {running_home} (process {seen(running_home).supervisor})" in done.stderr
    assert "securecart down" in done.stderr
    assert Home(running_home).settings()["web_url"] in done.stdout
    assert pids(running_home) == before


@pytest.mark.parametrize("victim", ["postgres", "valkey", "dynamodb", "graph", "gateway", "archiver", "web-1", "worker"])
def test_an_engine_that_is_killed_comes_back_alone(running_home: Path, victim: str) -> None:
    before = pids(running_home)
    os.kill(before[victim], signal.SIGKILL)
    wait_for(lambda: pids(running_home).get(victim, 0) not in {0, before[victim]}, f"{victim} is started again")
    wait_for(lambda: seen(running_home).healthy, "everything is well")
    after = pids(running_home)
    assert {name for name in before if after[name] != before[name]} == {victim}


def test_a_second_up_waits_for_an_engine_that_is_coming_back(running_home: Path) -> None:
    before = pids(running_home)["gateway"]
    os.kill(before, signal.SIGKILL)
    run("up", "--detach", home=running_home)
    assert seen(running_home).healthy
    assert pids(running_home)["gateway"] != before


def test_after_the_supervisor_and_the_database_are_killed_the_next_up_has_the_data(running_home: Path) -> None:
    sql(running_home, "CREATE TABLE kept_through_bad_luck AS SELECT 42 AS answer")
    ports = json.loads((running_home / "ports.json").read_text())
    before = pids(running_home)
    supervisor = seen(running_home).supervisor
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    os.kill(before["postgres"], signal.SIGKILL)
    assert not seen(running_home).healthy
    with subprocess.Popen(["/bin/sleep", "60"]) as stranger:
        pid_file = running_home / "data" / "postgres" / "postmaster.pid"  # as if its pid belonged to another program by now
        pid_file.write_text(pid_file.read_text().replace(str(before["postgres"]), str(stranger.pid)))
        done = run("up", "--detach", home=running_home)
        assert stranger.poll() is None
        stranger.kill()
    assert "left behind" in (running_home / "logs" / "supervisor.log").read_text() + done.stderr
    after = pids(running_home)
    assert set(after) == set(before)
    assert not any(pid in after.values() or living(pid) for pid in before.values())
    assert json.loads((running_home / "ports.json").read_text()) == ports
    assert sql(running_home, "SELECT answer FROM kept_through_bad_luck") == 42


def test_down_after_the_supervisor_was_killed_leaves_no_process(running_home: Path) -> None:
    supervisor = supervisor_of(Home(running_home))
    assert supervisor is not None
    supervisor.kill()
    run("down", home=running_home)
    assert processes_below(running_home) == []
    assert "securecart up" in run("down", home=running_home, expect=1).stderr


def test_of_two_ups_at_once_one_starts_and_the_other_waits_for_it(home_path: Path) -> None:
    if home_path.exists():
        subprocess.run([*SECURECART, "down", "--home", str(home_path)], capture_output=True, timeout=DEADLINE_S, check=False)
    with ThreadPoolExecutor() as pool:
        both = [pool.submit(run, "up", "--detach", home=home_path) for _ in range(2)]
        said = [one.result().stderr for one in both]
    assert sum("already runs" in one for one in said) == 1
    assert sum("postgres" in one for one in said) == 1
    assert seen(home_path).healthy
    run("down", home=home_path)
    assert processes_below(home_path) == []


def test_ctrl_c_in_the_foreground_leaves_no_process(home_path: Path) -> None:
    home_path.mkdir(parents=True, exist_ok=True)
    subprocess.run([*SECURECART, "down", "--home", str(home_path)], capture_output=True, timeout=DEADLINE_S, check=False)
    with subprocess.Popen(
        [*SECURECART, "up", "--home", str(home_path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as shop:
        wait_for(lambda: shop.poll() is not None or seen(home_path).healthy, "the shop is up")
        shop.send_signal(signal.SIGINT)
        assert shop.wait(timeout=DEADLINE_S) == 0
    assert processes_below(home_path) == []


def test_ctrl_c_during_the_start_leaves_no_process(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with subprocess.Popen([*SECURECART, "up", "--home", str(home)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as shop:
        wait_for(lambda: shop.poll() is not None or (home / "state.json").exists(), "the start has begun")
        shop.send_signal(signal.SIGINT)
        assert shop.wait(timeout=DEADLINE_S) == 0
    assert processes_below(home) == []


def test_an_engine_that_cannot_start_is_named_with_its_log_and_nothing_stays(tmp_path: Path) -> None:
    home = tmp_path / "home"
    fake = tmp_path / "valkey-server"
    fake.write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo 'Server v=9.9.9' && exit\necho 'FATAL: out of luck' >&2\nexit 1\n")
    fake.chmod(0o755)
    done = run("up", home=home, expect=1, SECURECART_VALKEY_BIN=str(fake))
    assert "valkey did not start: FATAL: out of luck" in done.stderr
    assert str(home / "logs" / "valkey.log") in done.stderr
    assert processes_below(home) == []


@pytest.mark.parametrize(
    ("setting", "answer", "sentence"),
    [
        ("SECURECART_VALKEY_BIN", "Server v=5.0.1", "version 5.0.1, and 6 or newer is needed"),
        ("SECURECART_JAVA_BIN", 'openjdk version "11.0.2"', "Java 11.0.2, and 17 or newer is needed"),
    ],
)
def test_a_program_that_is_too_old_is_named_with_its_version(tmp_path: Path, setting: str, answer: str, sentence: str) -> None:
    old = tmp_path / "old"
    old.write_text(f"#!/bin/sh\necho '{answer}'\n")
    old.chmod(0o755)
    assert sentence in run("up", home=tmp_path / "home", expect=1, **{setting: str(old)}).stderr
    assert processes_below(tmp_path / "home") == []


def test_a_store_elsewhere_that_does_not_answer_is_named_with_its_setting(tmp_path: Path) -> None:
    home = tmp_path / "home"
    nowhere = "redis://:secret@127.0.0.1:1/0"
    done = run("up", "--detach", home=home, expect=1, SECURECART_VALKEY_URL=nowhere)
    assert "127.0.0.1:1, which SECURECART_VALKEY_URL names" in done.stderr
    assert "secret" not in done.stderr
    assert processes_below(home) == []


def test_a_port_that_another_program_took_is_named_before_anything_starts(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    port = home.port("web")
    assert home.port("web") == port
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(PortTaken):
            home.port("web")
        done = run("up", home=home.path, expect=1)
    assert f"Port {port} of web is taken" in done.stderr
    assert "SECURECART_WEB_PORT=" in done.stderr
    assert not (home.path / "data" / "postgres").exists()
    assert home.port("web") == port


def test_a_home_that_is_a_file_or_without_permission_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "--home FOLDER" in run("up", home=tmp_path / "file" / "home", expect=1).stderr
    if os.geteuid() != 0:
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(HomeUnusable, match="permission"):
            Home(tmp_path / "locked" / "home").prepare()


def test_a_full_disk_says_how_much_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nearly_full = shutil._ntuple_diskusage(10**12, 10**12 - 2**20, 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: nearly_full)
    with pytest.raises(DiskFull, match="1 MB left"):
        Home(tmp_path / "home").prepare()


class Doomed(Engine):
    """A process that says something and ends."""

    name = "doomed"
    words = ""

    async def start(self) -> None:
        self.spawn(["/bin/sh", "-c", f"echo starting; echo '{self.words}'; echo bye; exit 1"])

    async def answers(self) -> bool:
        return False

    @staticmethod
    async def look(url: str) -> str | None:
        del url
        return None


class Fickle(Doomed):
    """A process that answers and ends soon after, again and again."""

    name = "fickle"
    starts = 0

    async def start(self) -> None:
        self.starts += 1
        self.spawn(["/bin/sleep", "0.05"])

    async def answers(self) -> bool:
        return True

    def choose_port(self) -> None:
        pass


async def watch_fickle(home: Home, engine: Fickle, enough: Callable[[str], bool]) -> tuple[Supervisor, list[str]]:
    """Watch over the engine until something is said that is enough; the supervisor, and all it said."""
    news: list[str] = []
    heard = asyncio.Event()

    def hear(step: Step) -> None:
        news.append(step.text)
        if enough(step.text):
            heard.set()

    async def nothing() -> None:
        pass

    lock = home.lock()
    assert lock is not None
    supervisor = Supervisor(home, [[engine]], prepare=nothing, report=hear)
    await supervisor.start(lock)
    stopping = asyncio.Event()
    watching = asyncio.create_task(supervisor.watch(stopping))
    await asyncio.wait_for(heard.wait(), DEADLINE_S)
    stopping.set()
    await watching
    return supervisor, news


async def test_an_engine_that_dies_five_times_within_a_minute_stays_down_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("securecart.engines.supervisor.PAUSE_AFTER_DEATH_S", 0.01)
    home = Home(tmp_path / "home")
    home.prepare()
    engine = Fickle(home, Settings(home=str(home.path)))
    supervisor, news = await watch_fickle(home, engine, lambda text: "stays down" in text)
    state = home.state()
    assert state is not None
    assert (state.planned, state.engines) == (("fickle",), ())
    assert engine.starts == 5
    assert str(engine.log) in news[-1]
    assert home.held() == {"fickle"}
    await supervisor.stop()


async def test_a_held_engine_stays_down_when_it_dies_and_comes_back_when_it_is_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("securecart.engines.supervisor.LOOK_EVERY_S", 0.01)
    home = Home(tmp_path / "home")
    home.prepare()
    home.hold("fickle")  # a hold of an earlier run is forgotten at the start
    engine = Fickle(home, Settings(home=str(home.path)))
    supervisor, _ = await watch_fickle(home, engine, lambda text: "is started again" in text)
    started = engine.starts
    home.hold("fickle")
    left_down, back = asyncio.Event(), asyncio.Event()

    def hear(step: Step) -> None:
        (left_down if "held" in step.text else back).set()

    supervisor._report = hear
    stopping = asyncio.Event()
    watching = asyncio.create_task(supervisor.watch(stopping))
    async with asyncio.timeout(DEADLINE_S):
        await left_down.wait()
        down = engine.starts
        await asyncio.sleep(0.1)
        assert engine.starts == down
        back.clear()
        home.release("fickle")
        await back.wait()
        await supervisor._reviving["fickle"]
    assert engine.starts > down >= started
    stopping.set()
    await watching
    await supervisor.stop()


async def test_deaths_that_are_long_past_count_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("securecart.engines.supervisor.PAUSE_AFTER_DEATH_S", 1000)  # each pause but the first would be one
    monkeypatch.setattr("securecart.engines.supervisor.DEATHS_WITHIN_S", 0.001)
    monkeypatch.setattr("securecart.engines.supervisor.LOOK_EVERY_S", 0.02)
    home = Home(tmp_path / "home")
    home.prepare()
    engine = Fickle(home, Settings(home=str(home.path)))
    supervisor, news = await watch_fickle(home, engine, lambda _: engine.starts > 6)
    assert not [text for text in news if "stays down" in text]
    await supervisor.stop()


@pytest.mark.parametrize(
    ("words", "error", "match"),
    [
        (f"FATAL: could not write: {os.strerror(errno.ENOSPC)}", DiskFull, "MB left"),
        ("FATAL: lock file is held", EngineFailed, "FATAL: lock file is held. Its log is .*doomed.log"),
    ],
)
async def test_an_engines_last_telling_word_decides_what_is_said(
    tmp_path: Path, words: str, error: type[Exception], match: str
) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    engine = Doomed(home, Settings(home=str(home.path)))
    engine.words = words
    await engine.start()
    with pytest.raises(error, match=match):
        await engine.wait_until_ready()
