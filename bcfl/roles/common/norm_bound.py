"""Bound the norm of an update by the norms of the updates that the last model is made of.

The reference is the median norm of a sample of those updates. The sample follows from the root of the
model, which nobody knows before the updates are accepted and nobody can choose then; everybody reads the same
sample, and no device has to fetch all updates to train on its own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache

import numpy as np

from bcfl.errors import Corrupt, Oversized, PayloadError, Unavailable
from bcfl.protocol.hashing import keccak, word
from bcfl.protocol.rounds import History, Round, Submission
from bcfl.roles.checks import length
from bcfl.roles.checks.norm import CLIP
from bcfl.roles.checks.scores import median
from bcfl.roles.common.archive import Archive

NEARLY_FEW = 30  # accepted ones: of as many a third has to withhold its own before those of few are judged
SAMPLE = 15  # updates; odd, and so many that a minority of bad ones does not decide
Bound = Callable[[Archive, History, int], float | None]  # the norm that an update of a round keeps to


def reference_norm(archive: Archive, history: History, number: int) -> float | None:
    """Return the reference norm of a round; None in the first, and where no update can be read.

    Who can read no update, because they are sealed for others or its key is lost, asks the voters. Raises
    StoreError while the store is away.
    """
    block = history.model_before(number)
    if not block.round:
        return None
    asks = archive.asks_norms(block.round)
    norm = None if asks else norm_of_round(archive, history.rounds[block.round])
    if norm is None and archive.vault is not None and archive.privacy.confidential:
        return archive.vault.reference_norm(block.round)
    return norm


def norm_of_round(archive: Archive, round_: Round) -> float | None:
    """Return the median norm of a finished round's sample; None where no update can be read."""
    norms: list[float] = []
    for item in _sample(round_):
        with suppress(Unavailable, Corrupt, Oversized, PayloadError):
            norms.append(archive.norm(item))
    middle = median(np.array(norms)) if norms else 0.0
    return middle if middle > 0 else None


def device_bound(archive: Archive, history: History, number: int) -> float | None:
    """Return the norm to which an honest device shortens its update of a round; None without a reference.

    Who is one of few is judged by `length` too, in medians of a round that is not over. How many of the round
    can be read nobody knows yet: who was accepted in the last one is counted, and some more are few, too.
    """
    reference = reference_norm(archive, history, number)
    if reference is None:
        return None
    updates = len(history.rounds[history.model_before(number).round].accepted_submissions())
    return reference * (length.CLIP if updates <= NEARLY_FEW else CLIP)


def multiple(references: float) -> Bound:
    """Return the bound of so many reference norms, however few updates there are: for adversaries."""

    def bound(archive: Archive, history: History, number: int) -> float | None:
        reference = reference_norm(archive, history, number)
        return None if reference is None else references * reference

    return bound


largest_bound = multiple(CLIP)  # as long as the miners' rule `norm` takes for sure


def clip_factor(norm: float, bound: float | None) -> float:
    """Return what an update of that norm is multiplied by to keep to a bound; 1 without one."""
    return 1.0 if bound is None or norm <= bound else bound / norm


def rounding_norm(parameters: int, scale_bits: int, shift: int) -> float:
    """Return the most that rounding to lanes adds to a norm."""
    return float(np.sqrt(parameters) * 2.0 ** (shift - scale_bits) / 2)


def _sample(round_: Round) -> list[Submission]:
    """Return the accepted updates of a finalized round that make its reference, in the order of the draw."""
    seed = bytes(32) if round_.block is None else round_.block.root
    accepted = tuple(position for position, level in enumerate(round_.levels or ()) if level)
    return [round_.submissions[position] for position in _draw(seed, accepted)]


@lru_cache(maxsize=4)
def _draw(seed: bytes, positions: tuple[int, ...]) -> tuple[int, ...]:
    """Return the positions that a seed draws; once for all devices of a process."""
    return tuple(sorted(positions, key=lambda position: keccak(seed + word(position)))[:SAMPLE])
