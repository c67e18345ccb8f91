"""An archive in an S3 bucket, AWS's or another's: credentials, region and endpoint come from AWS's own variables and files."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.exceptions import ConnectionError as NotConnected

from securecart.errors import ArchiveAway, ArchiveDamaged, ArchiveFull, ArchiveMissing, ArchiveUnusable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["Bucket"]

ADDRESS = re.compile(r"^s3://(?P<bucket>[A-Za-z0-9][A-Za-z0-9.-]{1,61}[A-Za-z0-9])(?:/(?P<prefix>[A-Za-z0-9_.=+:@/-]*))?\Z")
CONNECT_S = 5
READ_S = 30
ATTEMPTS = 3
LISTED_A_CALL = 1_000
REMOVED_A_CALL = 1_000
# An object of unknown size goes up in parts, three of them in memory: S3's limit of 10,000 parts makes 160 GB.
PART_BYTES = 16 * 1024 * 1024
PARTS_IN_MEMORY = 3

AWAY = (NotConnected, HTTPClientError, IncompleteReadError)
PASSING = ("SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable")
MISSING = ("NoSuchKey", "404", "NotFound")
CHANGED = ("PreconditionFailed", "InvalidRange", "412", "416")
FULL = ("XMinioStorageFull", "QuotaExceeded", "InsufficientStorage", "507")
REFUSED = {
    "NoSuchBucket": "there is no such bucket; make it, or correct SECURECART_ARCHIVE",
    "InvalidBucketName": "that is no name of a bucket; correct SECURECART_ARCHIVE",
    "AccessDenied": "access is denied; allow s3:ListBucket, GetObject, PutObject, DeleteObject and AbortMultipartUpload on it",
    "403": "access is denied; allow s3:ListBucket, GetObject, PutObject, DeleteObject and AbortMultipartUpload on it",
    "InvalidAccessKeyId": "AWS_ACCESS_KEY_ID is not known there",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY does not belong to AWS_ACCESS_KEY_ID",
    "ExpiredToken": "the credentials have expired; get new ones",
    "PermanentRedirect": "the bucket is in another region; set AWS_REGION to it",
    "AuthorizationHeaderMalformed": "the bucket is in another region; set AWS_REGION to it",
}
SERVER_ERROR = 500


class Bucket:
    """Objects under one prefix of a bucket. A put that fails leaves no parts behind, unless this process is killed."""

    def __init__(self, client: S3Client, bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._sending = TransferConfig(
            multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=PARTS_IN_MEMORY
        )
        self._sending.max_in_memory_upload_chunks = PARTS_IN_MEMORY

    @classmethod
    def at(cls, address: str) -> Bucket:
        """The bucket at `s3://BUCKET/PREFIX`; `ArchiveUnusable` when that is no address. It is asked nothing yet."""
        if (found := ADDRESS.match(address)) is None:
            raise ArchiveUnusable(archive=address, why="that is no address of a bucket; write s3://BUCKET or s3://BUCKET/PREFIX")
        retries: Any = {"total_max_attempts": ATTEMPTS, "mode": "standard"}
        config = Config(connect_timeout=CONNECT_S, read_timeout=READ_S, retries=retries)
        try:
            client = boto3.session.Session().client("s3", config=config)
        except (BotoCoreError, ValueError) as error:
            raise ArchiveUnusable(archive=address, why=f"AWS's settings cannot be used: {error}") from error
        return cls(client, found["bucket"], (found["prefix"] or "").strip("/"))

    @property
    def where(self) -> str:
        """Its address."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def put(self, name: str, content: IO[bytes]) -> int:
        """Send an object, in parts where it is large, and ask whether all of it arrived; S3 checks each part's sum."""
        counted = _Counted(content)
        sent: Any = counted
        with self._said(name):
            self._client.upload_fileobj(sent, self._bucket, self._prefix + name, Config=self._sending)
            arrived = self._client.head_object(Bucket=self._bucket, Key=self._prefix + name)["ContentLength"]
        if arrived != counted.size:
            raise ArchiveDamaged(name=name, archive=self.where, why=f"{counted.size:,} bytes were sent and {arrived:,} are there")
        return arrived

    def open(self, name: str) -> Any:
        """The object of this name; its first byte is asked for at once."""
        return _Fetched(self, name)

    def names(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Every object whose key begins so, a thousand a request."""
        listing = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix, PaginationConfig={"PageSize": LISTED_A_CALL}
        )
        pages = iter(listing)
        while True:
            with self._said(prefix):
                page = next(pages, None)
            if page is None:
                return
            for found in page.get("Contents", []):
                yield found["Key"].removeprefix(self._prefix), found["Size"]

    def remove(self, names: list[str]) -> None:
        """Remove objects, a thousand a request."""
        for begin in range(0, len(names), REMOVED_A_CALL):
            some = names[begin : begin + REMOVED_A_CALL]
            with self._said(some[0]):
                keys: Any = [{"Key": self._prefix + name} for name in some]
                answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": keys, "Quiet": True})
                for error in answer.get("Errors", []):
                    failed: Any = {"Error": {"Code": error.get("Code", ""), "Message": error.get("Message", "")}}
                    raise ClientError(failed, "DeleteObjects")

    def fetch(self, name: str, start: int, version: str) -> Any:
        """S3's answer with an object's bytes from `start` on, of this very version where one is given."""
        only: Any = {"Range": f"bytes={start}-", "IfMatch": version} if start else {}
        with self._said(name):
            return self._client.get_object(Bucket=self._bucket, Key=self._prefix + name, **only)

    @contextlib.contextmanager
    def _said(self, name: str) -> Iterator[None]:
        try:
            yield
        except (BotoCoreError, ClientError, Boto3Error) as error:
            raise self.explained(error, name) from error

    def explained(self, error: Exception, name: str) -> ArchiveUnusable:
        """What an error of S3's library means to whoever keeps the archive."""
        if isinstance(error, Boto3Error) and isinstance(error.__context__, Exception):
            error = error.__context__  # the transfer's own is around the one that says why
        if isinstance(error, NoCredentialsError | PartialCredentialsError):
            why = "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            return ArchiveUnusable(archive=self.where, why=why)
        if isinstance(error, AWAY):
            return ArchiveAway(archive=self.where, why=str(error))
        if isinstance(error, ClientError):
            return self._answered(error, name)
        return ArchiveUnusable(archive=self.where, why=str(error))

    def _answered(self, error: ClientError, name: str) -> ArchiveUnusable:
        code = error.response["Error"].get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in MISSING:
            return ArchiveMissing(name=name, archive=self.where)
        if code in CHANGED:
            return ArchiveDamaged(name=name, archive=self.where, why="it was replaced while it was read; read it again")
        if code in FULL:
            return ArchiveFull(archive=self.where)
        if code in PASSING or status >= SERVER_ERROR:
            return ArchiveAway(archive=self.where, why=str(error))
        return ArchiveUnusable(archive=self.where, why=REFUSED.get(code, str(error)))


class _Counted:
    """A stream that counts what was read of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.size = 0
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        # zstandard and pipes give less than was asked for; S3's library takes that for the end of a part
        gathered = bytearray()
        while size < 0 or len(gathered) < size:
            chunk = self._stream.read(size - len(gathered) if size >= 0 else PART_BYTES)
            if not chunk:
                break
            gathered += chunk
        self.size += len(gathered)
        return bytes(gathered)


class _Fetched:
    """An object while it is read; where the connection breaks, reading goes on from the same place of the same version."""

    def __init__(self, bucket: Bucket, name: str) -> None:
        self._bucket = bucket
        self._name = name
        self._position = 0
        self._broken = 0
        answer = bucket.fetch(name, 0, "")
        self._version = answer["ETag"]
        self._body = answer["Body"]

    def read(self, size: int = -1) -> bytes:
        while True:
            try:
                chunk: bytes = self._body.read(size if size >= 0 else None)
            except BotoCoreError as error:
                self._body.close()
                self._broken += 1
                if self._broken >= ATTEMPTS:
                    raise self._bucket.explained(error, self._name) from error
                self._body = self._bucket.fetch(self._name, self._position, self._version)["Body"]
            else:
                self._position += len(chunk)
                if chunk:
                    self._broken = 0
                return chunk

    def close(self) -> None:
        self._body.close()
