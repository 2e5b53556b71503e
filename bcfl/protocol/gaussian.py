"""Draw discrete Gaussian noise, exactly, from a stream that only who has its seed can compute.

"The Discrete Gaussian for Differential Privacy", Canonne, Kamath, Steinke 2020, arXiv:2004.00010: Algorithm 1
draws with probability exp(-x), 2 the discrete Laplace distribution, 3 the discrete Gaussian. All is done with
whole numbers, so no rounding of a float tells what the noise hides (Mironov 2012). Any scale of the Laplace
distribution is right in Algorithm 3, and the paper's is the fastest; with the deviation, a whole number
here, the probability of acceptance is exp(-(|y| - s)^2 / 2s^2), whose parts fit 64 bits.
"""

from __future__ import annotations

from hashlib import shake_256
from typing import Final

import numpy as np
import numpy.typing as npt

from bcfl.errors import PayloadError
from bcfl.protocol.noise import MAX_DEVIATION

MOST_FACTORS: Final = 2**11  # of a series whose terms vanish as 1/k!: times 2 MAX_DEVIATION^2 it is 2**62
FAR: Final = 2**5  # deviations; farther out, numbers of any size are used
WORD_BITS: Final = 64
Whole = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Stream:
    """The bits that a seed stands for, by SHAKE-256: the same for one seed, and to others like chance."""

    def __init__(self, *parts: bytes) -> None:
        self._seed = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        self._blocks = 0

    def words(self, count: int) -> npt.NDArray[np.uint64]:
        """Return the next words of 64 bits, (count,)."""
        block = self._seed + self._blocks.to_bytes(8, "big")
        self._blocks += 1
        return np.frombuffer(shake_256(block).digest(8 * count), np.dtype("<u8")).astype(np.uint64)

    def below(self, bound: int, count: int) -> Whole:
        """Return whole numbers from 0 to `bound` - 1, (count,), each as likely; `bound` is up to 2**62."""
        if not 0 < bound <= 1 << (WORD_BITS - 2):
            raise ValueError(f"a bound of 1 to 2**62, not {bound}")
        values, left = np.zeros(count, np.int64), np.arange(count)
        shift = np.uint64(WORD_BITS - max(1, (bound - 1).bit_length()))
        while len(left):
            drawn = (self.words(len(left)) >> shift).astype(np.int64)
            values[left] = drawn
            left = left[drawn >= bound]
        return values


def discrete_gaussian(stream: Stream, deviation: int, count: int) -> Whole:
    """Return draws of the discrete Gaussian of a whole deviation, 1 to 2**25, (count,).

    Raises PayloadError for another deviation.
    """
    if not 1 <= deviation <= MAX_DEVIATION:
        raise PayloadError(
            f"noise has a deviation of 1 to {MAX_DEVIATION:,} steps of a lane, not {deviation:,}"
        )
    values, left = np.zeros(count, np.int64), np.arange(count)
    while len(left):
        candidates = _laplace(stream, deviation, len(left))
        accepted = _accepts(stream, np.abs(candidates), deviation)
        values[left[accepted]] = candidates[accepted]
        left = left[~accepted]
    return values


def _accepts(stream: Stream, sizes: Whole, deviation: int) -> Mask:
    """Return true with probability exp(-(size - s)^2 / 2s^2), for each size, (sizes,)."""
    unit = 2 * deviation * deviation
    distances = sizes - deviation
    far = np.abs(distances) > FAR * deviation
    near = np.where(far, 0, distances)
    wholes, rests = np.divmod(near * near, unit)
    for place in np.flatnonzero(far):  # one of 10**13 draws
        wholes[place], rests[place] = divmod(int(distances[place]) ** 2, unit)
    return _whole_decays(stream, wholes) & _decays(stream, rests, unit)


def _laplace(stream: Stream, scale: int, count: int) -> Whole:
    """Return draws of the discrete Laplace distribution, P(x) as exp(-|x| / scale), (count,)."""
    values, left = np.zeros(count, np.int64), np.arange(count)
    while len(left):
        rests = stream.below(scale, len(left))
        kept = _decays(stream, rests, scale)
        wholes = _geometric(stream, len(left))
        negative = stream.below(2, len(left)) == 1
        sizes = rests + scale * wholes
        kept &= ~(negative & (sizes == 0))
        values[left[kept]] = np.where(negative, -sizes, sizes)[kept]
        left = left[~kept]
    return values


def _geometric(stream: Stream, count: int) -> Whole:
    """Return how often exp(-1) comes true before it does not, (count,)."""
    totals, left = np.zeros(count, np.int64), np.arange(count)
    while len(left):
        left = left[_decays(stream, np.ones(len(left), np.int64), 1)]
        totals[left] += 1
    return totals


def _whole_decays(stream: Stream, exponents: Whole) -> Mask:
    """Return true with probability exp(-exponent), (exponents,)."""
    holds, rest = np.ones(len(exponents), np.bool_), exponents.copy()
    while len(left := np.flatnonzero(holds & (rest > 0))):
        holds[left] = _decays(stream, np.ones(len(left), np.int64), 1)
        rest[left] -= 1
    return holds


def _decays(stream: Stream, parts: Whole, unit: int) -> Mask:
    """Return true with probability exp(-part / unit), 0 <= part <= unit, (parts,).

    The k-th of a row of draws comes true with probability part / (unit k); true is an even number of them.
    """
    holds, left, factor = np.ones(len(parts), np.bool_), np.arange(len(parts)), 1
    while len(left):
        if factor > MOST_FACTORS:
            raise ValueError("a row of draws without an end")
        left = left[stream.below(unit * factor, len(left)) < parts[left]]
        holds[left] = ~holds[left]
        factor += 1
    return holds


def chosen(stream: Stream, batch: int, samples: int) -> Mask:
    """Return which samples a step has, (samples,): each by itself, with probability batch / samples.

    A batch as large as all samples has all of them.
    """
    if batch >= samples:
        return np.ones(samples, np.bool_)
    return stream.below(samples, samples) < batch
