"""Signature Version 4 for Neptune: botocore's own signer, with the credentials that AWS's tools would find here."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from securecart.errors import OperatorError

__all__ = ["SERVICE", "Signer", "signer_for"]

SERVICE = "neptune-db"
_HOST = re.compile(r"\.(?P<region>[a-z]{2}(?:-[a-z]+)+-\d+)\.neptune\.amazonaws\.com(?:\.cn)?\Z")


class Signer:
    """Signs requests to one region; the credentials may be renewed, so they are asked for each time."""

    def __init__(self, credentials: Any, region: str) -> None:
        self._credentials = credentials
        self.region = region

    async def headers(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers to send, these and the signature's; not on the loop, for credentials may have to be fetched."""
        return await asyncio.to_thread(self.sign, method, url, body, headers)

    def sign(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> dict[str, str]:
        """The same, at once."""
        from botocore.auth import SigV4Auth  # noqa: PLC0415 - only where it is used
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415

        request = AWSRequest(method=method, url=url, data=body, headers=dict(headers))
        SigV4Auth(self._credentials.get_frozen_credentials(), SERVICE, self.region).add_auth(request)
        return {str(name): str(value) for name, value in request.headers.items()}


def signer_for(host: str) -> Signer | None:
    """The signer for the Neptune at this host; None where there are no credentials, for a cluster that asks for none."""
    import boto3  # noqa: PLC0415 - only where it is used

    session = boto3.session.Session()
    credentials = session.get_credentials()
    if credentials is None:
        return None
    found = _HOST.search(host)
    region = found["region"] if found else session.region_name
    if not region:
        raise OperatorError(problem=f"The region of the graph at {host} is not known; set AWS_REGION to it.")
    return Signer(credentials, region)
