"""Evidence finds the first wrong place, in slices, and nothing where nothing is wrong."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from bcfl.protocol import evidence as module
from bcfl.protocol import merkle
from bcfl.protocol.challenges import Form, Trees, rows_digest, weights_digest
from bcfl.protocol.evidence import Leaves, Vectors, first_difference
from bcfl.protocol.hashing import keccak
from testkit.forged_proposals import evidence, padding_proof, random_terms, with_model


def test_default_behavior() -> None:
    rng = Random(3)
    right = evidence(rng, random_terms(rng), 5)
    assert right.find() is None
    model = right.model.vectors[0].copy()  # type: ignore[attr-defined]
    model[-1] ^= 1
    forge = with_model(right, model)
    assert forge is not None
    challenge = forge.find()
    assert challenge is not None
    assert challenge.form is Form.SUM
    assert challenge.leaf == (len(model) - 1) // right.context.terms.leaf_lanes  # type: ignore[union-attr]
    assert challenge.rule(forge.context)


@pytest.mark.parametrize("places", [(), (0,), (9,), (10,), (24,), (7, 23), (24, 3)])
def test_the_first_difference_over_all_slices(
    places: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SLICE", 10)
    vectors = [np.zeros(25, np.int16), np.zeros(25, np.int16)]
    others = [item.copy() for item in vectors]
    for number, place in enumerate(places):
        others[number % 2][place] = 1
    assert first_difference(vectors, others) == (min(places) if places else None)


def test_leaves_and_vectors_are_one_tree() -> None:
    rng = np.random.default_rng(0)
    vectors = Vectors([rng.integers(-9, 9, 70, np.int16) for _ in range(3)], 16)
    leaves = Leaves([vectors.leaf(index) for index in range(5)], 5)
    assert leaves.root == vectors.root
    assert all(leaves.proof(index) == vectors.proof(index) for index in range(5))
    assert leaves.first_wrong_leaf(vectors) is None
    assert leaves.node_in_padding() is None
    assert Leaves([*leaves.packed, b"", b"x"], 5).node_in_padding() is not None


def test_a_proof_of_padding() -> None:
    rng = Random(1)
    while True:
        right = evidence(rng, random_terms(rng), 2)
        if right.context.leaves != 1 << right.context.depth:
            break
    proof = padding_proof(right, Trees.ROWS, right.context.leaves)
    assert merkle.climb(bytes(32), right.context.leaves, proof) == right.candidate.rows


def test_what_stands_for_the_rows() -> None:
    weights = weights_digest([1, 256])
    assert weights == keccak(bytes.fromhex("0000000100000100"))
    assert rows_digest(weights, bytes(32)) == keccak(b"\x02" + weights + bytes(32))
