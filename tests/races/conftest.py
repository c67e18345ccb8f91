"""What the races share: a bystander, who holds rows and watches who waits."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from securecart.settings import Settings
from tests.forced_moments import Bystander, a_bystander


@pytest.fixture
async def bystander(engines: Settings) -> AsyncIterator[Bystander]:
    async with a_bystander(engines) as beside:
        yield beside
