"""Roots, proofs and rows against a direct transcription of the definition."""

from __future__ import annotations

import numpy as np
import pytest
from eth_utils.crypto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from bcfl.protocol import cid, merkle, payload
from bcfl.protocol.types import Layout, TensorSpec

DTYPES: dict[int, type[np.signedinteger]] = {8: np.int8, 16: np.int16, 32: np.int32}


def pack(lanes: list[int], lane_bits: int) -> bytes:
    return b"".join(lane.to_bytes(lane_bits // 8, "big", signed=True) for lane in lanes)


def expected_leaves(updates: list[list[int]], lane_bits: int, leaf_lanes: int) -> list[bytes]:
    """Leaf i of the first update, then of the second, and so on; zero lanes fill the last leaf."""
    rows = []
    for start in range(0, len(updates[0]), leaf_lanes):
        row = b""
        for lanes in updates:
            part = lanes[start : start + leaf_lanes]
            row += pack(part + [0] * (leaf_lanes - len(part)), lane_bits)
        rows.append(row)
    return rows


def expected_root(leaves: list[bytes]) -> bytes:
    depth = 0
    while 2**depth < len(leaves):
        depth += 1
    level = [keccak(b"\x00" + leaf) for leaf in leaves] + [bytes(32)] * (2**depth - len(leaves))
    while len(level) > 1:
        level = [keccak(b"\x01" + level[i] + level[i + 1]) for i in range(0, len(level), 2)]
    return level[0]


def random_lanes(rng: np.random.Generator, lane_bits: int, count: int) -> np.ndarray:
    bounds = np.iinfo(DTYPES[lane_bits])
    return rng.integers(bounds.min, bounds.max, count, DTYPES[lane_bits], endpoint=True)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([8, 16, 32]),
    st.integers(1, 300),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(0, 2**32),
)
def test_root_tree_and_proofs_are_the_definition(
    lane_bits: int, count: int, words: int, updates: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    leaf_lanes = words * 256 // lane_bits
    vectors = [random_lanes(rng, lane_bits, count) for _ in range(updates)]
    leaves = expected_leaves([vector.tolist() for vector in vectors], lane_bits, leaf_lanes)
    tree = merkle.rows_tree(vectors, leaf_lanes)
    assert tree.root == expected_root(leaves) == merkle.rows_root(vectors, leaf_lanes)
    for index, leaf in enumerate(leaves):
        assert merkle.row(vectors, leaf_lanes, index) == leaf
        assert len(tree.proof(index)) == merkle.depth(count, leaf_lanes)
        assert merkle.verify(tree.root, index, leaf, tree.proof(index))


def test_golden_roots() -> None:
    lanes = np.arange(-50, 50, dtype=np.int32)
    assert merkle.root(lanes, 16).hex() == "357769f0410f199b7d06447ff130a4f045306c959fb4396bc2966ee26c8ce106"
    assert (
        merkle.root(lanes.astype(np.int16), 16).hex()
        == "ac614e0a5358d296944566e82251bdfd3269d321520e19b216160bf83b5e61f0"
    )
    assert (
        merkle.rows_root([lanes, -lanes], 16).hex()
        == "c0560a20226dc0cbbcd0e06b48ef96d009f9847025e9cb7d17da71ea5e3b5465"
    )
    assert merkle.root(lanes[:16], 16) == keccak(b"\x00" + pack(list(range(-50, -34)), 32))


def test_one_vector_is_a_rows_tree_of_one() -> None:
    lanes = np.arange(1000, dtype=np.int16)
    assert merkle.build(lanes, 32) == merkle.rows_tree([lanes], 32)
    assert merkle.root(lanes, 32) == merkle.rows_root([lanes], 32) == merkle.build(lanes, 32).root
    assert merkle.leaf(lanes, 32, 7) == merkle.row([lanes], 32, 7)


@pytest.mark.parametrize("block_bytes", [1, 256, 1024, 1 << 22])
def test_streaming_in_blocks_of_any_size_gives_the_same_root(
    block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    vectors = [random_lanes(rng, 16, 1777) for _ in range(3)]
    leaves = expected_leaves([vector.tolist() for vector in vectors], 16, 16)
    monkeypatch.setattr(merkle, "_BLOCK_BYTES", block_bytes)
    assert merkle.rows_root(vectors, 16) == expected_root(leaves)
    assert merkle.rows_tree(vectors, 16).root == expected_root(leaves)


def test_memory_maps_are_read_as_they_are(tmp_path: object) -> None:
    lanes = np.arange(5000, dtype=np.int32)
    path = f"{tmp_path}/lanes"
    lanes.tofile(path)
    assert merkle.root(np.memmap(path, np.int32, "r"), 64) == merkle.root(lanes, 64)


@pytest.mark.parametrize("lane_bits", [8, 16, 32])
def test_a_lane_is_where_the_contract_looks_for_it(lane_bits: int) -> None:
    """Words of 32 bytes, lane 0 in the top bits: a signed shift right, cut to the lane."""
    lanes = random_lanes(np.random.default_rng(2), lane_bits, 64)
    leaf = merkle.leaf(lanes, 64, 0)
    for position, lane in enumerate(lanes.tolist()):
        start = position * lane_bits // 256 * 32
        word = int.from_bytes(leaf[start : start + 32], "big")
        cut = word >> (256 - lane_bits * (position % (256 // lane_bits) + 1)) & (2**lane_bits - 1)
        assert (cut ^ 1 << lane_bits - 1) - (1 << lane_bits - 1) == lane


def test_depth_is_that_of_the_smallest_tree_with_room() -> None:
    cases = [(1, 0), (16, 0), (17, 1), (32, 1), (33, 2), (64, 2), (65, 3), (4810, 9)]
    assert [(parameters, merkle.depth(parameters, 16)) for parameters, _ in cases] == cases


TREE_LANES = np.arange(100, dtype=np.int32)  # 7 leaves of 16 lanes, one place of padding
TREE = merkle.build(TREE_LANES, 16)


def test_a_proof_opens_no_other_place_and_no_other_leaf() -> None:
    leaf, proof = merkle.leaf(TREE_LANES, 16, 3), TREE.proof(3)
    assert merkle.verify(TREE.root, 3, leaf, proof)
    for index in [-1, 0, 1, 2, 4, 5, 6, 7, 3 + 8, 3 + 2**64]:
        assert not merkle.verify(TREE.root, index, leaf, proof)
    for position in range(len(leaf)):
        forged_leaf = bytearray(leaf)
        forged_leaf[position] ^= 1
        assert not merkle.verify(TREE.root, 3, bytes(forged_leaf), proof)
    assert not merkle.verify(bytes(32), 3, leaf, proof)
    assert not merkle.verify(TREE.root, 3, leaf, proof[:-1])
    assert not merkle.verify(TREE.root, 3, leaf, (*proof, bytes(32)))
    assert not merkle.verify(TREE.root, 3, leaf, (proof[0] + b"\0", *proof[1:]))


def test_a_node_is_no_leaf_and_padding_cannot_be_opened() -> None:
    nodes = TREE.levels[1]
    left_right = TREE.levels[0][:64]
    assert keccak(b"\x01" + left_right) == nodes[:32]
    assert not merkle.verify(TREE.root, 0, left_right, TREE.proof(0)[1:])
    for leaf in (b"", bytes(32), bytes(64)):
        assert not merkle.verify(TREE.root, 7, leaf, (TREE.levels[0][6 * 32 :], *TREE.proof(6)[1:]))
    assert merkle.verify(TREE.root, 6, merkle.leaf(TREE_LANES, 16, 6), TREE.proof(6))


@pytest.mark.parametrize("index", [-1, 7, 8, 100])
def test_there_is_no_leaf_outside(index: int) -> None:
    with pytest.raises(IndexError):
        TREE.proof(index)
    with pytest.raises(IndexError):
        merkle.leaf(TREE_LANES, 16, index)


def test_vectors_that_differ_only_in_their_padding_have_one_root_and_different_payloads() -> None:
    """The terms fix the number of parameters, so a root never stands for two vectors of a task."""
    assert merkle.root(np.array([1, 2, 0], np.int32), 8) == merkle.root(np.array([1, 2], np.int32), 8)


WEIGHTS = np.random.default_rng(3).integers(-(2**31), 2**31, 200 * 784).astype(np.int32)
LAYOUT = Layout((TensorSpec("weight", (200, 784)),))
ROOT, CID = merkle.root(WEIGHTS, 16), cid.compute(payload.encode(LAYOUT, WEIGHTS))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, len(WEIGHTS) - 1), st.integers(0, 31))
def test_a_single_changed_weight_anywhere_changes_the_root_and_the_cid(place: int, bit: int) -> None:
    weights = WEIGHTS.copy()
    weights.view(np.uint32)[place] ^= np.uint32(1 << bit)
    assert merkle.root(weights, 16) != ROOT
    assert cid.compute(payload.encode(LAYOUT, weights)) != CID


@pytest.mark.parametrize("lane_bits", [8, 16, 32])
def test_every_single_lane_of_a_small_vector_counts(lane_bits: int) -> None:
    leaf_lanes = 256 // lane_bits
    lanes = random_lanes(np.random.default_rng(4), lane_bits, 2 * leaf_lanes + 3)
    roots = {merkle.root(lanes, leaf_lanes)}
    for place in range(len(lanes)):
        vector = lanes.copy()
        vector[place] ^= 1
        roots.add(merkle.root(vector, leaf_lanes))
    assert len(roots) == len(lanes) + 1


@pytest.mark.parametrize("count", [1, 16, 17, 100, 1000])
def test_a_proof_in_bounded_memory_is_that_of_the_tree(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merkle, "_BLOCK_BYTES", 256)  # several subtrees, where a real one would be alone
    rng = np.random.default_rng(count)
    updates = [random_lanes(rng, 16, count) for _ in range(3)]
    tree = merkle.rows_tree(updates, 16)
    assert tree.root == merkle.rows_root(updates, 16)
    for index in range(merkle.leaves(count, 16)):
        proof = merkle.rows_proof(updates, 16, index)
        assert proof == tree.proof(index)
        assert merkle.verify(tree.root, index, merkle.row(updates, 16, index), proof)
    with pytest.raises(IndexError, match="no leaf"):
        merkle.rows_proof(updates, 16, merkle.leaves(count, 16))
