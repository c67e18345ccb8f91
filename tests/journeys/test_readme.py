"""The README's commands, run as written."""

from __future__ import annotations

import asyncio
import json
import re
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
    shell = await asyncio.create_subprocess_exec(
        *("bash", "-euc", f"{script}\necho\n{last}"),
        env={"SHOP": shop_url, "SKU": sku, "PATH": "/usr/bin:/bin:/usr/local/bin"},
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await asyncio.wait_for(shell.communicate(), 30)
    assert shell.returncode == 0
    lines = printed.decode().splitlines()
    first, second = [json.loads(line[line.index('{"number"') :]) for line in lines if '{"number"' in line]
    assert first == second
    assert (first["status"], first["total"]["amount_minor"]) == ("paid", 398)
