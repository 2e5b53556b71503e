"""CIDs against published ones of Kubo, and against a transcription of its balanced tree."""

from __future__ import annotations

import hashlib
from base64 import b32encode
from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from Crypto.Cipher import ChaCha20
from hypothesis import given
from hypothesis import strategies as st

from bcfl.errors import CidError
from bcfl.protocol import cid

MIB = 1 << 20
EMPTY = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
HELLO = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"


# A transcription of Kubo's layout: dag-pb nodes of UnixFS files over raw leaves, 174 links to a node.


def varint(value: int) -> bytes:
    low = bytes([value & 0x7F | (0x80 if value > 0x7F else 0)])
    return low + (varint(value >> 7) if value > 0x7F else b"")


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def binary_cid(codec: int, block: bytes) -> bytes:
    return bytes([1, codec, 0x12, 0x20]) + hashlib.sha256(block).digest()


Child = tuple[bytes, int, int]  # binary CID, bytes of the subtree's blocks, bytes of the file below


def node(children: list[Child]) -> Child:
    links = b"".join(
        field(2, field(1, name) + field(2, b"") + b"\x18" + varint(t)) for name, t, _ in children
    )
    size = sum(child[2] for child in children)
    unixfs = b"\x08\x02\x18" + varint(size) + b"".join(b"\x20" + varint(child[2]) for child in children)
    block = links + field(1, unixfs)
    return binary_cid(0x70, block), len(block) + sum(child[1] for child in children), size


def expected_cid(chunks: Iterable[bytes]) -> str:
    level = [(binary_cid(0x55, chunk), len(chunk), len(chunk)) for chunk in chunks]
    while len(level) > 1:
        level = [node(level[start : start + 174]) for start in range(0, len(level), 174)]
    return "b" + b32encode(level[0][0]).decode().rstrip("=").lower()


def pieces(data: bytes, size: int = cid.CHUNK_BYTES) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def kubo_test_data(seed: str, size: int) -> Iterator[bytes]:
    """The deterministic stream of Kubo's own tests (test/cli/testutils), 1 MiB at a time."""
    cipher = ChaCha20.new(key=hashlib.sha256(seed.encode()).digest(), nonce=bytes(12))
    for _ in range(size // MIB):
        yield cipher.encrypt(bytes(MIB))


@pytest.mark.parametrize(
    ("mebibytes", "expected"),
    [
        (174, "bafybeigwduxcf2aawppv3isnfeshnimkyplvw3hthxjhr2bdeje4tdaicu"),  # one level, full
        (175, "bafybeidhd7lo2n2v7lta5yamob3xwhbxcczmmtmhquwhjesi35jntf7mpu"),  # two levels
    ],
)
def test_the_transcription_agrees_with_kubo(mebibytes: int, expected: str) -> None:
    """Expected values from Kubo's test/cli/add_test.go: CIDv1, raw leaves, 174 links, chunks of 1 MiB."""
    assert expected_cid(kubo_test_data("v1-seed", mebibytes * MIB)) == expected


@pytest.mark.parametrize(("data", "expected"), [(b"", EMPTY), (b"hello world", HELLO)])
def test_known_cids_of_one_chunk(data: bytes, expected: str) -> None:
    assert cid.compute(data) == expected


@pytest.mark.parametrize(
    "size",
    [
        1,
        262_143,
        262_144,
        262_145,
        524_288,
        3 * 262_144 + 7,
        174 * 262_144,
        174 * 262_144 + 1,
        400 * 262_144 + 5,
    ],
)
def test_below_and_above_one_chunk_and_one_node(size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    expected = expected_cid(pieces(data))
    assert cid.compute(data) == expected
    assert cid.parse(expected).codec == (cid.RAW if size <= 262_144 else cid.DAG_PB)
    assert cid.from_digest(cid.digest(expected), size) == expected


@given(st.lists(st.binary(max_size=50), max_size=10))
def test_pieces_do_not_matter(parts: list[bytes]) -> None:
    assert cid.compute(iter(parts)) == cid.compute(b"".join(parts))


def test_pieces_do_not_matter_across_chunks() -> None:
    data = np.random.default_rng(0).bytes(700_000)
    assert cid.compute(pieces(data, 99_999)) == cid.compute(data)


@given(st.binary(min_size=32, max_size=32), st.sampled_from([cid.RAW, cid.DAG_PB]))
def test_parse_reads_what_is_written(digest: bytes, codec: int) -> None:
    assert cid.parse(str(cid.Cid(codec, digest))) == cid.Cid(codec, digest)


def spell(binary: bytes) -> str:
    return "b" + b32encode(binary).decode().rstrip("=").lower()


DIGEST = cid.digest(HELLO)
REFUSED = {
    "nothing": "",
    "CIDv0": "QmaozNR7DZHQK1ZcU9p7QdrshMvXqWK6gpu5rmrkPdT3L4",
    "upper case": HELLO.upper(),
    "base32 upper": "B" + HELLO[1:].upper(),
    "one upper letter": HELLO[:-1] + HELLO[-1].upper(),
    "base58": "zb2rhj7crUKTQYRGCRATFaQ6YFLTde2YzdqbbhAASkL9uRDXn",
    "padded": HELLO + "======",
    "cut": HELLO[:-1],
    "longer": HELLO + "a",
    "newline": HELLO + "\n",
    "leading space": " " + HELLO,
    "uri": "ipfs://" + HELLO,
    "path below": HELLO + "/x",
    "path": "../../../etc/passwd",
    "path of the right length": "b" + "../" * 19 + "x",
    "shell": "b$(touch /tmp/owned)".ljust(59, "a"),
    "shell after": HELLO + "; rm -rf ~",
    "nul": HELLO[:-1] + "\0",
    "full-width letters": HELLO.translate({ord("a"): "\uff41"}),
    "digit of another script": HELLO[:-1] + "\u0665",
    "letters outside base32": HELLO[:-1] + "1",
    "bits after the end": HELLO[:-1] + "f",
    "codec dag-cbor": spell(bytes([1, 0x71, 0x12, 0x20]) + DIGEST),
    "sha3": spell(bytes([1, 0x55, 0x16, 0x20]) + DIGEST),
    "version 2": spell(bytes([2, 0x55, 0x12, 0x20]) + DIGEST),
    "digest length 31": spell(bytes([1, 0x55, 0x12, 0x1F]) + DIGEST),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_spellings_are_refused(name: str) -> None:
    with pytest.raises(CidError):
        cid.parse(REFUSED[name])
    with pytest.raises(CidError):
        cid.digest(REFUSED[name])


@given(st.text(max_size=80))
def test_random_text_is_refused(text: str) -> None:
    with pytest.raises(CidError):
        cid.parse(text)


def test_a_refusal_is_one_short_line() -> None:
    with pytest.raises(CidError) as refusal:
        cid.parse("a\nb" * 1_000_000)
    assert len(str(refusal.value)) < 200
    assert "\n" not in str(refusal.value)
