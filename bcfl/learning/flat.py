"""Lay the tensors of a torch module out in one flat vector, (parameters,).

The vector holds every floating-point tensor of the module's state_dict, in its order: parameters, and float
buffers such as BatchNorm's running statistics, without which a miner could not evaluate the model; they are
averaged like weights. A tensor under two names (tied weights) is in it once, under the first. Other buffers
(counters, non-persistent ones) stay out; every training starts with them as `build` made them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from bcfl.errors import ConfigError
from bcfl.ports import Vector
from bcfl.protocol.types import Layout, TensorSpec


def layout_of(module: nn.Module) -> Layout:
    """Return names and shapes of the tensors that make up `module`'s vector, in its order."""
    tensors = _float_tensors(module)
    return Layout(tuple(TensorSpec(name, tuple(tensor.shape)) for name, tensor in tensors.items()))


class FlatModule:
    """A module whose tensors are views into one vector and whose gradients are views into another.

    So a model is loaded with one copy, and a step of SGD is one operation whatever the architecture. Raises
    ConfigError for a module with lazy layers, or with nothing to train.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module.float()
        tensors = _float_tensors(self.module)
        size = sum(tensor.numel() for tensor in tensors.values())
        self.vector = torch.zeros(size)  # (parameters,)
        self.gradient = torch.zeros(size)  # (parameters,)
        self._views = self._map(tensors)
        self._shapes = {name: tensor.shape for name, tensor in tensors.items()}
        ids = {id(tensor) for tensor in tensors.values()}
        buffers = [buffer for buffer in self.module.buffers() if id(buffer) not in ids]
        self._other_buffers = [(buffer, buffer.clone()) for buffer in buffers]

    def _map(self, tensors: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Make views of the tensors and their gradients; return them by name."""
        start, views = 0, {}
        for name, tensor in tensors.items():
            span = slice(start, start + tensor.numel())
            view, slope = self.vector[span].view(tensor.shape), self.gradient[span].view(tensor.shape)
            view.copy_(tensor.detach())
            tensor.data = view
            if tensor.requires_grad:
                tensor.grad = slope
            start, views[name] = span.stop, (view, slope)
        return views

    def load(self, vector: Vector) -> None:
        """Copy `vector`, (parameters,), in and set all other buffers back to what they were when built.

        Raises ValueError for a vector of another shape.
        """
        if vector.shape != tuple(self.vector.shape):
            raise ValueError(f"a vector of {tuple(self.vector.shape)} is needed, not {vector.shape}")
        self.collect()
        self.vector.numpy()[:] = vector
        for buffer, value in self._other_buffers:
            buffer.copy_(value)

    def read(self) -> Vector:
        """Return a copy of the vector, (parameters,), float32."""
        self.collect()
        return np.array(self.vector.numpy(), dtype=np.float32)

    def collect(self) -> None:
        """Copy into the vector what the module has put elsewhere, and make it a view again.

        Code of a module or of a training loop may replace a tensor or a gradient instead of writing to it.
        Raises ConfigError for tensors of other names, shapes or types.
        """
        tensors = _float_tensors(self.module)
        if {name: tensor.shape for name, tensor in tensors.items()} != self._shapes:
            raise ConfigError("training has changed the model's layout, which every party must keep")
        for name, tensor in tensors.items():
            view, slope = self._views[name]
            if tensor.dtype != view.dtype:
                raise ConfigError(f"training has left {name} in {tensor.dtype}: it must be {view.dtype}")
            if tensor.data_ptr() != view.data_ptr():
                view.copy_(tensor.detach())
                tensor.data = view
            if tensor.requires_grad and (tensor.grad is None or tensor.grad.data_ptr() != slope.data_ptr()):
                tensor.grad = slope

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return a copy of the state_dict, as `load_state_dict` takes it, tied weights under each name."""
        tensors = {
            name: value for name, value in self.module.state_dict().items() if isinstance(value, Tensor)
        }
        return {name: np.array(value.numpy()) for name, value in tensors.items()}

    def backward(self, loss: Tensor) -> Tensor:
        """Return the gradient, (parameters,), of a scalar `loss`; the next call overwrites it."""
        self.gradient.zero_()
        self.accumulate(loss)
        return self.gradient

    def accumulate(self, loss: Tensor) -> None:
        """Add the gradient of a scalar `loss` to `gradient`."""
        loss.backward()  # type: ignore[no-untyped-call]


def _float_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of the vector by name, each once; raises ConfigError."""
    if any(is_lazy(tensor) for tensor in module.parameters()):
        raise ConfigError("the model has lazy layers: give them sizes, every party must know the layout")
    tensors: dict[int, tuple[str, Tensor]] = {}
    for name, value in module.state_dict(keep_vars=True).items():
        if isinstance(value, Tensor) and value.is_floating_point():
            tensors.setdefault(id(value), (name, value))
    if any(tensor.requires_grad and id(tensor) not in tensors for tensor in module.parameters()):
        raise ConfigError("the model has trainable parameters that are not real floating-point numbers")
    if not any(tensor.requires_grad for _, tensor in tensors.values()):
        raise ConfigError("the model has nothing to train")
    return dict(tensors.values())
