"""The README's commands, run as written."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from securecart.app import Shop
from tests.orders_for_tests import a_product

README = Path(__file__).parents[2] / "README.md"


async def test_the_curl_walk_buys_something_once(shop: Shop, shop_url: str) -> None:
    sku = await a_product(shop.database, price_minor=199)
    found = re.search(r"test_readme.py -->\n```bash\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    script = found[1]
    last = found[1][found[1].index("curl -s -X POST $SHOP/api/checkout") :]
    done = subprocess.run(
        ["bash", "-euc", f"{script}\necho\n{last}"],
        env={"SHOP": shop_url, "SKU": sku, "PATH": "/usr/bin:/bin:/usr/local/bin"},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    first, second = [json.loads(line[line.index('{"number"') :]) for line in done.stdout.splitlines() if '{"number"' in line]
    assert first == second
    assert (first["status"], first["total"]["amount_minor"]) == ("paid", 398)
