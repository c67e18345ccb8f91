"""Files of past orders: what is read from them, and what is said of lines that cannot be used."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from securecart.errors import BadInput, DataMissing
from securecart.fraud import Attempt, Format, read_rows

CARDS = "transaction_id,merchant_id,user_id,card_number,transaction_date,transaction_amount,device_id,has_cbk\n"
CARD = "1,17,8,650487******9884,2019-11-01T01:27:15,2416.70,,FALSE\n"
ECOMMERCE = "user_id,signup_time,purchase_time,purchase_value,device_id,source,browser,sex,age,ip_address,class\n"
ORDER = "7,2015-01-01T00:00,2015-01-02T00:00,14,DEV,Direct,Chrome,F,38,2001426400.0,1\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "rows.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_cards(tmp_path: Path) -> None:
    (row,) = read_rows("cards", written(tmp_path, CARDS + CARD))
    at = 1_572_571_635_000_000
    assert row.attempt == Attempt(at, "8", 241_670, "XXX", card="650487******9884", seller="17")
    assert not row.is_fraud


def test_ecommerce_and_gzip(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress((ECOMMERCE + ORDER + ORDER.replace("2001426400.0", "").replace("Direct", "Ads")).encode()))
    first, second = read_rows("ecommerce", path)
    assert (first.attempt.device, first.attempt.network, second.attempt.network) == ("DEV", "119.75.87.0/24", None)
    assert first.attempt.account_made_at == first.attempt.at - 86_400_000_000
    assert (first.attempt.came_directly, second.attempt.came_directly, first.is_fraud) == (True, False, True)
    assert first.attempt.extra == {"source=Direct": 1.0, "browser=Chrome": 1.0, "sex=F": 1.0, "age": 38.0}


@pytest.mark.parametrize(
    ("form", "text", "field", "told"),
    [
        ("cards", "", "merchant_id", "rows.csv has no column 'merchant_id'"),
        ("cards", CARDS.replace("has_cbk", "x") + CARD, "has_cbk", "rows.csv has no column 'has_cbk'"),
        (
            "cards",
            CARDS + CARD + CARD.replace("2416.70", "much"),
            "transaction_amount",
            "rows.csv, line 3, transaction_amount: 'much'",
        ),
        ("cards", CARDS + CARD.replace("2416.70", "-1"), "transaction_amount", "line 2, transaction_amount: '-1' is not from 0"),
        ("cards", CARDS + CARD.replace("2416.70", "NaN"), "transaction_amount", "'NaN' is not from 0"),
        ("cards", CARDS + CARD.replace("2019-11-01T", "yesterday "), "transaction_date", "is no time such as"),
        ("cards", CARDS + CARD.replace("FALSE", "perhaps"), "has_cbk", "line 2, has_cbk: 'perhaps' is neither"),
        ("cards", CARDS + CARD.replace(",8,", ",,"), "user_id", "line 2, user_id: is empty"),
        ("cards", CARDS + "1,2,3\n", "transaction_date", None),
        ("cards", CARDS + CARD.strip() + ",more\n", None, "more fields than the header"),
        ("ecommerce", ECOMMERCE + ORDER.replace("2001426400.0", "4294967296"), "ip_address", "is no IPv4 address"),
        ("ecommerce", ECOMMERCE + ORDER.replace(",38,", ",old,"), "age", "line 2, age: 'old' is no number"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(
    tmp_path: Path, form: Format, text: str, field: str | None, told: str | None
) -> None:
    with pytest.raises(BadInput) as caught:
        read_rows(form, written(tmp_path, text))
    assert told is None or told in caught.value.message
    assert told is None or caught.value.field == field


def test_a_file_that_is_not_there_or_not_whole(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match="cannot be read"):
        read_rows("cards", tmp_path / "none.csv")
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(gzip.compress((CARDS + CARD * 100).encode())[:60])
    with pytest.raises(DataMissing, match="cannot be read"):
        read_rows("cards", cut)
    cut.write_bytes(CARDS.encode() + b"\xff\xfe")
    with pytest.raises(BadInput, match="UTF-8"):
        read_rows("cards", cut)
