"""Start from given weights: a safetensors file of a module's state_dict, checked name by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from bcfl.errors import ConfigError
from bcfl.ports import Vector
from bcfl.protocol.types import Layout

ENTRY_BYTES: Final = 8  # of the widest type that a tensor's entry may have
HEADER_BYTES: Final = 2**24  # of a file, next to its entries
TYPES: Final = (torch.float16, torch.float32, torch.float64, torch.bfloat16)
PICKLES: Final = (b"PK\x03\x04", b"\x80\x02")  # how files of torch.save begin
LOST: Final = 0.01  # of a tensor's values may become 0
STEP: Final = 2.0**-20  # around 0, in which rounding is no loss
SHOWN: Final = 3  # names in an error
MAX_LETTERS: Final = 100  # of a name in an error


def load_weights(module: nn.Module, file: Path, vector: Iterable[str]) -> None:
    """Copy the tensors of `file` into a newly built module, as far as a federation shares them.

    `vector`: the names of those. What it does not share every party builds for itself, so the file has to
    agree with it; integer buffers start as they are built. A tensor under several names may be under any.
    Raises ConfigError, one line, for a file that does not fit.
    """
    state = {
        name: value for name, value in module.state_dict(keep_vars=True).items() if isinstance(value, Tensor)
    }
    found = _read(file, sum(value.numel() for value in state.values()))
    unknown = found.keys() - state.keys()
    if unknown:
        raise ConfigError(f"{file} has tensors that the model does not have: {_names(unknown)}")
    shared = {id(state[name]) for name in vector}
    missing = {name for name in vector if not any(state[other] is state[name] for other in found)}
    if missing:
        raise ConfigError(f"{file} lacks tensors of the model: {_names(missing)}")
    loaded: dict[int, Tensor] = {}
    for name, value in found.items():
        place = state[name]
        if value.shape != place.shape:
            raise ConfigError(f"{file}: {name} is {_shape(value)}, the model's is {_shape(place)}")
        if not place.is_floating_point():
            continue
        if value.dtype not in TYPES:
            raise ConfigError(
                f"{file}: {name} is of type {value.dtype}: take one of {_names(map(str, TYPES))}"
            )
        value = value.to(torch.float32)
        if not bool(torch.isfinite(value).all()):
            raise ConfigError(f"{file}: {name} is not finite as float32: a model starts from finite numbers")
        if id(place) in loaded and not torch.equal(loaded[id(place)], value):
            raise ConfigError(f"{file}: {name} is tied to another tensor, whose values differ")
        loaded[id(place)] = value
        if id(place) in shared:
            with torch.no_grad():
                place.copy_(value)
        elif not torch.equal(place.detach(), value):
            raise ConfigError(
                f"{file}: {name} is not shared, and not what `build` makes: every party builds it, so let "
                "`build` load it"
            )


def require_kept(layout: Layout, values: Vector, kept: Vector) -> None:
    """Raise ConfigError where fixed point loses what a model, (parameters,), starts from.

    `kept`: what is left of it, of the same shape. One large value gives its tensor an exponent at which the
    others may become 0.
    """
    start = 0
    for tensor in layout.tensors:
        span = slice(start, start + prod(tensor.shape))
        start, before, after = span.stop, values[span], kept[span]
        large = np.abs(before * np.ldexp(1.0, tensor.exponent)).max(initial=0.0)
        spoilt = int(np.count_nonzero(np.abs(before - after) > np.abs(before) / 2 + STEP))
        lost = int(np.count_nonzero((before != 0) & (after == 0)))
        place, advice = f"{before.size} values of {tensor.name}", "state `exponents` in the task"
        if spoilt:
            raise ConfigError(f"{spoilt} of {place} do not fit fixed point, one is {large:g}: {advice}")
        if lost > LOST * before.size:
            raise ConfigError(f"{lost} of {place} become 0 in fixed point, beside one of {large:g}: {advice}")


def _read(file: Path, entries: int) -> Mapping[str, Tensor]:
    """Return the tensors of a file that is no larger than a model of so many entries can be."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    limit = ENTRY_BYTES * entries + HEADER_BYTES
    try:
        if file.exists() and not file.is_file():
            raise ConfigError(f"the weights {file} cannot be read: this is no file")
        with file.open("rb") as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise ConfigError(f"the weights {file} cannot be read: {error.strerror}") from None
    if len(data) > limit:
        raise ConfigError(f"{file} is larger than {limit:,} bytes, the most that this model's weights can be")
    if data.startswith(PICKLES):
        raise ConfigError(
            f"{file} is a pickle, which may run any code: write the weights with "
            "safetensors.torch.save_file(model.state_dict(), FILE)"
        )
    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file} is no safetensors file: {str(error).splitlines()[0][:200]}") from None


def _names(names: Iterable[str]) -> str:
    ordered = sorted("".join(c if c.isprintable() else "?" for c in name[:MAX_LETTERS]) for name in names)
    more = f" and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else ""
    return ", ".join(ordered[:SHOWN]) + more


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape))[:MAX_LETTERS] or "one number"
