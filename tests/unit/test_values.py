"""Amounts of ether, in every way in which an option may be written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcfl.config.values import parse_wei

ETHER = 10**18


@pytest.mark.parametrize(
    ("amount", "wei"),
    [
        (0, 0),
        (ETHER, ETHER),
        ("1 ether", ETHER),
        ("1.5 ETH", 3 * ETHER // 2),
        ("0.000000000000000001ether", 1),
        ("100 gwei", 10**11),
        (" 7 wei ", 7),
        (str(2**96 - 1), 2**96 - 1),
    ],
)
def test_parse_wei(amount: object, wei: int) -> None:
    assert parse_wei(amount) == wei


@pytest.mark.parametrize(
    "amount",
    [-1, 1.5, True, "", "1.5", "0.1 wei", "1 euro", "1e18", "1_000", "nan ether", "-1 ether", 2**96, None],
)
def test_parse_wei_refuses_what_is_no_amount(amount: object) -> None:
    with pytest.raises(ValueError, match="must be"):
        parse_wei(amount)


@given(st.integers(0, 2**96 - 1))
def test_parse_wei_keeps_every_wei(wei: int) -> None:
    whole, fraction = divmod(wei, ETHER)
    assert parse_wei(f"{whole}.{fraction:018d} ether") == parse_wei(wei) == wei
