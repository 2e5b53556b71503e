"""Keys, the signatures they make, and the secrets that only they can derive."""

from __future__ import annotations

import pytest
from eth_keys.datatypes import PrivateKey, Signature
from hypothesis import given
from hypothesis import strategies as st

from bcfl.protocol.accounts import ORDER, Account, signer
from bcfl.protocol.hashing import keccak

KEY = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")


def test_default_behavior() -> None:
    assert Account(KEY).address == "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
    assert Account(KEY).key == KEY


def test_a_key_follows_from_seed_name_and_index() -> None:
    addresses = {
        Account.derive(s, n, i).address for s in range(3) for n in ("device", "miner") for i in range(3)
    }
    assert len(addresses) == 18
    assert Account.derive(1, "device", 2).address == Account.derive(1, "device", 2).address


@given(st.binary(min_size=32, max_size=32), st.integers(1, 2**128))
def test_a_signature_is_its_accounts(digest: bytes, key: int) -> None:
    account = Account(key.to_bytes(32, "big"))
    signature = account.sign(digest)
    assert len(signature) == 64
    assert signer(digest, signature) == account.address
    assert signer(keccak(digest), signature) != account.address


@given(st.binary(max_size=70), st.binary(max_size=70))
def test_no_bytes_make_the_reader_of_signatures_fail(digest: bytes, signature: bytes) -> None:
    assert signer(digest, signature) is None or (len(digest), len(signature)) == (32, 64)


@pytest.mark.parametrize("r", [0, 1, 2**256 - 1])
@pytest.mark.parametrize("s", [0, 2**255 - 1, 2**255])
def test_a_signature_beyond_the_curve_is_nobodys(r: int, s: int) -> None:
    if r != 1 or s in (0, 2**255):
        assert signer(bytes(32), r.to_bytes(32, "big") + s.to_bytes(32, "big")) is None


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64))
def test_a_signer_is_the_one_that_the_library_for_keys_finds(digest: bytes, signature: bytes) -> None:
    vs = int.from_bytes(signature[32:], "big")
    try:
        parts = vs >> 255, int.from_bytes(signature[:32], "big"), vs & (1 << 255) - 1
        public = Signature(vrs=parts).recover_public_key_from_msg_hash(digest)
    except Exception:
        assert signer(digest, signature) is None
    else:
        assert signer(digest, signature) == public.to_checksum_address()


@pytest.mark.parametrize(
    "key", [b"", bytes(31), bytes(32), b"\xff" * 32, ORDER.to_bytes(32, "big"), bytes(33)]
)
def test_what_is_no_key_is_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match="a key is 32 bytes"):
        Account(key)
    assert Account((ORDER - 1).to_bytes(32, "big")).address


def test_a_secret_is_the_same_again_and_no_other() -> None:
    account = Account(KEY)
    secrets = {
        account.secret(name, domain, n) for name in ("a", "b") for domain in (b"x", b"y") for n in range(3)
    }
    assert len(secrets) == 12
    assert account.secret("a", b"x", 1) == Account(KEY).secret("a", b"x", 1)
    assert account.secret("a") != Account.derive(0, "device").secret("a")


def test_an_account_does_not_show_its_key() -> None:
    text = repr(Account(KEY)) + str(Account(KEY))
    assert KEY.hex() not in text
    assert str(PrivateKey(KEY)) not in text


@given(st.binary(min_size=32, max_size=32))
def test_a_signature_is_that_of_the_library_for_keys_in_64_bytes(digest: bytes) -> None:
    signature = PrivateKey(KEY).sign_msg_hash(digest)
    expected = signature.r.to_bytes(32, "big") + (signature.s | signature.v << 255).to_bytes(32, "big")
    assert Account(KEY).sign(digest) == expected
    assert signer(digest, expected) == Account(KEY).address
