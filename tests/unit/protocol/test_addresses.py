"""Addresses are read and written as eth_utils does it."""

from __future__ import annotations

import pytest
from eth_utils.address import (
    is_checksum_address,
    is_checksum_formatted_address,
    to_canonical_address,
    to_checksum_address,
)
from hypothesis import given
from hypothesis import strategies as st

from bcfl.protocol.addresses import address_bytes, checksummed, has_checksum, is_checksummed

ADDRESSES = st.binary(min_size=20, max_size=20)
WRONG = [
    "",
    "0x",
    "0x" + "1" * 39,
    "1" * 41,
    "0x" + "g" * 40,
    "0x" + "1" * 40 + "\n",
    "²" * 40,
    " " + "1" * 40,
]


@given(ADDRESSES)
def test_a_checksum_is_that_of_the_library(address: bytes) -> None:
    text = address.hex()
    for spelling in (address, text, "0x" + text, "0X" + text.upper(), to_checksum_address(address)):
        assert checksummed(spelling) == to_checksum_address(spelling) == to_checksum_address(address)
        assert address_bytes(spelling) == to_canonical_address(address) == address


@given(ADDRESSES, st.integers(0, 39), st.sampled_from(["", "0x", "0X"]))
def test_a_wrong_letter_is_told_as_the_library_tells_it(address: bytes, place: int, prefix: str) -> None:
    letters = checksummed(address)[2:]
    for text in (
        letters,
        letters[:place] + letters[place].swapcase() + letters[place + 1 :],
        letters.lower(),
    ):
        assert is_checksummed(prefix + text) == is_checksum_address(prefix + text)
        assert has_checksum("0x" + text) == is_checksum_formatted_address("0x" + text)


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_address_is_refused(text: str) -> None:
    assert not is_checksummed(text)
    assert not has_checksum(text)
    for read in (checksummed, address_bytes, to_checksum_address):
        with pytest.raises(ValueError, match=r"."):
            read(text)


@pytest.mark.parametrize("size", [0, 19, 21, 40])
def test_other_numbers_of_bytes_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="an address has 20 bytes"):
        checksummed(bytes(size))
