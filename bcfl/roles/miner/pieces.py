"""Cut a model's vector into the pieces of which each is compared with history by itself.

Who scales one layer of something public has something new as a whole, and nothing new in any layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Final

from bcfl.protocol.types import Layout

LEAST: Final = 256  # numbers in a piece: of fewer, earlier updates explain much by chance
MOST: Final = 16  # pieces
LEAST_SKETCH: Final = 2_048  # numbers in the sketch of a piece that has more
Ends = tuple[int, ...]  # where pieces end; each begins where the one before ends


def piece_ends(layout: Layout) -> Ends:
    """Return where the pieces of a vector end: a tensor each; small ones go with the one before."""
    sizes = list[int]()
    for size in (prod(tensor.shape) for tensor in layout.tensors):
        if sizes and min(size, sizes[-1]) < LEAST:
            sizes[-1] += size
        else:
            sizes.append(size)
    while len(sizes) > MOST:
        pairs = [first + second for first, second in pairwise(sizes)]
        place = pairs.index(min(pairs))
        sizes[place : place + 2] = [pairs[place]]
    return ends_of(sizes)


def sketch_ends(ends: Ends, size: int) -> Ends:
    """Return where pieces end in a sketch of about `size` numbers; where a vector is no longer, as there."""
    if ends[-1] <= size:
        return ends
    numbers = sizes_of(ends)
    return ends_of([min(count, max(LEAST_SKETCH, size * count // ends[-1])) for count in numbers])


def sizes_of(ends: Ends) -> list[int]:
    """Return how many numbers each piece has."""
    return [end - start for start, end in zip((0, *ends), ends, strict=False)]


def ends_of(sizes: Sequence[int]) -> Ends:
    """Return where pieces of these sizes end."""
    return tuple(sum(sizes[: place + 1]) for place in range(len(sizes)))
