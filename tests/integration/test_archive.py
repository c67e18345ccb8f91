"""The archive, in a folder and in a bucket: what was put comes back as it was, or the error says what is wrong."""

from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import boto3
import pytest
from botocore.exceptions import ResponseStreamingError
from moto.server import ThreadedMotoServer

from securecart.errors import ArchiveAway, ArchiveDamaged, ArchiveLocked, ArchiveMissing, ArchiveUnusable, BadInput
from securecart.stores.archive import Archive, bucket, folder, key_pair, open_archive
from securecart.stores.archive.packing import PUMP

KEY = key_pair()[0]
BUCKET = "securecart-tests"
PART = 5 * 1024 * 1024  # the smallest that S3 takes
LARGE = 2 * PART + 1_000_000


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """An S3 that is moto's, in a thread; what the shop's own client reads of AWS's variables points to it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bucket, "PART_BYTES", PART)
        patch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "tests")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
        patch.setenv("AWS_REGION", "eu-central-1")
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        yield client
        client.close()
    server.stop()


class Kept:
    """An archive, and how its objects lie: to damage them as a disk or a person would."""

    def __init__(self, address: str, s3: Any) -> None:
        self.address = address
        self._s3 = s3

    def archive(self, key: str = "") -> Archive:
        if self.address.startswith("s3:"):  # a client costs a third of a second
            return Archive(bucket.Bucket(self._s3, BUCKET, self.address.removeprefix(f"s3://{BUCKET}/")), key)
        return open_archive(self.address, key)

    def raw(self, name: str) -> bytes:
        if self.address.startswith("s3:"):
            answer = self._s3.get_object(Bucket=BUCKET, Key=self._key(name))["Body"]
            with answer:
                return bytes(answer.read())
        return (Path(self.address) / name).read_bytes()

    def lay(self, name: str, content: bytes) -> None:
        if self.address.startswith("s3:"):
            self._s3.put_object(Bucket=BUCKET, Key=self._key(name), Body=content)
        else:
            (Path(self.address) / name).write_bytes(content)

    def _key(self, name: str) -> str:
        return f"{self.address.removeprefix(f's3://{BUCKET}/')}/{name}"


@pytest.fixture(params=["folder", "bucket"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    if request.param == "folder":
        return Kept(str(tmp_path / "archive"), None)
    return Kept(f"s3://{BUCKET}/{tmp_path.name}", request.getfixturevalue("s3"))


@pytest.fixture(params=["", KEY], ids=["plain", "encrypted"])
def key(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def endless(size: int, failure: Exception | None = None) -> IO[bytes]:
    """So many bytes that no compression makes small, made while they are read; or a failure after them."""
    return cast("IO[bytes]", Endless(size, failure))


class Endless(io.RawIOBase):
    def __init__(self, size: int, failure: Exception | None = None) -> None:
        self._left = size
        self._failure = failure
        self._random = random.Random(5)

    def read(self, size: int = -1) -> bytes:
        size = min(size if size >= 0 else self._left, self._left)
        if size == 0 and self._failure is not None:
            raise self._failure
        self._left -= size
        return self._random.randbytes(size)


@pytest.mark.parametrize("content", [b"", b"an order", bytes(3_000_000)], ids=["empty", "small", "zeros"])
def test_what_was_put_comes_back(kept: Kept, key: str, content: bytes) -> None:
    archive = open_archive(kept.address, key) if content == b"an order" else kept.archive(key)
    taken = archive.put("base/20261130T120000Z-full/about", content)
    assert archive.read("base/20261130T120000Z-full/about") == content
    assert archive.check("base/20261130T120000Z-full/about") == len(content)
    assert list(archive.names("base/")) == [("base/20261130T120000Z-full/about", taken)]
    assert taken == len(kept.raw("base/20261130T120000Z-full/about"))
    assert taken < 2_000


def test_an_object_larger_than_a_part_comes_back(kept: Kept, key: str) -> None:
    archive = kept.archive(key)
    archive.put_file("large", endless(LARGE))
    with archive.open("large") as stream:
        expected = endless(LARGE)
        while chunk := stream.read(1_000_000):
            assert chunk == expected.read(len(chunk))
    assert expected.read() == b""


def test_the_newest_content_is_read(kept: Kept) -> None:
    archive = kept.archive()
    for number in range(3):
        archive.put("beat", str(number).encode())
    assert archive.read("beat") == b"2"
    assert [name for name, _ in archive.names("")] == ["beat"]


def test_who_reads_keeps_the_content_that_was_there(kept: Kept) -> None:
    archive = kept.archive()
    archive.put_file("wal/1", endless(4_000_000))
    with archive.open("wal/1") as stream:
        begun = stream.read(10)
        archive.put("wal/1", b"other")
        assert begun + stream.read() == endless(4_000_000).read()


def test_what_could_not_be_read_to_its_end_is_not_there(kept: Kept, key: str) -> None:
    archive = kept.archive(key)
    with pytest.raises(ZeroDivisionError, match="the disk"):
        archive.put_file("base/1/data", endless(LARGE, ZeroDivisionError("the disk")))
    assert list(archive.names("")) == []
    with pytest.raises(ArchiveMissing, match="no base/1/data"):
        archive.read("base/1/data")


def test_who_stops_reading_leaves_nothing_running(kept: Kept, key: str) -> None:
    archive = kept.archive(key)
    archive.put_file("large", endless(4_000_000))
    with archive.open("large") as stream:
        assert len(stream.read(10)) == 10
        assert [one.name for one in threading.enumerate()].count(PUMP) == (1 if key else 0)
    assert PUMP not in [one.name for one in threading.enumerate()]


def test_a_damaged_object_is_never_read_as_if_it_were_sound(tmp_path: Path, key: str) -> None:
    kept = Kept(str(tmp_path), None)
    archive = kept.archive(key)
    content = b"".join(b"order %d, line %d\n" % (number, number % 7) for number in range(3_000))
    archive.put("wal/1", content)
    whole = kept.raw("wal/1")
    places = [*random.Random(7).sample(range(len(whole)), 20), len(whole) - 1]
    damages: list[bytes] = [whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :] for place in places]
    damages += [whole[: len(whole) // 2], whole[:-1], whole[:3], b"", whole + b"\0", whole + whole, b"a file of somebody else"]
    for damaged in damages:
        kept.lay("wal/1", damaged)
        with pytest.raises((ArchiveDamaged, ArchiveLocked), match="wal/1 in the archive"):
            archive.check("wal/1")


def test_a_flip_in_what_is_encrypted_is_damage_and_no_other_key(kept: Kept) -> None:
    archive = kept.archive(KEY)
    archive.put("beat", b"so far")
    whole = kept.raw("beat")
    for place in (len(whole) - 1, len(whole) - 20, 0):
        kept.lay("beat", whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        with pytest.raises(ArchiveDamaged, match=r"beat in the archive .* is damaged"):
            archive.read("beat")


@pytest.mark.parametrize("other", ["", key_pair()[0]], ids=["none", "another"])
def test_without_its_key_an_object_stays_closed(kept: Kept, other: str) -> None:
    kept.archive(KEY).put("beat", b"a secret of the shop")
    assert b"secret" not in kept.raw("beat")
    with pytest.raises(ArchiveLocked, match="SECURECART_ARCHIVE_KEY"):
        kept.archive(other).read("beat")


def test_an_archive_that_is_encrypted_from_now_on_still_gives_what_was_there(kept: Kept) -> None:
    kept.archive().put("beat", b"before the key")
    assert kept.archive(KEY).read("beat") == b"before the key"


def test_names_come_in_order_and_only_those_asked_for(kept: Kept) -> None:
    archive = kept.archive()
    names = [
        "base/1/data",
        "base/1-incr/data",
        "base/1/about",
        "wal/00000001/0001",
        "wal/00000001/0001.a-b",
        "wal/00000001.history",
    ]
    for name in names:
        archive.put(name, b"")
    assert [name for name, _ in archive.names("")] == sorted(names)
    assert [name for name, _ in archive.names("wal/00000001")] == sorted(names[3:])
    assert [name for name, _ in archive.names("base/1/")] == ["base/1/about", "base/1/data"]
    assert list(archive.names("tables/")) == []
    archive.remove([*names[:3], "never/there"])
    assert [name for name, _ in archive.names("")] == sorted(names[3:])
    archive.put("base/1/data", b"again")
    assert archive.read("base/1/data") == b"again"


@pytest.mark.parametrize("name", ["../settings.json", "/etc/passwd", "wal//1", ".hidden", "wal/..", "", "a\nb", "x" * 300])
def test_no_name_leads_out_of_the_archive(tmp_path: Path, name: str) -> None:
    archive = open_archive(str(tmp_path))
    for verb in (archive.read, archive.check, archive.open, lambda name: archive.put(name, b"")):
        with pytest.raises(BadInput, match="cannot be a name"):
            verb(name)
    with pytest.raises(BadInput, match="cannot be a name"):
        archive.remove([name])


@pytest.mark.parametrize(("bad", "why"), [("AGE-SECRET-KEY-1OH", "is no secret key"), ("age1qqqq", "is a public key")])
def test_a_key_that_is_none_is_named_and_not_repeated(tmp_path: Path, bad: str, why: str) -> None:
    with pytest.raises(BadInput, match=why) as refused:
        open_archive(str(tmp_path), bad)
    assert refused.value.field == "archive_key"
    assert bad not in str(refused.value)


def test_many_at_once_do_not_disturb_each_other(kept: Kept) -> None:
    archive = kept.archive(KEY)

    def busy(number: int) -> None:
        for turn in range(3):
            archive.put(f"base/{turn}/{number}", bytes([number]) * 1_000)
            assert archive.read(f"base/{turn}/{number}") == bytes([number]) * 1_000
            archive.remove([f"base/{turn}/{number}"])

    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            busy(number)
        except BaseException as error:  # noqa: BLE001  a thread's failure is the test's
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_folder_that_is_taken_away_as_soon_as_it_is_made_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, base = open_archive(str(tmp_path)), tmp_path / "base"
    to_disk = folder._to_disk
    away: list[Path] = []

    def remove_first(above: Path) -> None:
        if above == tmp_path and len(away) < 7:  # `base` was made in it in this moment
            base.rmdir()
            away.append(base)
        to_disk(above)

    monkeypatch.setattr(folder, "_to_disk", remove_first)
    archive.put("base/2/1", b"there")
    assert archive.read("base/2/1") == b"there"
    assert len(away) == 7


def test_an_object_is_read_by_the_plain_tools(tmp_path: Path) -> None:
    program = shutil.which("zstd")
    if program is None:
        pytest.skip("no zstd on this machine: apt-get install zstd")
    open_archive(str(tmp_path)).put("beat", b"without SecureCart")
    read = subprocess.run([program, "-dc"], input=(tmp_path / "beat").read_bytes(), capture_output=True, check=True)
    assert read.stdout == b"without SecureCart"


def test_a_folder_that_is_gone_is_away_and_not_made_anew(tmp_path: Path) -> None:
    root = tmp_path / "disk" / "archive"
    archive = open_archive(str(root))
    archive.put("beat", b"1")
    root.rename(tmp_path / "elsewhere")
    uses: list[Callable[[], object]] = [
        lambda: archive.put("beat", b"2"),
        lambda: archive.read("beat"),
        lambda: list(archive.names("")),
        lambda: archive.remove(["beat"]),
    ]
    for use in uses:
        with pytest.raises(ArchiveAway, match="the folder is gone"):
            use()
    root.mkdir()  # as a disk's mount point is there while the disk is not
    for use in uses:
        with pytest.raises(ArchiveAway, match="is its disk mounted"):
            use()
    assert list(root.iterdir()) == []
    root.rmdir()
    (tmp_path / "elsewhere").rename(root)
    assert archive.read("beat") == b"1"


def test_what_a_killed_process_left_is_not_seen_and_goes(tmp_path: Path) -> None:
    open_archive(str(tmp_path)).put("beat", b"1")
    left = tmp_path / ".unfinished" / "base+1+data.0123"
    left.write_bytes(b"half")
    assert [name for name, _ in open_archive(str(tmp_path)).names("")] == ["beat"]
    assert left.exists()  # somebody may be writing it
    os.utime(left, (0, 0))
    open_archive(str(tmp_path))
    assert not left.exists()


def test_a_folder_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for address in (str(tmp_path / "file"), str(tmp_path / "file" / "below"), "/proc/securecart"):
        with pytest.raises(ArchiveUnusable, match=address):
            open_archive(address)


FULL = """
import sys, random
from securecart.stores.archive import key_pair, open_archive
from securecart.errors import ArchiveFull
archive = open_archive(sys.argv[1])
archive.put("beat", b"1")
try:
    archive.put("wal/1", random.Random(1).randbytes(3_000_000))
except ArchiveFull as error:
    assert "has no room left" in str(error)
    assert [name for name, _ in archive.names("")] == ["beat"]
    archive.put("beat", b"2")
    print("full, and said so;", archive.read("beat"))
"""


def test_a_full_disk_is_said_and_leaves_nothing_half(tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o size=2m none {tmp_path} && exec {sys.executable} -c '{FULL}' {tmp_path}"
    tried = subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, text=True, check=False)
    if "unshare" in tried.stderr or "mount" in tried.stderr:
        pytest.skip(f"no small disk can be made here: {tried.stderr.strip()}")
    assert (tried.stdout.strip(), tried.stderr) == ("full, and said so; b'2'", "")


@pytest.mark.parametrize("address", ["s3:bucket", "s3://", "s3://a", "s3://not_a_bucket/x", "s3://bucket/a b"])
def test_what_is_no_bucket_is_refused(address: str) -> None:
    with pytest.raises(ArchiveUnusable, match="no address of a bucket"):
        open_archive(address)


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_is_not_there_is_named() -> None:
    archive = open_archive("s3://nobodys-bucket/shop")
    uses: list[Callable[[], object]] = [
        lambda: archive.put("beat", b"2"),
        lambda: archive.read("beat"),
        lambda: list(archive.names("")),
        lambda: archive.remove(["beat"]),
    ]
    for use in uses:
        with pytest.raises(ArchiveUnusable, match="s3://nobodys-bucket/shop cannot be used: there is no such bucket; make it"):
            use()


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_does_not_answer_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    archive = open_archive(f"s3://{BUCKET}/shop")
    with pytest.raises(ArchiveAway, match="Nothing was changed"):
        archive.read("beat")
    with pytest.raises(ArchiveAway, match="Nothing was changed"):
        archive.put("beat", b"1")


def test_names_are_listed_page_by_page_and_removed_in_turns(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "LISTED_A_CALL", 3)
    monkeypatch.setattr(bucket, "REMOVED_A_CALL", 3)
    archive = Archive(bucket.Bucket(s3, BUCKET, "many"))
    names = [f"wal/{number:08X}" for number in range(8)]
    for name in names:
        s3.put_object(Bucket=BUCKET, Key=f"many/{name}", Body=b"")
    assert [name for name, _ in archive.names("wal/")] == names
    archive.remove(names)
    assert list(archive.names("")) == []


class Torn:
    """A body whose connection breaks after so many bytes."""

    def __init__(self, body: IO[bytes], whole: int) -> None:
        self._body = body
        self._left = whole

    def read(self, size: int | None = None) -> bytes:
        if self._left <= 0:
            raise ResponseStreamingError(error="torn")
        chunk = self._body.read(min(self._left, self._left if size is None else size))
        self._left -= len(chunk)
        return chunk

    def close(self) -> None:
        self._body.close()


@pytest.mark.parametrize("lasting", ["", "for good"], ids=["once", "for good"])
def test_a_connection_that_breaks_while_reading(s3: Any, key: str, monkeypatch: pytest.MonkeyPatch, lasting: str) -> None:
    archive = Archive(bucket.Bucket(s3, BUCKET, f"torn-{key[-5:]}"), key)
    archive.put_file("wal/1", endless(2_000_000))
    fetch = bucket.Bucket.fetch
    starts: list[int] = []

    def tearing(self: bucket.Bucket, name: str, start: int, version: str) -> Any:
        answer = fetch(self, name, start, version)
        starts.append(start)
        if len(starts) == 1 or lasting:
            answer["Body"] = Torn(answer["Body"], 700_000 if len(starts) == 1 else 0)
        return answer

    monkeypatch.setattr(bucket.Bucket, "fetch", tearing)
    if lasting:
        with pytest.raises(ArchiveAway, match="does not answer"):
            archive.check("wal/1")
    else:
        assert archive.read("wal/1") == endless(2_000_000).read()
    assert starts[:2] == [0, 700_000]
