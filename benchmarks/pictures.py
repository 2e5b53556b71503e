"""Load pictures of the size of Fashion-MNIST's where that is not installed: ten patterns under noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from bcfl.errors import BcflError
from bcfl.learning import Dataset, Samples, Task, resolve

SIDE, CLASSES = 28, 10
TRAINING, TEST = 20_000, 4_000  # pictures


def load(_folder: Path | None) -> Dataset:
    """Load the pictures, the same on every machine."""
    rng = np.random.default_rng(0)
    count = TRAINING + TEST
    patterns = np.kron(rng.normal(size=(CLASSES, 1, 7, 7)), np.ones((4, 4))).astype(np.float32)
    labels = rng.integers(0, CLASSES, count)
    noise = rng.standard_normal((count, 1, SIDE, SIDE), dtype=np.float32)
    whole = Samples(patterns[labels] + 4 * noise, labels)
    return Dataset(whole.take(np.arange(TRAINING)), whole.take(np.arange(TRAINING, count)))


def cnn() -> tuple[str, Task]:
    """Return the name and the task of a CNN: on Fashion-MNIST, or on these pictures where there is none."""
    fashion = resolve("fashion-mnist").with_options(model="cnn")
    try:
        fashion.dataset()
    except BcflError:
        return "pictures of noise", replace(fashion, name="pictures", load=load)
    return "Fashion-MNIST", fashion


task = cnn()[1]  # for `--task benchmarks.pictures:task`
