"""The pieces of a vector: one a tensor, small ones beside others, no more than some; sketches by piece."""

from __future__ import annotations

import numpy as np

from bcfl.protocol.types import Layout, TensorSpec
from bcfl.roles.miner.pieces import LEAST_SKETCH, MOST, piece_ends, sizes_of, sketch_ends
from bcfl.roles.miner.sketches import sketched


def ends(*sizes: int) -> tuple[int, ...]:
    return piece_ends(Layout(tuple(TensorSpec(str(place), (size,)) for place, size in enumerate(sizes))))


def test_a_tensor_is_a_piece_and_a_small_one_goes_with_its_neighbour() -> None:
    assert ends(100_352, 128, 1280, 10) == (100_480, 101_770)
    assert ends(10, 20, 5000, 1) == (5031,)
    assert ends(10) == (10,)


def test_many_tensors_make_few_pieces_of_like_sizes() -> None:
    found = ends(*[1000] * 100)
    assert len(found) == MOST
    assert found[-1] == 100_000
    assert max(sizes_of(found)) <= 4 * min(sizes_of(found))


def test_a_sketch_keeps_what_is_small_and_folds_the_rest() -> None:
    assert sketch_ends((100, 900), 1000) == (100, 900)
    places = sketch_ends((1_000_000, 1_001_280), 65_536)
    assert sizes_of(places)[1] == 1280, "a small layer as it is"
    assert 60_000 < places[0] <= 65_536
    assert sizes_of(sketch_ends((1_000_000, 1_010_000), 65_536))[1] == LEAST_SKETCH


def test_pieces_of_sketches_hold_what_pieces_of_vectors_hold() -> None:
    """A mixture by piece is that mixture of the sketches of the pieces, and inner products stay."""
    rng = np.random.default_rng(0)
    rows, whole = rng.normal(size=(3, 50_000)).astype(np.float32), (40_000, 50_000)
    signs = rng.choice(np.array([-1, 1], np.float32), (1, 50_000))
    rows[2, :40_000], rows[2, 40_000:] = rows[0, :40_000] - rows[1, :40_000], 2 * rows[1, 40_000:]
    places = sketch_ends(whole, 10_000)
    sketches = sketched(rows, signs, 10_000, whole)
    assert sketches.shape == (3, places[-1])
    assert np.allclose(np.linalg.norm(sketches, axis=1), 1.0, atol=1e-5)
    first, last = sketches[:, : places[0]], sketches[:, places[0] :]
    for piece in (first, last):
        weights, rest, *_ = np.linalg.lstsq(piece[:2].T, piece[2], rcond=None)
        assert rest.size
        assert rest.max() < 1e-9
        assert np.abs(weights).max() > 0.1
    assert abs(float(sketches[0] @ sketches[1])) < 0.05
