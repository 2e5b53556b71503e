"""Judge rounds of few updates, where no crowd says what is usual: by what each does to the model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import numpy as np

from bcfl.protocol.types import Verdict
from bcfl.roles.checks import against, harm, length, mark
from bcfl.roles.checks.scores import Mask, Scores, Values

if TYPE_CHECKING:
    from bcfl.roles.checks.pipeline import CheckInputs, Checks, Reference

FEW: Final = 20  # updates that can be read, up to which a round is judged so


def check(
    inputs: CheckInputs,
    reference: Reference,
    checks: Checks,
    norms: Values,
    short: Mask,
    trust: Values | None,
    remaining: Mask,
) -> Iterator[tuple[Verdict, Scores]]:
    """Yield the scores of one rule after the other, each over what those before have left of `remaining`.

    `norms`, `short` (at the end of training, see `norm.short`), `trust` (cosines with the miner's own
    training; None where nobody asks for them), `remaining`: (updates,).
    """
    among = np.array(remaining)
    useful = np.zeros(len(among), dtype=bool)
    if checks.quality and reference.losses is not None:
        scores, useful = _harm(inputs, reference, among)
        among &= scores.passed
        yield Verdict.QUALITY, scores
    if checks.norm:
        scores = length.check(norms, inputs.samples, useful, among).exempt(short)
        among &= scores.passed
        yield Verdict.OUTLIER, scores
    if checks.direction and trust is not None:
        scores = against.check(trust, useful, inputs.updates.shape[1], among)
        among &= scores.passed
        yield Verdict.OUTLIER, scores
    if checks.quality and reference.marks is not None:
        for scores in _marks(inputs, reference, among):
            yield Verdict.QUALITY, scores


def _harm(inputs: CheckInputs, reference: Reference, among: Mask) -> tuple[Scores, Mask]:
    count = harm.sample_count(harm.SAMPLES, int(among.sum()))

    def losses(weights: Values) -> tuple[harm.Losses, int]:
        assert reference.losses is not None
        return reference.losses(weights.astype(np.float32) @ inputs.updates, count)

    return harm.check(losses, inputs.samples, among)


def _marks(inputs: CheckInputs, reference: Reference, among: Mask) -> tuple[Scores, ...]:
    """Return the scores of marks; none where the learner has no marks."""
    assert reference.marks is not None
    places, updates = np.flatnonzero(among), inputs.updates
    if len(places) < 2:
        return ()
    count = harm.sample_count(mark.SAMPLES, len(places))
    median = np.median(updates[places], axis=0)
    earlier = np.zeros_like(updates) if inputs.contributions is None else inputs.contributions
    shares = np.zeros((len(updates), 2))
    for place in places:
        without, suspects = mark.vectors(updates, earlier, int(place), median)
        found = reference.marks(without, suspects, count, mark.class_count(len(places)))
        if not len(found):
            return ()
        shares[place] = found
    return mark.check(shares, among, inputs.reference_norm is None)
