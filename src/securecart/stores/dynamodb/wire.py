"""One region's engine by DynamoDB's own JSON over HTTP, its streams included, which aiodynamo does not speak.

The replicator exists for engines of one's own, which take any signature; on AWS the tables replicate themselves.
"""

from __future__ import annotations

from typing import Any

import aiohttp
import msgspec

from securecart.errors import StoreAway
from securecart.patience import GLOBAL_TABLES

__all__ = ["Refused", "Region", "Unlike"]

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
    """A region's engine: its name, its address and a session of connections."""

    def __init__(self, name: str, url: str, *, connections: int = 160) -> None:
        self.name = name
        self.url = url
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=60),
            timeout=aiohttp.ClientTimeout(total=GLOBAL_TABLES.answer_s, connect=GLOBAL_TABLES.connect_s),
        )

    async def call(self, action: str, **request: Any) -> dict[str, Any]:
        """The engine's answer; `StoreAway` when there is none or it is too busy, `Unlike` or `Refused` when it says no."""
        service = "DynamoDBStreams_20120810" if action in STREAM_CALLS else "DynamoDB_20120810"
        headers = {
            "Authorization": SIGNED,
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": f"{service}.{action}",
        }
        try:
            async with self._session.post(self.url, data=msgspec.json.encode(request), headers=headers) as response:
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
        return StoreAway(store=f"DynamoDB of region {self.name}", region=self.name, retry_after=1)

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
