"""Define a task of one's own: `bcfl run --task examples.task:wine`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_wine  # type: ignore[import-untyped]
from torch import nn

from bcfl.learning import Dataset, Samples, Task

TEST_SAMPLES = 36


def load(_: Path | None) -> Dataset:
    """Load 178 wines of three growers, 13 measurements each; the argument is the folder that --data names."""
    features, labels = load_wine(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(labels))
    train, test = order[TEST_SAMPLES:], order[:TEST_SAMPLES]
    features = (features - features[train].mean(axis=0)) / features[train].std(axis=0)
    wines = Samples(features.astype(np.float32), labels.astype(np.int64))
    return Dataset(wines.take(train), wines.take(test))


def build() -> nn.Module:
    """Build a new model; bcfl seeds what it draws at random."""
    return nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3))


wine = Task("wine", "178 wines, 13 measurements each", load, build, epochs=5, batch_size=8, learning_rate=0.1)
