"""Label flip: honest training on wrong labels.

Fang, Cao, Jia, Gong 2020, "Local Model Poisoning Attacks to Byzantine-Robust Federated Learning"
(arXiv:1911.11815), section 5: label l of L classes becomes L - l - 1. Tolpegin et al. 2020 (arXiv:2007.08432)
relabel one class as another: `source` and `target`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bcfl.adversaries.attack import AttackContext, DeviceAttack, option
from bcfl.learning.datasets import Labels, Samples


def flip(labels: Labels, classes: int, source: int | None = None, target: int | None = None) -> Labels:
    """Return the wrong labels, (samples,)."""
    wrong = classes - 1 - labels if target is None else np.full_like(labels, target)
    return wrong if source is None else np.where(labels == source, wrong, labels)


@dataclass(frozen=True)
class LabelFlip(DeviceAttack):
    """Trains on wrong labels: l becomes classes - 1 - l."""

    PAPER: ClassVar[str] = "Fang et al. 2020, arXiv:1911.11815; Tolpegin et al. 2020, arXiv:2007.08432"
    source: int | None = option(None, "the class that is relabelled; none: all", minimum=0)
    target: int | None = option(None, "what it is called; none: classes - 1 - l", minimum=0)

    def training_samples(self, samples: Samples, context: AttackContext) -> Samples:
        """Return the samples under wrong labels."""
        samples = samples.require_classes("label-flip")
        target = None if self.target is None else min(self.target, context.classes - 1)
        return Samples(samples.features, flip(samples.labels, context.classes, self.source, target))
