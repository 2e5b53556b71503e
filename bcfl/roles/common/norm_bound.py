"""How long an update may be (steps 2 and 4): devices and miners read it from the last model's updates.

It is the median length of a sample of the updates that the last model is made of. Which ones follows from the
hash of its block, which nobody knows before they are accepted; everybody looks at the same ones, and no
device has to fetch all updates to train on its own.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import numpy.typing as npt

from bcfl.errors import Corrupt, Oversized, PayloadError, Unavailable
from bcfl.protocol.hashing import keccak, word
from bcfl.protocol.rounds import History, Submission
from bcfl.roles.checks.norm import CLIP
from bcfl.roles.common.archive import Archive

SAMPLE = 15  # updates; odd, and so many that a minority of bad ones does not decide
Wide = npt.NDArray[np.float64]  # (parameters,)


def reference(archive: Archive, history: History, number: int) -> float | None:
    """The reference length of a round; None in the first, and where there is nothing to go by.

    Raises StoreError while the store is away.
    """
    block = history.model_before(number)
    if not block.round:
        return None
    found: list[float] = []
    for item in _sample(history, block.round):
        with suppress(Unavailable, Corrupt, Oversized, PayloadError):
            found.append(archive.length(item))
    middle = float(np.median(found)) if found else 0.0
    return middle if middle > 0 else None


def shortening(lengths: float, limit: float | None) -> float:
    """What an update of that length is multiplied by to keep to `limit`; 1 where there is none."""
    if limit is None or lengths <= CLIP * limit:
        return 1.0
    return CLIP * limit / lengths


def rounding(parameters: int, scale_bits: int, shift: int) -> float:
    """The most that rounding to lanes adds to a length."""
    return float(np.sqrt(parameters) * 2.0 ** (shift - scale_bits) / 2)


def _sample(history: History, number: int) -> list[Submission]:
    """The accepted updates of a finalized round that make its reference, in the order of the draw."""
    found = history.rounds[number]
    mark = found.block_hash or bytes(32)
    return sorted(found.taken(), key=lambda item: keccak(mark + word(item.position)))[:SAMPLE]
