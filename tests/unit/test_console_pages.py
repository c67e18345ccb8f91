"""Pages of the console while the graph gives no answer: they say so, and draw nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from securecart.errors import StoreAway
from securecart.web.console import rings
from securecart.web.console.pages import TEMPLATES

FRAME = {"shop_name": "Corner Market", "operator": None, "waiting_count": 0, "csrf_token": "", "path": "/console"}


@pytest.mark.parametrize(
    ("template", "facts"), [("thing.html", {"kind": "device", "id": "d", "ring": None}), ("rings.html", {"rings": None})]
)
def test_a_page_without_the_graph_says_so(template: str, facts: dict[str, Any]) -> None:
    page = TEMPLATES.get_template(template).render(**FRAME, **facts)
    assert "The graph cannot be asked at the moment" in page
    assert 'id="drawing"' not in page
    assert "echarts" not in page


async def test_a_graph_that_takes_longer_than_a_person_waits_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rings, "PATIENCE_S", 0.01)
    with pytest.raises(StoreAway):
        await rings._in_time(asyncio.Event().wait())
