"""Lay the tensors of a torch module out in one flat vector, (parameters,).

The vector holds every floating-point tensor of the module's state_dict, in its order: parameters, and float
buffers such as BatchNorm's running statistics, without which a miner could not evaluate the model; they are
averaged like weights. A tensor under two names (tied weights) is in it once, under the first. Other buffers
(counters, non-persistent ones), hooks and attributes stay out; every training starts with them as `build`
made them.

A filter may leave tensors out. Of those, frozen parameters stay what they are. What training changes is the
party's own: it lies behind the vector, so that one step moves both, and never leaves the party.

A tensor may have an exponent: its entries in the vector are its values times `2**-exponent`. The module
computes with the values; whoever sees the vector sees numbers that fit the lanes. Gradients are by the
vector's entries, so that gradient times change is the same whatever the exponents.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from bcfl.errors import ConfigError
from bcfl.learning import variances
from bcfl.learning.snapshot import Snapshot
from bcfl.ports import Vector
from bcfl.protocol.types import Exponent, Layout, TensorSpec

Filter = Callable[[str, Tensor], bool]  # whether a federation shares a tensor


def layout_of(
    module: nn.Module, exponents: Mapping[str, Exponent] | None = None, shared: Filter | None = None
) -> Layout:
    """Return names, shapes and exponents of the tensors that make up `module`'s vector, in its order.

    With a filter the layout names the hash of all that is left out. Raises ConfigError for the exponent of a
    tensor that is not there.
    """
    tensors, exponents = _vector_tensors(module, shared), exponents or {}
    for name in exponents:
        if name not in tensors:
            known = ", ".join(tensors)[:200]
            raise ConfigError(f"there is an exponent for {name!r}, which is no tensor of the model: {known}")
        exponent, count = exponents[name], tensors[name].numel()
        if isinstance(exponent, tuple) and not 1 < len(exponent) == count:
            raise ConfigError(f"{name} has {len(exponent)} exponents: give one, or {count:,}, one an entry")
    return Layout(
        tuple(
            TensorSpec(name, tuple(tensor.shape), exponents.get(name, 0)) for name, tensor in tensors.items()
        ),
        b"" if shared is None else _base_of(module, frozenset(tensors)),
    )


def trained_of(module: nn.Module, shared: Filter | None = None) -> frozenset[str]:
    """Return the names of those tensors of the vector that have gradients."""
    return frozenset(name for name, tensor in _vector_tensors(module, shared).items() if tensor.requires_grad)


def scale_of(layout: Layout) -> Vector | None:
    """Return `2**exponent` for each entry of the vector, (parameters,); None where all are 1."""
    if not layout.exponents:
        return None
    one = np.float32(1)
    parts = [np.full(prod(item.shape), np.ldexp(one, item.exponent)) for item in layout.tensors]
    return np.concatenate(parts)


class FlatModule:
    """A module on a torch device; its tensors are views into one vector, their gradients into another.

    So a model is loaded with one copy, and a step of SGD is one operation whatever the architecture. Raises
    ConfigError for a module with lazy layers, or with nothing to train.
    """

    def __init__(
        self,
        module: nn.Module,
        exponents: Mapping[str, Exponent] | None = None,
        shared: Filter | None = None,
        device: str = "cpu",
    ) -> None:
        self.module = module.float()
        self._shared = shared
        self.layout = layout_of(self.module, exponents, shared)
        self._scale = scale_of(self.layout)
        self.parameters = self.layout.parameters
        self.device = torch.device(device)
        _move(self.module, self.device)  # layout and hash are the CPU's
        tensors = _changing_tensors(self.module, shared)
        size = sum(tensor.numel() for tensor in tensors.values())
        # (parameters and the party's own,), the module's own values, and of the same shape the gradient
        self.vector = torch.zeros(size, dtype=torch.float32, device=self.device)
        self.gradient = torch.zeros_like(self.vector)
        self._tensors, self._views = tensors, self._map(tensors)
        ids = {id(tensor) for tensor in tensors.values()}
        buffers = [buffer for buffer in self.module.buffers() if id(buffer) not in ids]
        self._other_buffers = [(buffer, buffer.clone()) for buffer in buffers]
        self._built = Snapshot(self.module)
        exponents = {tensor.name: tensor.exponent for tensor in self.layout.tensors}
        weights = {id(tensor) for tensor in self.module.parameters()}
        self._variances = [
            (view := self._views[name][0], variances.instead_of(view, exponents.get(name)))
            for name, tensor in tensors.items()
            if variances.is_variance(name) and id(tensor) not in weights
        ]

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

    def load(self, vector: Vector, own: Vector | None = None) -> None:
        """Copy `vector`, (parameters,), in, and what is `own`; set all else back to what it was when built.

        Running variances that are not above 0 become what `bcfl.learning.variances` has for them.
        Raises ValueError for a vector of another shape.
        """
        if vector.shape != (self.parameters,):
            raise ValueError(f"a vector of {(self.parameters,)} is needed, not {vector.shape}")
        self._built.restore()
        self._gather(self._tensors)  # they are the module's again
        _put(self.vector[: self.parameters], vector, self._scale)
        if own is not None:
            _put(self.vector[self.parameters :], own)
        for buffer, value in self._other_buffers:
            buffer.copy_(value)
        self._raise_variances()

    def _raise_variances(self) -> None:
        """Raise each running variance that is not above 0."""
        for view, instead in self._variances:
            view.copy_(torch.where(view <= 0, instead, view))

    def hold(self) -> None:
        """Have each forward pass begin with what is shared as it is now, until the next `load`.

        So whatever a loop does to it, what is not shared is trained, and takes statistics, at these values.
        """
        tensors = [self._tensors[tensor.name] for tensor in self.layout.tensors]
        values = {id(tensor): (tensor, tensor.detach().clone()) for tensor in tensors}
        for part in self.module.modules():  # code of one's own may call a part alone
            members = part.state_dict(keep_vars=True) if part is self.module else _members(part)
            held = [values[key] for key in dict.fromkeys(map(id, members.values())) if key in values]
            if held:
                part.register_forward_pre_hook(partial(_put_back, held))

    @cached_property
    def still(self) -> Tensor:
        """Return which entries have no gradient, (all that changes,)."""
        tensors = _changing_tensors(self.module, self._shared).values()
        parts = [torch.full((each.numel(),), not each.requires_grad) for each in tensors]
        return torch.cat(parts).to(self.device)

    def read(self) -> Vector:
        """Return a copy of the vector, (parameters,), float32."""
        self.collect()
        vector = _to_numpy(self.vector[: self.parameters])
        return vector if self._scale is None else vector / self._scale

    def begin(self) -> Vector:
        """Return a copy of the vector, (parameters,), of a module as it is built, for the first model."""
        return variances.begin(self.read(), self.layout)

    def by_entry(self, gradient: Tensor, *, in_place: bool = False) -> Vector:
        """Return a gradient by the module's values, (..., all that changes), as by the vector's entries."""
        values: Vector = gradient[..., : self.parameters].detach().cpu().numpy()
        out = values if in_place else np.empty_like(values)
        if self._scale is not None:
            return np.multiply(values, self._scale, out=out)
        np.copyto(out, values)
        return out

    @property
    def own(self) -> Vector:
        """Return a copy of what training changes and nobody shares, (entries,); empty where all is shared."""
        self.collect()
        return _to_numpy(self.vector[self.parameters :])

    def collect(self) -> None:
        """Copy into the vector what the module has put elsewhere, and make it a view again.

        Code of a module or of a training loop may replace a tensor or a gradient instead of writing to it,
        and freeze what it has trained, which changes nothing of what was learned. Raises ConfigError for
        tensors of other names, shapes or types.
        """
        self._built.thaw()
        self._gather(_changing_tensors(self.module, self._shared))

    def _gather(self, tensors: dict[str, Tensor]) -> None:
        shapes = {name: view.shape for name, (view, _) in self._views.items()}
        if {name: tensor.shape for name, tensor in tensors.items()} != shapes:
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
        return {name: np.array(value.detach().cpu().numpy()) for name, value in tensors.items()}

    def backward(self, loss: Tensor) -> Tensor:
        """Return the gradient of a scalar `loss` by all that changes; the next call overwrites it."""
        self.gradient.zero_()
        self.accumulate(loss)
        return self.gradient

    def accumulate(self, loss: Tensor) -> None:
        """Add the gradient of a scalar `loss` to `gradient`."""
        loss.backward()  # type: ignore[no-untyped-call]


def _members(part: nn.Module) -> dict[str, Tensor | None]:
    """Return the tensors that a part of a module has itself."""
    return {**part._parameters, **part._buffers}


def _put_back(values: list[tuple[Tensor, Tensor]], *_: object) -> None:
    """Copy to each tensor the values next to it, behind the back of autograd."""
    for tensor, value in values:
        tensor.data.copy_(value)


def _float_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of the vector by name, each once; raises ConfigError."""
    if any(is_lazy(tensor) for tensor in module.parameters()):
        raise ConfigError("the model has lazy layers: give them sizes, every party must know the layout")
    if any(tensor.is_meta for tensor in module.parameters()):
        raise ConfigError("the model is on torch's device meta, without values: build it on the CPU")
    tensors: dict[int, tuple[str, Tensor]] = {}
    for name, value in module.state_dict(keep_vars=True).items():
        if isinstance(value, Tensor) and value.is_floating_point():
            tensors.setdefault(id(value), (name, value))
    if any(tensor.requires_grad and id(tensor) not in tensors for tensor in module.parameters()):
        raise ConfigError("the model has trainable parameters that are not real floating-point numbers")
    if not any(tensor.requires_grad for _, tensor in tensors.values()):
        raise ConfigError("the model has nothing to train")
    return dict(tensors.values())


def _vector_tensors(module: nn.Module, shared: Filter | None) -> dict[str, Tensor]:
    """Return the tensors that a federation shares, by name; raises ConfigError if none is trained."""
    tensors = _float_tensors(module)
    if shared is None:
        return tensors
    chosen = {name: tensor for name, tensor in tensors.items() if shared(name, tensor.detach())}
    if not any(tensor.requires_grad for tensor in chosen.values()):
        raise ConfigError("`shared` leaves out all that is trained: there is nothing to learn together")
    return chosen


def _changing_tensors(module: nn.Module, shared: Filter | None) -> dict[str, Tensor]:
    """Return what is shared, and behind it what else training may change, by name."""
    tensors, chosen = _float_tensors(module), _vector_tensors(module, shared)
    weights = module.named_parameters(remove_duplicate=False)
    still = chosen.keys() | {name for name, value in weights if not value.requires_grad}
    own = {name: tensor for name, tensor in tensors.items() if name not in still}
    return chosen | own


def _move(module: nn.Module, device: torch.device) -> None:
    """Move parameters and buffers in place: those that have several names stay one."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.device != device:
            tensor.data = tensor.data.to(device)


def _put(place: Tensor, values: Vector, scale: Vector | None = None) -> None:
    """Copy values, times their scale, into a part of a vector, (entries,) each."""
    host = place.numpy() if place.device.type == "cpu" else np.empty(place.shape, np.float32)
    if scale is None:
        np.copyto(host, values)
    else:
        np.multiply(values, scale, out=host)
    if place.device.type != "cpu":
        place.copy_(torch.from_numpy(host))


def _to_numpy(tensor: Tensor) -> Vector:
    """Return a copy in the CPU's memory, float32."""
    return np.array(tensor.detach().cpu().numpy(), dtype=np.float32)


def _base_of(module: nn.Module, shared: frozenset[str]) -> bytes:
    """Return the SHA-256 of names, types, shapes and values of all that is not shared."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        if isinstance(value, Tensor) and name not in shared:
            array = (value.float() if value.is_floating_point() else value).detach().contiguous()
            digest.update(f"{name} {array.dtype} {tuple(array.shape)}\n".encode())
            digest.update(array.flatten().view(torch.uint8).numpy().tobytes() if array.numel() else b"")
    return digest.digest()
