"""Lay the tensors of a torch module out in one flat vector, (parameters,).

The vector holds every floating-point tensor of the module's state_dict, in its order: parameters, and float
buffers such as BatchNorm's running statistics, without which a miner could not evaluate the model; they are
averaged like weights. A tensor under two names (tied weights) is in it once, under the first. Other buffers
(counters, non-persistent ones) stay out; every training starts with them as `build` made them.

A tensor may have an exponent: its entries in the vector are its values times `2**-exponent`. The module
computes with the values; whoever sees the vector sees numbers that fit the lanes. Gradients are by the
vector's entries, so that gradient times change is the same whatever the exponents.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from bcfl.errors import ConfigError
from bcfl.ports import Vector
from bcfl.protocol.types import Layout, TensorSpec


def layout_of(module: nn.Module, exponents: Mapping[str, int] | None = None) -> Layout:
    """Return names, shapes and exponents of the tensors that make up `module`'s vector, in its order.

    Raises ConfigError for the exponent of a tensor that is not there.
    """
    tensors, exponents = _float_tensors(module), exponents or {}
    for name in exponents:
        if name not in tensors:
            known = ", ".join(tensors)[:200]
            raise ConfigError(f"there is an exponent for {name!r}, which is no tensor of the model: {known}")
    return Layout(
        tuple(
            TensorSpec(name, tuple(tensor.shape), exponents.get(name, 0)) for name, tensor in tensors.items()
        )
    )


def trained_of(module: nn.Module) -> frozenset[str]:
    """Return the names of those tensors of the vector that have gradients."""
    return frozenset(name for name, tensor in _float_tensors(module).items() if tensor.requires_grad)


def scale_of(layout: Layout) -> Vector | None:
    """Return `2**exponent` for each entry of the vector, (parameters,); None where all are 1."""
    if not layout.exponents:
        return None
    parts = [np.full(prod(tensor.shape), 2.0**tensor.exponent, np.float32) for tensor in layout.tensors]
    return np.concatenate(parts)


class FlatModule:
    """A module whose tensors are views into one vector and whose gradients are views into another.

    So a model is loaded with one copy, and a step of SGD is one operation whatever the architecture. Raises
    ConfigError for a module with lazy layers, or with nothing to train.
    """

    def __init__(self, module: nn.Module, exponents: Mapping[str, int] | None = None) -> None:
        self.module = module.float()
        self.layout = layout_of(self.module, exponents)
        self._scale = scale_of(self.layout)
        tensors = _float_tensors(self.module)
        size = sum(tensor.numel() for tensor in tensors.values())
        self.vector = torch.zeros(size)  # (parameters,), the module's own values
        self.gradient = torch.zeros(size)  # (parameters,), by these values
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
        self.vector.numpy()[:] = vector if self._scale is None else vector * self._scale
        for buffer, value in self._other_buffers:
            buffer.copy_(value)

    def read(self) -> Vector:
        """Return a copy of the vector, (parameters,), float32."""
        self.collect()
        vector = np.array(self.vector.numpy(), dtype=np.float32)
        return vector if self._scale is None else vector / self._scale

    def by_entry(self, gradient: Tensor) -> Vector:
        """Return a gradient by the module's values, (..., parameters), as one by the vector's entries."""
        values = np.array(gradient.numpy(), dtype=np.float32)
        return values if self._scale is None else values * self._scale

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
