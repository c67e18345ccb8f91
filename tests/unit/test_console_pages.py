"""Pages of the console while the graph gives no answer: they say so, and draw nothing."""

from __future__ import annotations

from typing import Any

import pytest

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
