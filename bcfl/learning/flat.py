"""A torch module as one flat vector: what steps 2 and 8 (local update, global download) pass to and fro.

The vector holds every floating-point tensor of the module's state_dict, in its order: parameters, and float
buffers such as BatchNorm's running statistics, without which a miner could not evaluate the model; they are
averaged like weights. A tensor under two names (tied weights) is held once, under the first. Other buffers
(counters, non-persistent ones) stay out and are what `build` made them at the start of every training.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from bcfl.errors import ConfigError
from bcfl.ports import Vector
from bcfl.protocol.types import Layout, TensorSpec


def layout_of(module: nn.Module) -> Layout:
    """Names and shapes of the tensors that make up `module`'s vector, in its order."""
    tensors = _float_tensors(module)
    return Layout(tuple(TensorSpec(name, tuple(tensor.shape)) for name, tensor in tensors.items()))


class FlatModule:
    """A module whose tensors are views into one vector and whose gradients are views into another.

    So a model is put in place with one copy, and a step of SGD is one operation whatever the architecture.
    Raises ConfigError for a module that is no use here.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module.float()
        tensors = _float_tensors(self.module)
        size = sum(tensor.numel() for tensor in tensors.values())
        self.vector = torch.zeros(size)  # (parameters,)
        self.gradient = torch.zeros(size)  # (parameters,)
        self._place(list(tensors.values()))
        held = {id(tensor) for tensor in tensors.values()}
        left_out = [buffer for buffer in self.module.buffers() if id(buffer) not in held]
        self._left_out = [(buffer, buffer.clone()) for buffer in left_out]

    def _place(self, tensors: list[Tensor]) -> None:
        start = 0
        for tensor in tensors:
            place = slice(start, start + tensor.numel())
            view = self.vector[place].view(tensor.shape)
            view.copy_(tensor.detach())
            tensor.data = view
            if tensor.requires_grad:
                tensor.grad = self.gradient[place].view(tensor.shape)
            start = place.stop

    def load(self, vector: Vector) -> None:
        """Put `vector`, (parameters,), in place and everything else back to what it was when built."""
        if vector.shape != tuple(self.vector.shape):
            raise ValueError(f"a vector of {tuple(self.vector.shape)} is needed, not {vector.shape}")
        self.vector.numpy()[:] = vector
        for buffer, built in self._left_out:
            buffer.copy_(built)

    def read(self) -> Vector:
        """A copy of the vector as it stands, (parameters,)."""
        return np.array(self.vector.numpy(), dtype=np.float32)

    def backward(self, loss: Tensor) -> Tensor:
        """Gradient of `loss`, (parameters,); overwritten by the next call."""
        self.gradient.zero_()
        loss.backward()  # type: ignore[no-untyped-call]
        return self.gradient


def _float_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The tensors of the vector by name; each once."""
    if any(is_lazy(tensor) for tensor in module.parameters()):
        raise ConfigError("the model has lazy layers: give them sizes, every party must know the layout")
    found: dict[int, tuple[str, Tensor]] = {}
    for name, value in module.state_dict(keep_vars=True).items():
        if isinstance(value, Tensor) and value.is_floating_point():
            found.setdefault(id(value), (name, value))
    if any(tensor.requires_grad and id(tensor) not in found for tensor in module.parameters()):
        raise ConfigError("the model has trainable parameters that are not real floating-point numbers")
    if not any(tensor.requires_grad for _, tensor in found.values()):
        raise ConfigError("the model has nothing to train")
    return dict(found.values())
