"""`securecart import products` as an operator runs it."""

from __future__ import annotations

import asyncio
import gzip
import json
import secrets
import sys
from pathlib import Path

from securecart import catalog
from securecart.app import Shop

HEADER = "slug,sku,title,price.USD,categories\n"


async def run(home: Path, *arguments: str, given: bytes = b"") -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "securecart", "import", "products", *arguments, "--home", str(home)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(given)
    return process.returncode or 0, out.decode(), err.decode()


async def test_good_rows_are_in_and_bad_ones_are_named_with_their_line(shop: Shop, shop_home: Path, tmp_path: Path) -> None:
    slug = f"t{secrets.token_hex(5)}"
    file = tmp_path / "goods.csv"
    file.write_text(f"{HEADER}{slug},{slug},Good,1.50,{slug} > Things\n{slug}-b,{slug}-b,Bad,-1,\n")
    code, out, err = await run(shop_home, str(file), "--json")
    report = json.loads(out)
    assert (code, report["created"], report["rejections"]) == (1, 1, 1)
    assert f"{file}:3: price.USD is -1" in err
    product = await catalog.product(shop.database, shop.cache, slug)
    assert [category.name for category in product.breadcrumb] == [slug, "Things"]
    assert product.variants[0].prices[0].amount_minor == 150


async def test_the_same_file_again_changes_nothing_also_from_a_pipe(shop_home: Path) -> None:
    slug = f"t{secrets.token_hex(5)}"
    lines = "".join(
        json.dumps({"slug": f"{slug}-{n}", "id": f"{slug}-{n}", "name": "Thing", "cost": 1.25}) + "\n" for n in range(5)
    )
    arguments = ("-", "--map", "sku=id", "--map", "title=name", "--map", "price=cost", "--json")
    first = await run(shop_home, *arguments, given=gzip.compress(lines.encode()))
    again = await run(shop_home, *arguments, given=lines.encode())
    assert (first[0], json.loads(first[1])["created"]) == (0, 5)
    assert (again[0], json.loads(again[1])["unchanged"]) == (0, 5)


async def test_a_file_that_is_not_there_is_one_sentence(shop_home: Path, tmp_path: Path) -> None:
    code, out, err = await run(shop_home, str(tmp_path / "nowhere.csv"))
    assert (code, out) == (1, "")
    assert "nowhere.csv cannot be read" in err
    assert "Traceback" not in err
