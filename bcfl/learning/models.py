"""Build the models that come with bcfl, sized for the data of a task."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from bcfl.errors import ConfigError

HIDDEN = 64


class Mlp(nn.Module):
    """A network with one hidden layer of 64 rectified units."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(math.prod(shape), HIDDEN)
        self.output = nn.Linear(HIDDEN, classes)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (samples, *shape) to logits (samples, classes)."""
        hidden = functional.relu(self.hidden(features.flatten(1)))  # (samples, HIDDEN)
        logits: Tensor = self.output(hidden)
        return logits


class Cnn(nn.Module):
    """A network of two 3x3 convolutions (8 and 16 channels), each with 2x2 pooling, and a linear layer.

    Raises ConfigError for a shape other than (channels, height, width) of at least 4x4 pixels.
    """

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        if len(shape) != 3 or min(shape[1:]) < 4:
            raise ConfigError(f"model cnn needs pictures of at least 4x4 pixels, not shape {shape}")
        channels, height, width = shape
        self.first = nn.Conv2d(channels, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 16, 3, padding=1)
        self.output = nn.Linear(16 * (height // 4) * (width // 4), classes)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (samples, channels, height, width) to logits (samples, classes)."""
        hidden = functional.max_pool2d(functional.relu(self.first(features)), 2)  # (samples, 8, h/2, w/2)
        hidden = functional.max_pool2d(functional.relu(self.second(hidden)), 2)  # (samples, 16, h/4, w/4)
        logits: Tensor = self.output(hidden.flatten(1))
        return logits


MODELS: dict[str, type[Mlp] | type[Cnn]] = {"mlp": Mlp, "cnn": Cnn}
