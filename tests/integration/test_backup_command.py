"""`securecart backup` as an operator types it, over backups that a real server's data are in."""

from __future__ import annotations

import io
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

from securecart.cli.backup import app
from securecart.errors import DataMissing, RecoveryRefused
from securecart.ops.recovery.holdings import base_for, survey
from securecart.ops.recovery.model import Base, parse_moment
from securecart.stores.archive import open_archive
from tests.archived_servers import archived_server

LOGGED = 40_000


class Backups(msgspec.Struct):
    """The home of a shop that has a full base and an incremental one on it."""

    home: Path
    full: Base
    incremental: Base

    @property
    def archive(self) -> Path:
        return self.home / "archive"


@pytest.fixture(scope="module")
async def backups(tmp_path_factory: pytest.TempPathFactory) -> Backups:
    home = tmp_path_factory.mktemp("backed-up")
    async with archived_server(home) as server:
        connection = await server.connect()
        await connection.execute("CREATE TABLE thing (id int PRIMARY KEY, words text NOT NULL)")
        full = await server.back_up()
        await connection.execute(f"INSERT INTO thing SELECT id, repeat('word', 100) FROM generate_series(1, {LOGGED}) AS id")
        incremental = await server.back_up(full)
        await connection.close()
        await server.ship()
    return Backups(home, full, incremental)


def run(backups: Backups, *words: str, archive: Path | None = None) -> Result:
    environment = {"SECURECART_ARCHIVE": str(archive)} if archive is not None else {}
    return CliRunner(env=environment).invoke(app, [*words, *([] if words[0] == "key" else ["--home", str(backups.home)])])


def told(result: Result) -> Any:
    return msgspec.json.decode(result.stdout)


def test_the_list_tells_what_can_be_recovered(backups: Backups) -> None:
    seen = told(run(backups, "list", "--json"))
    full, incremental = seen["backups"]
    assert (seen["archive"], seen["encrypted"], seen["gaps"], seen["unread"]) == (str(backups.archive), False, [], [])
    assert (full["label"], full["kind"], full["chain"], full["usable"]) == (backups.full.label, "full", [full["label"]], True)
    assert (incremental["kind"], incremental["chain"], incremental["usable"]) == (
        "incremental",
        [full["label"], incremental["label"]],
        True,
    )
    assert [one["label"] for one in seen["backups"]] == [backups.full.label, backups.incremental.label]
    (window,) = seen["windows"]
    assert window["since"] == full["ended_at"]
    assert 0 < seen["beat_age_seconds"] < full["age_seconds"]
    assert seen["bytes"] == sum(file.stat().st_size for file in backups.archive.rglob("[!.]*") if file.is_file())
    plain = run(backups, "list").stdout
    assert f"on {full['label']}" in plain
    assert plain.splitlines()[1].startswith("window  from ")
    assert plain.splitlines()[1].endswith(" ago)")
    for shown in re.findall(r"\d{4}-\S+ \S+ UTC", plain.splitlines()[1]):  # what is shown can be asked for
        moment = parse_moment(shown)
        assert moment is not None
        assert base_for(survey(open_archive(str(backups.archive))), moment).label in {
            backups.full.label,
            backups.incremental.label,
        }


def test_sound_backups_are_found_sound_and_that_is_noted(backups: Backups) -> None:
    found = run(backups, "verify", "--all", "--json")
    assert (found.exit_code, told(found)["sound"]) == (0, True)
    report = told(found)
    assert [one["chain"] for one in report["backups"]] == [
        [backups.full.label],
        [backups.full.label, backups.incremental.label],
    ]
    assert report["log"]["findings"] == []
    assert report["log"]["objects"] >= 2
    verified = {one["label"]: one["verified_at"] for one in report["backups"]}
    assert {one["label"]: one["verified_at"] for one in told(run(backups, "list", "--json"))["backups"]} == verified
    assert list((backups.home / "data" / "verifying").iterdir()) == []


def test_whatever_is_damaged_or_missing_is_named(backups: Backups, tmp_path: Path) -> None:
    shutil.copytree(backups.archive, tmp_path / "copy")
    archive, full, incremental = open_archive(str(tmp_path / "copy")), backups.full.label, backups.incremental.label
    whole = [(name, size) for name, size in archive.names("wal/") if "." not in name.rpartition("/")[2]]
    part, flipped, removed = (name for name, _ in whole[-3:])
    content = bytearray((tmp_path / "copy" / flipped).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "copy" / flipped).write_bytes(content)
    archive.remove([removed])
    archive.put(part, b"shorter than its name says")
    archive.put(f"base/{full}/data", with_other_bytes(archive.read(f"base/{full}/data"), "global/pg_control"))
    archive.remove([f"base/{incremental}/manifest"])

    found = run(backups, "verify", "--all", "--json", archive=tmp_path / "copy")
    report = told(found)
    assert (found.exit_code, report["sound"]) == (1, False)
    first, second = report["backups"]
    assert [finding["name"] for finding in first["findings"]] == [f"base/{full}/data"]
    assert "pg_control" in first["findings"][0]["what"]
    assert [finding["name"] for finding in second["findings"]] == [f"base/{full}/data", f"base/{incremental}/manifest"]
    assert "There is no" in second["findings"][1]["what"]
    missing, short, damaged = report["log"]["findings"]
    assert missing["name"].startswith("log from ")
    assert (damaged["name"], "damaged" in damaged["what"]) == (flipped, True)
    assert (short["name"], short["what"][:21]) == (part, "it holds 26 bytes and")
    assert [one["verified_at"] for one in report["backups"]] == [None, None]

    seen = told(run(backups, "list", "--json", archive=tmp_path / "copy"))
    assert len(seen["gaps"]) == 1
    assert "nothing can be recovered: log " in run(backups, "list", archive=tmp_path / "copy").stdout


def with_other_bytes(packed: bytes, name: str) -> bytes:
    """The same stream of files, one of which has another content of the same length."""
    changed = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(packed)) as before, tarfile.open(fileobj=changed, mode="w") as after:
        for member in before:
            file = before.extractfile(member) if member.isfile() else None
            content = file.read() if file is not None else b""
            after.addfile(member, io.BytesIO(bytes(len(content)) if member.name.endswith(name) else content))
    return changed.getvalue()


def test_a_chain_that_is_not_whole_is_said(backups: Backups, tmp_path: Path) -> None:
    shutil.copytree(backups.archive, tmp_path / "copy")
    archive = open_archive(str(tmp_path / "copy"))
    archive.remove([f"base/{backups.full.label}/about"])
    found = run(backups, "verify", "--no-log", archive=tmp_path / "copy")
    assert found.exit_code == 1
    assert "it is incremental, and one that it stands on is missing" in found.stdout
    (only,) = told(run(backups, "list", "--json", archive=tmp_path / "copy"))["backups"]
    assert (only["usable"], only["chain"]) == (False, [])
    assert "of no use: its log or what it stands on is missing" in run(backups, "list", archive=tmp_path / "copy").stdout
    due = told(run(backups, "schedule", "--json", archive=tmp_path / "copy"))["next"]
    assert (due["kind"], "no later moment" in due["why"]) == ("full", True)


def test_the_schedule_says_what_is_due_and_why(backups: Backups) -> None:
    seen = told(run(backups, "schedule", "--json"))
    assert (seen["next"]["kind"], seen["next"]["parent"]) == ("incremental", backups.incremental.label)
    assert (seen["hours"], seen["keep_fulls"], seen["surplus"]) == (6.0, 2, [])
    plain = run(backups, "schedule").stdout.splitlines()
    assert plain[0].startswith("next  incremental in ")
    assert plain[0].endswith("is the last, and one is taken every 6 hours")


@pytest.mark.parametrize(
    ("label", "problem"), [("1999", "No backup begins with '1999'"), ("2", "2 backups begin with '2'")], ids=["none", "several"]
)
def test_a_label_that_is_none_is_refused(backups: Backups, label: str, problem: str) -> None:
    refused = run(backups, "verify", label)
    assert isinstance(refused.exception, RecoveryRefused)
    assert problem in str(refused.exception)


def test_where_there_is_no_archive_none_is_made(backups: Backups, tmp_path: Path) -> None:
    refused = CliRunner().invoke(app, ["list", "--home", str(tmp_path)])
    assert isinstance(refused.exception, DataMissing)
    assert list(tmp_path.iterdir()) == []
    empty = run(backups, "list", archive=tmp_path / "empty")
    assert (empty.exit_code, "there is no backup yet" in empty.stderr) == (0, True)
    assert isinstance(run(backups, "verify", archive=tmp_path / "empty").exception, RecoveryRefused)


def test_a_new_key_opens_what_it_locked(backups: Backups, tmp_path: Path) -> None:
    made = run(backups, "key")
    key = made.stdout.strip()
    assert "SECURECART_ARCHIVE_KEY" in made.stderr
    open_archive(str(tmp_path), key).put("beat", b"so far")
    assert open_archive(str(tmp_path), key).read("beat") == b"so far"
    assert told(run(backups, "key", "--json"))["secret"] != key
