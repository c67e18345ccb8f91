"""One region's engine by DynamoDB's own JSON over HTTP: its streams and its control plane too, which aiodynamo does not speak.

Engines of one's own take any signature; on AWS `signed_by` gives the real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp
import msgspec

from securecart.errors import OperatorError, StoreAway
from securecart.patience import GLOBAL_TABLES, Patience

__all__ = ["Refused", "Region", "Unlike", "aws_region"]

Sign = Callable[[bytes, Mapping[str, str]], Awaitable[Mapping[str, str]]]

STREAM_CALLS = {"DescribeStream", "GetRecords", "GetShardIterator"}
SIGNED = "AWS4-HMAC-SHA256 Credential=securecart/20260101/local/dynamodb/aws4_request, SignedHeaders=host, Signature=none"
# Answers to a request that was well meant, at the wrong moment.
BUSY = {
    "InternalServerError",
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "ResourceInUseException",
    "ThrottlingException",
    "TransactionConflictException",
    "TransactionInProgressException",
}


class Refused(Exception):
    """The engine refuses the request; `code` is its own word for why."""

    def __init__(self, code: str, problem: str) -> None:
        super().__init__(f"{code}: {problem}")
        self.code = code


class Unlike(Refused):
    """The item is not what the condition says; `item` is what is there, None when nothing is."""

    def __init__(self, item: dict[str, Any] | None) -> None:
        super().__init__("ConditionalCheckFailedException", "the item is not as expected")
        self.item = item


class Region:
    """A region's engine: its name, its address and a session of connections; `sign` gives a request the headers AWS asks for."""

    def __init__(
        self, name: str, url: str, *, connections: int = 160, patience: Patience = GLOBAL_TABLES, sign: Sign | None = None
    ) -> None:
        self.name = name
        self.url = url
        self._sign = sign
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=60),
            timeout=aiohttp.ClientTimeout(total=patience.answer_s, connect=patience.connect_s),
        )

    async def call(self, action: str, **request: Any) -> dict[str, Any]:
        """The engine's answer; `StoreAway` when there is none or it is too busy, `Unlike` or `Refused` when it says no."""
        service = "DynamoDBStreams_20120810" if action in STREAM_CALLS else "DynamoDB_20120810"
        headers = {
            "Authorization": SIGNED,
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": f"{service}.{action}",
        }
        content = msgspec.json.encode(request)
        if self._sign is not None:
            headers = {**headers, **await self._sign(content, headers)}
        try:
            async with self._session.post(self.url, data=content, headers=headers) as response:
                body = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self.away() from error
        answer = _decoded(body)
        if response.status != 200:  # noqa: PLR2004 - HTTP's own number
            raise self._problem(response.status, answer)
        return answer

    async def get(self, table: str, key: dict[str, Any]) -> dict[str, Any] | None:
        """The newest state of an item, or None."""
        answer = await self.call("GetItem", TableName=table, Key=key, ConsistentRead=True)
        item: dict[str, Any] | None = answer.get("Item")
        return item

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    def away(self) -> StoreAway:
        """The error that says so."""
        return StoreAway(store=f"DynamoDB of region {self.name}" if self.name else "DynamoDB", region=self.name, retry_after=1)

    def _problem(self, status: int, answer: dict[str, Any]) -> Exception:
        code = str(answer.get("__type", "")).rpartition("#")[2]
        if code == "ConditionalCheckFailedException":
            return Unlike(answer.get("Item"))
        if status >= 500 or code in BUSY or not code:  # noqa: PLR2004 - HTTP's own number
            return self.away()
        return Refused(code, str(answer.get("Message") or answer.get("message") or status))


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {}
    return answer


def aws_region(name: str, *, patience: Patience) -> Region:
    """AWS's own DynamoDB in this region, with the credentials that AWS's tools would find here."""
    from botocore.auth import SigV4Auth  # noqa: PLC0415 - only where it is used
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415
    from botocore.session import Session  # noqa: PLC0415

    session = Session()
    url = session.create_client("dynamodb", region_name=name).meta.endpoint_url
    credentials = session.get_credentials()
    if credentials is None:
        raise OperatorError(problem="No AWS credentials were found; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret.")

    def signed(content: bytes, headers: Mapping[str, str]) -> Mapping[str, str]:
        told = {header: value for header, value in headers.items() if header != "Authorization"}
        request = AWSRequest(method="POST", url=url, data=content, headers=told)
        SigV4Auth(credentials.get_frozen_credentials(), "dynamodb", name).add_auth(request)
        return dict(request.headers.items())

    async def sign(content: bytes, headers: Mapping[str, str]) -> Mapping[str, str]:
        return await asyncio.to_thread(signed, content, headers)  # credentials may have to be fetched

    return Region(name, url, patience=patience, sign=sign)
