"""Files of products, row by row: what is understood, and what is said about what is not."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securecart.catalog import NewProduct, Rejected, column_map, read_products
from securecart.errors import BadInput

HEADER = "slug,sku,title,price.USD,variant\n"


def read(content: bytes | str, *maps: str, **options: object) -> tuple[list[NewProduct], dict[int, str]]:
    raw = content.encode() if isinstance(content, str) else content
    found = list(read_products(io.BytesIO(raw), column_map(list(maps), None), **options))  # type: ignore[arg-type]
    rejected = {one.line: one.reason for one in found if isinstance(one, Rejected)}
    assert len(rejected) == sum(isinstance(one, Rejected) for one in found), "one reason a line"
    return [one for one in found if isinstance(one, NewProduct)], rejected


def test_rows_that_share_a_slug_are_variants_of_one_product() -> None:
    taken, rejected = read(HEADER + "mug,M-R,Mug,4.50,Red\nmug,M-B,Mug,4.75,Blue\ncup,C,Cup,3,\n")
    assert rejected == {}
    assert [(one.slug, [(v.sku, v.title, v.prices["USD"]) for v in one.variants]) for one in taken] == [
        ("mug", [("M-R", "Red", 450), ("M-B", "Blue", 475)]),
        ("cup", [("C", "", 300)]),
    ]


def test_one_bad_row_takes_its_whole_product_and_nothing_else() -> None:
    taken, rejected = read(HEADER + "a,A,A,1,\nmug,M-R,Mug,4.50,Red\nmug,M-B,Mug,cheap,Blue\nz,Z,Z,1,\n")
    assert [one.slug for one in taken] == ["a", "z"]
    assert set(rejected) == {3, 4}
    assert "cheap" in rejected[4]
    assert "line 4" in rejected[3]


@pytest.mark.parametrize(
    ("price", "reason"),
    [
        ("-1", "negative"),
        ("NaN", "no number"),
        ("Infinity", "no number"),
        ("1e400", "more than anything costs"),
        ("1.999", "finer than USD"),
        ("1_000", "no number"),
        ("1,5", "no number"),
        ("", "no price"),
    ],
)
def test_a_price_that_is_none_is_refused_with_its_reason(price: str, reason: str) -> None:
    taken, rejected = read(HEADER + f'mug,M,Mug,"{price}",\n')
    assert taken == []
    assert reason in rejected[2]


def test_each_currency_has_its_own_smallest_coin() -> None:
    taken, _ = read("sku,title,price.JPY,price_minor.EUR,price\nM,Mug,500,199,1.10\n", currency="GBP")
    assert taken[0].variants[0].prices == {"JPY": 500, "EUR": 199, "GBP": 110}
    _, rejected = read("sku,title,price.JPY\nM,Mug,1.5\n")
    assert "finer than JPY" in rejected[2]


def test_a_map_names_columns_and_gathers_attributes_by_prefix() -> None:
    row = {"id": "7", "name": "Mug", "cents": 250, "attr_t_main_colour": "Red", "attr_n_width": 56.0, "attr_b_oven": True, "x": 1}
    taken, _ = read(
        json.dumps(row),
        "sku=id",
        "title=name",
        "price_minor.USD=cents",
        "attributes=attr_t_*",
        "attributes=attr_n_*",
        "attributes=attr_b_*",
    )
    assert taken[0].slug == "mug-7"
    assert taken[0].variants[0].prices == {"USD": 250}
    assert taken[0].attributes == {"Main colour": "Red", "Width": "56", "Oven": "Yes"}


def test_a_map_can_be_a_toml_file(tmp_path: Path) -> None:
    path = tmp_path / "map.toml"
    path.write_text('title = "name"\nprice.USD = "cost"\nattributes = ["a_*", "b_*"]\n')
    assert column_map(["sku=id"], path) == [
        ("title", "name"), ("price.USD", "cost"), ("attributes", "a_*"), ("attributes", "b_*"), ("sku", "id"),
    ]  # fmt: skip


@pytest.mark.parametrize("pair", ["title", "=x", "title=", "colour=x", "price.usd=x"])
def test_a_map_that_makes_no_sense_is_refused(pair: str) -> None:
    with pytest.raises(BadInput):
        read(HEADER + "a,A,A,1,\n", pair)


def test_categories_go_from_the_top_down() -> None:
    taken, rejected = read("sku,title,price.USD,categories\nA,A,1,Home > Kitchen>Mugs\nB,B,1,Home > > Mugs\n")
    assert taken[0].categories == ["Home", "Kitchen", "Mugs"]
    assert "without a name" in rejected[3]


def test_a_missing_column_is_said_once_for_the_whole_file() -> None:
    assert read("slug,title,price.USD\na,A,1\nb,B,1\n") == ([], {1: "no column holds the sku; map one with --map sku=COLUMN"})
    assert "no column 'nope'" in read(HEADER + "a,A,A,1,\n", "brand=nope")[1][1]


def test_wrong_encoding_spoils_its_row_only() -> None:
    csv = HEADER.encode() + "café,CAF,Café,1,\n".encode("latin-1") + b"cup,C,Cup,1,\n"
    taken, rejected = read(csv)
    assert ([one.slug for one in taken], rejected) == (["cup"], {2: "not UTF-8"})
    lines = b'{"sku":"A","title":"A","price.USD":1}\n{"sku":"B","title":"\xe9","price.USD":1}\n'
    taken, rejected = read(lines)
    assert ([one.slug for one in taken], set(rejected)) == (["a-a"], {2})
    assert "not UTF-8 at byte" in rejected[2]
    assert "UTF-8" in read("sku,title,price.USD\nA,A,1\n".encode("utf-16"))[1][1]


def test_a_byte_order_mark_is_no_part_of_the_first_column() -> None:
    assert [one.slug for one in read(b"\xef\xbb\xbf" + (HEADER + "a,A,A,1,\n").encode())[0]] == ["a"]


def test_a_quoted_line_break_counts_as_a_line() -> None:
    taken, rejected = read(HEADER + 'a,A,"A\nthing",1,\nb,B,B,x,\n')
    assert [(one.title, one.line) for one in taken] == [("A\nthing", 2)]
    assert set(rejected) == {4}


def test_a_truncated_gzip_gives_up_the_product_it_breaks_off_in() -> None:
    rows = "".join(f"p-{n // 3},S-{n},Product {n // 3},{n}.00,Kind {n * 7919}\n" for n in range(900))
    packed = gzip.compress((HEADER + rows).encode())
    whole, none = read(packed)
    assert (len(whole), none) == (300, {})
    taken, rejected = read(packed[: len(packed) * 2 // 3])
    assert 0 < len(taken) < 300
    assert all(len(one.variants) == 3 for one in taken)
    assert "ends in the middle" in rejected[max(rejected)]


def test_rows_of_one_product_that_disagree_are_refused() -> None:
    _, rejected = read(HEADER + "mug,M-R,Mug,1,\nmug,M-B,Cup,1,\n")
    assert "title differs from line 2" in rejected[3]


BAD_JSON = (
    '{"sku": "S", "title": "T"',
    "[]",
    "nonsense",
    '{"title":"T","price.USD":1}',
    '{"sku":"S","title":"T","price.USD":-1}',
)


@settings(derandomize=True, deadline=None)
@given(st.lists(st.one_of(st.none(), st.sampled_from(BAD_JSON)), max_size=60))
def test_exactly_the_bad_rows_are_rejected(flaws: list[str | None]) -> None:
    good = [json.dumps({"sku": f"S-{n}", "title": f"T {n}", "price.USD": "1.25"}) for n in range(len(flaws))]
    lines = [flaw or row for flaw, row in zip(flaws, good, strict=True)]
    taken, rejected = read("\n".join(lines), kind="jsonl")
    assert set(rejected) == {n for n, flaw in enumerate(flaws, start=1) if flaw}
    assert [one.line for one in taken] == [n for n, flaw in enumerate(flaws, start=1) if not flaw]


@settings(derandomize=True, deadline=None)
@given(st.binary(max_size=400))
def test_no_file_brings_the_reader_down(content: bytes) -> None:
    for one in read_products(io.BytesIO(content), []):
        assert isinstance(one, NewProduct | Rejected)
