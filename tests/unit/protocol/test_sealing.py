"""What is sealed opens for its readers, in its place, and for nobody and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcfl.errors import ConfigError, PayloadError
from bcfl.protocol import payload, privacy, readers, sealing
from bcfl.protocol.accounts import Account
from bcfl.protocol.readers import TAG_BYTES, WRAP_BYTES, announced_key, with_key, without_key
from bcfl.protocol.rounds import Submission
from bcfl.protocol.sealing import ReaderKey, Seal
from bcfl.protocol.sizes import Sizes
from bcfl.protocol.submissions import Domain
from bcfl.protocol.types import Layout, TensorSpec, Update

DOMAIN = Domain(1, "0x" + "11" * 20)
DEVICE = Account.derive(0, "device")
MINERS = [Account.derive(0, "miner", index) for index in range(3)]
READERS = [ReaderKey.of(miner, DOMAIN) for miner in MINERS]
KEYS = [reader.public for reader in READERS]
SEAL = Seal(DOMAIN, 7, 2, b"r" * 32)
DATA = bytes(range(256))
# The points of small order of the curve and its twist, below 2**255.
SMALL_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


def sealed(readers_: list[bytes | None] | None = None, seal: Seal = SEAL) -> bytes:
    return sealing.seal_update(DATA, seal, DEVICE, KEYS if readers_ is None else readers_)


def content_key(data: bytes, position: int = 0, seal: Seal = SEAL) -> bytes | None:
    return sealing.open_wrap(data, position, READERS[position], seal)


def test_every_reader_opens_it_and_nobody_else() -> None:
    data = sealed()
    assert len(data) == WRAP_BYTES * 3 + len(DATA) + TAG_BYTES
    keys = [content_key(data, position) for position in range(3)]
    assert keys[0] is not None
    assert keys == [keys[0]] * 3
    assert sealing.open_update(data, 3, keys[0], SEAL) == DATA
    for position in range(3):
        stranger = ReaderKey.of(Account.derive(1, "miner"), DOMAIN)
        assert sealing.open_wrap(data, position, stranger, SEAL) is None
        assert sealing.open_wrap(data, position, READERS[(position + 1) % 3], SEAL) is None


def test_the_same_bytes_are_made_again_after_a_crash() -> None:
    assert sealed() == sealed()


def test_another_content_has_another_key() -> None:
    """One key and nonce for two contents would give both away."""
    other = Seal(DOMAIN, 7, 2, b"s" * 32)
    assert content_key(sealed()) != content_key(sealed(seal=other), seal=other)


@pytest.mark.parametrize(
    "other",
    [
        Seal(Domain(2, DOMAIN.contract), 7, 2, SEAL.root),
        Seal(Domain(1, "0x" + "22" * 20), 7, 2, SEAL.root),
        Seal(DOMAIN, 8, 2, SEAL.root),
        Seal(DOMAIN, 7, 3, SEAL.root),
        Seal(DOMAIN, 7, 2, b"s" * 32),
    ],
    ids=["chain", "contract", "round", "device", "root"],
)
def test_it_opens_in_its_place_alone(other: Seal) -> None:
    data = sealed()
    key = content_key(data)
    assert key is not None
    assert content_key(data, seal=other) is None
    with pytest.raises(PayloadError, match="does not open"):
        sealing.open_update(data, 3, key, other)


@given(st.integers(min_value=0, max_value=WRAP_BYTES * 3 + len(DATA) + TAG_BYTES - 1))
def test_no_byte_of_it_can_be_changed(place: int) -> None:
    data = bytearray(sealed())
    key = content_key(bytes(data))
    assert key is not None
    data[place] ^= 1
    if place < WRAP_BYTES * 3:
        reader = place // WRAP_BYTES
        assert content_key(bytes(data), reader) is None
    else:
        with pytest.raises(PayloadError):
            sealing.open_update(bytes(data), 3, key, SEAL)


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_a_key_of_small_order_gets_what_nobody_opens(point: str) -> None:
    """Whoever announced it would make the secret of all that is sealed for it known to all."""
    honest = sealed()
    data = sealed([KEYS[0], bytes.fromhex(point), KEYS[2]])
    assert len(data) == len(honest)
    assert content_key(data, 0) == content_key(data, 2) == content_key(honest)
    wrap = data[WRAP_BYTES : 2 * WRAP_BYTES]
    assert all(reader.open(wrap, SEAL.data) is None for reader in READERS)


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_a_device_cannot_wrap_by_a_point_of_small_order(point: str) -> None:
    assert READERS[0].open(bytes.fromhex(point) + bytes(48), SEAL.data) is None


def test_a_reader_without_a_key_takes_as_much_room() -> None:
    assert len(sealed([KEYS[0], None, KEYS[2]])) == len(sealed())


@pytest.mark.parametrize("length", [0, 31, 32, 79])
def test_a_wrap_that_is_cut_off_opens_for_nobody(length: int) -> None:
    assert READERS[0].open(sealed()[:length], SEAL.data) is None


def test_the_wrap_is_hpke() -> None:
    """RFC 9180, A.2.1: the ephemeral key of the vector, and what another library opens."""
    seed = bytes.fromhex("909a9b35d3dc4713a5e72a4da274b55d3d3821a37e5d099e74a647db583a904b")
    public = bytes.fromhex("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a")
    secret = bytes.fromhex("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb")
    info = bytes.fromhex("4f6465206f6e2061204772656369616e2055726e")
    start = "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a"
    wrap = sealing.seal_for(public, b"key", info, seed)
    assert wrap[:32].hex() == start
    assert ReaderKey(secret).public == public
    assert ReaderKey(secret).open(wrap, info) == b"key"


def test_a_secret_shows_its_public_part_alone() -> None:
    key = ReaderKey(b"\7" * 32)
    assert "07" * 8 not in repr(key)
    assert key.public.hex() in repr(key)


def test_a_model_opens_by_its_key_in_its_place() -> None:
    key = sealing.model_key(DOMAIN, 3, b"r" * 32, [b"a" * 32, b"b" * 32])
    data = sealing.seal_model(DATA, key, DOMAIN, 3, b"r" * 32)
    assert len(data) == len(DATA) + TAG_BYTES
    assert sealing.open_model(data, key, DOMAIN, 3, b"r" * 32) == DATA
    for place in ((DOMAIN, 4, b"r" * 32), (DOMAIN, 3, b"s" * 32), (Domain(9, DOMAIN.contract), 3, b"r" * 32)):
        with pytest.raises(PayloadError):
            sealing.open_model(data, key, *place)


def test_the_key_of_a_model_needs_all_content_keys_in_order() -> None:
    keys = [b"a" * 32, b"b" * 32]
    whole = sealing.model_key(DOMAIN, 3, b"r" * 32, keys)
    for part in (keys[:1], keys[1:], keys[::-1], [*keys, b"c" * 32]):
        assert sealing.model_key(DOMAIN, 3, b"r" * 32, part) != whole


@given(st.binary(min_size=32, max_size=32))
def test_an_announced_key_is_read_again(public: bytes) -> None:
    for endpoint in ("", "http://10.0.0.1:8000", "https://miner.example/bcfl#sha256=" + "ab" * 32):
        text = with_key(endpoint, public)
        assert announced_key(text) == public
        assert without_key(text) == endpoint
        assert with_key(text, bytes(32)) == with_key(endpoint, bytes(32))
        assert len(text) - len(endpoint) == 51


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://a:1",
        "http://a:1#x25519=",
        "http://a:1#x25519=" + "A" * 42,
        "http://a:1#x25519=" + "A" * 44,
        "http://a:1#x25519=" + "A" * 42 + "B",  # the last bits stand for nothing
        "http://a:1#x25519=" + "A" * 42 + "=",
        "http://a:1#x25519=" + "A" * 43 + "\n",
        "http://a:1#x25519=" + "A" * 43 + "&sha256=1",
        "http://a:1/x25519=" + "A" * 43,
    ],
)
def test_what_is_no_key_is_none(endpoint: str) -> None:
    assert announced_key(endpoint) is None
    assert without_key(endpoint) == endpoint


def layout_of(confidential: bool, members: bool) -> Layout:
    return Layout((TensorSpec("w", (100,)),), agreement=privacy.agreement(confidential, members))


def test_lengths_follow_from_layout_and_readers_alone() -> None:
    plain = Sizes(layout_of(False, False), 16)
    both = Sizes(layout_of(True, True), 16)
    assert both.update(5) == payload.size(both.layout, 16) + 5 * 80 + 16
    assert both.update(6) - both.update(5) == 80
    assert plain.update(5) == plain.update(0) == payload.size(plain.layout, 16)
    assert both.model(0) == payload.size(both.layout, 32)
    assert both.model(1) == both.model(9) == payload.size(both.layout, 32) + 16
    submission = Submission(0, Update(1, 0, b"r" * 32, b"c" * 32, 1, 1, 1), "", readers=5)
    assert both.update_cid(submission) != plain.model_cid(0, b"d" * 32)


def test_a_layout_says_what_is_sealed() -> None:
    for confidential, members in ((False, False), (True, False), (True, True)):
        found = privacy.Privacy.of(layout_of(confidential, members))
        assert (found.confidential, found.members) == (confidential, members)
    digests = {
        payload.layout_digest(layout_of(*pair)) for pair in ((False, False), (True, False), (True, True))
    }
    assert len(digests) == 3


@pytest.mark.parametrize(
    "agreement",
    [(("privacy", "secret"),), (("models", "owner"), ("privacy", "confidential")), (("models", "members"),)],
)
def test_nobody_joins_what_this_version_does_not_know(agreement: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(ConfigError):
        privacy.Privacy.of(Layout((TensorSpec("w", (4,)),), agreement=agreement))


@pytest.mark.parametrize(
    "agreement",
    [
        (("privacy", "confidential"), ("models", "members")),
        (("privacy", "confidential"), ("privacy", "confidential")),
        (("colour", "blue"),),
        (("privacy", ""),),
        (("privacy", 'a","b":"'),),
        (("privacy", "x" * 65),),
    ],
)
def test_a_layout_says_it_in_one_way(agreement: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(PayloadError):
        payload.layout_digest(Layout((TensorSpec("w", (4,)),), agreement=agreement))


def test_no_tensor_takes_the_name_of_an_agreement() -> None:
    for name in ("__privacy__", "__models__", "__noise__"):
        with pytest.raises(PayloadError):
            payload.encode(Layout((TensorSpec(name, (4,)),)), np.zeros(4, np.int16))


def test_constants_are_those_of_the_ciphers() -> None:
    assert readers.WRAP_BYTES == 32 + sealing.KEY_BYTES + readers.TAG_BYTES
