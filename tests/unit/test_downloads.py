"""Downloads: nothing is kept unless it is what was pinned, and nothing is kept half."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from securecart import downloads
from securecart.downloads import Package
from securecart.errors import DownloadFailed


def an_archive(path: Path, files: dict[str, bytes]) -> str:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def a_package(integrity: str, *wanted: str) -> Package:
    return Package("thing", "1.0.0", integrity, wanted)


def test_an_archive_with_another_digest_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "thing.tgz"
    integrity = an_archive(archive, {"package/a": b"a"})
    downloads.check(archive, a_package(integrity))
    archive.write_bytes(archive.read_bytes() + b"!")
    with pytest.raises(DownloadFailed, match="digest"):
        downloads.check(archive, a_package(integrity))


def test_only_the_wanted_files_are_unpacked(tmp_path: Path) -> None:
    archive = tmp_path / "thing.tgz"
    integrity = an_archive(archive, {"package/lib/a": b"a", "package/b.js": b"b", "package/c": b"c"})
    downloads.unpack(archive, a_package(integrity, "lib/", "b.js"), tmp_path / "out")
    unpacked = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert unpacked == {"lib/a", "b.js"}


def test_a_name_that_leads_outside_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "thing.tgz"
    integrity = an_archive(archive, {"package/lib/../../../evil": b"x"})
    with pytest.raises(DownloadFailed, match="outside"):
        downloads.unpack(archive, a_package(integrity, "lib/"), tmp_path / "out")
    assert not (tmp_path.parent / "evil").exists()


def test_a_fetch_that_fails_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "thing.tgz"
    an_archive(archive, {"package/a": b"a"})
    monkeypatch.setattr(downloads, "PACKAGES", (a_package("sha512-wrong", "a"),))
    monkeypatch.setattr(downloads, "_npm_pack", lambda *_: archive)
    cache = tmp_path / "cache"
    with pytest.raises(DownloadFailed):
        downloads.fetch_all(cache)
    assert list(cache.iterdir()) == []


def test_what_was_fetched_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "thing.tgz"
    package = a_package(an_archive(archive, {"package/a": b"a"}), "a")
    monkeypatch.setattr(downloads, "PACKAGES", (package,))
    calls: list[Package] = []

    def pack(asked: Package, _scratch: Path) -> Path:
        calls.append(asked)
        return archive

    monkeypatch.setattr(downloads, "_npm_pack", pack)
    for _ in range(2):
        downloads.fetch_all(tmp_path / "cache")
    assert calls == [package]
    assert (downloads.path_of("thing", tmp_path / "cache") / "a").read_bytes() == b"a"


def test_a_package_that_is_missing_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="securecart fetch"):
        downloads.path_of("htmx.org", tmp_path)
