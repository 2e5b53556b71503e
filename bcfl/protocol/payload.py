"""Encode a vector for the store: one canonical safetensors file for each vector.

The header is written here and not by the safetensors library, whose writer orders tensors by name; the
protocol orders them by the layout, so that the file's data is the flat vector itself. `safetensors.load`
reads the result. A header follows from layout and lane width alone: a reader computes it and compares, parses
nothing that a stranger wrote, and sees the lanes in place.

    8 bytes       length of the header, little-endian
    header        {"name":{"dtype":"I32","shape":[64,10],"data_offsets":[0,2560]},...} and spaces, to 8 bytes
    data          the lanes, little-endian

Where tensors have exponents, the header begins with them: {"__metadata__":{"running_var":"18"},"weight":...
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Final

from bcfl.errors import ConfigError, PayloadError
from bcfl.protocol.hashing import keccak
from bcfl.protocol.limits import MAX_EXPONENT
from bcfl.protocol.types import Exponent, Layout, TensorSpec, Terms

if TYPE_CHECKING:
    from bcfl.protocol.fixedpoint import Lanes

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,256}", re.ASCII)
_RESERVED = "__metadata__"
BASE = "__base__"
AGREED = ("models", "noise", "privacy")  # what a layout may say beside its tensors
_AGREED_VALUE = re.compile(r"[0-9a-z.,=-]{1,64}", re.ASCII)
_TAKEN = frozenset({_RESERVED, BASE, *(f"__{name}__" for name in AGREED)})  # no names of tensors
_ALIGNMENT = 8
LANE_BITS: Final = (8, 16, 32)


def encode(layout: Layout, lanes: Lanes) -> bytes:
    """Encode a vector, (parameters,), as its file: model lanes int32, update lanes int32, int16 or int8.

    Raises PayloadError for a vector of another length than the layout's, or a layout that no file can have.
    """
    from bcfl.protocol.fixedpoint import lane_dtype

    if lanes.shape != (layout.parameters,):
        raise PayloadError(f"a layout of {layout.parameters} parameters, a vector of shape {lanes.shape}")
    dtype = lane_dtype(lanes.dtype.itemsize * 8)
    if lanes.dtype.newbyteorder("=") != dtype:
        raise PayloadError(f"lanes are int8, int16 or int32, not {lanes.dtype}")
    return _header(layout, dtype.itemsize * 8) + lanes.astype(dtype.newbyteorder("<"), copy=False).tobytes()


def decode(data: bytes | bytearray | memoryview, layout: Layout, lane_bits: int) -> Lanes:
    """Return the lanes of a file, (parameters,), as a read-only view of `data`.

    Raises PayloadError for any bytes but those that `encode` gives for a vector of this layout and width.
    Nothing of `data` is interpreted, copied or executed, whatever it is.
    """
    import numpy as np

    from bcfl.protocol.fixedpoint import lane_dtype

    header = _header(layout, lane_bits)
    length = size(layout, lane_bits)
    if len(data) != length:
        raise PayloadError(f"a payload of {len(data)} bytes, expected {length}: not an update of this task")
    if data[: len(header)] != header:
        raise PayloadError("the payload's header is not the canonical one of this layout and lane width")
    lanes = np.frombuffer(data, lane_dtype(lane_bits).newbyteorder("<"), offset=len(header))
    lanes.flags.writeable = False
    return lanes


def size(layout: Layout, lane_bits: int) -> int:
    """Return the exact length of a file in bytes."""
    return len(_header(layout, lane_bits)) + layout.parameters * lane_bits // 8


def layout_digest(layout: Layout) -> bytes:
    """Hash a layout for the terms: keccak-256 of `[["name",[extent,...]],...]` as compact JSON.

    An exponent that is not 0 follows the extents of its tensor; where each entry has its own, a list of them.
    What is agreed on beside the tensors comes next, as `["__privacy__","confidential"]`;
    `["__base__","<hex>"]` is last, if any.
    """
    _check(layout)
    description: list[list[object]] = [
        [tensor.name, list(tensor.shape), *([tensor.exponent] if tensor.exponent else [])]
        for tensor in layout.tensors
    ]
    description.extend([key, value] for key, value in _others(layout).items())
    return keccak(json.dumps(description, separators=(",", ":")).encode("ascii"))


def require_parameters(layout: Layout, terms: Terms) -> None:
    """Raise ConfigError unless the terms count as many parameters as the layout of their digest has.

    The contract knows no layout. Where the terms count fewer, it takes the model's last entries for zeros,
    and an honest proposal can be refuted.
    """
    if layout.parameters != terms.parameters:
        raise ConfigError(
            f"the terms of this federation count {terms.parameters:,} parameters, and its layout has "
            f"{layout.parameters:,}: an honest model could be refuted, do not join it"
        )


@lru_cache(maxsize=8)
def _header(layout: Layout, lane_bits: int) -> bytes:
    """Return the bytes of a file before the data."""
    _check(layout)
    if lane_bits not in LANE_BITS:
        raise PayloadError(f"lanes have 8, 16 or 32 bits, not {lane_bits}")
    lane_bytes = lane_bits // 8
    entries: dict[str, dict[str, object]] = {}
    if layout.exponents or _others(layout):
        entries[_RESERVED] = {name: _text(exponent) for name, exponent in layout.exponents.items()}
        entries[_RESERVED] |= _others(layout)
    offset = 0
    for tensor in layout.tensors:
        end = offset + prod(tensor.shape) * lane_bytes
        entries[tensor.name] = {
            "dtype": f"I{lane_bits}",
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _text(exponent: Exponent) -> str:
    return ",".join(map(str, exponent)) if isinstance(exponent, tuple) else str(exponent)


def _others(layout: Layout) -> dict[str, str]:
    """Return what a layout says beside its tensors, by the key of its entry, in their order."""
    others = {f"__{name}__": value for name, value in layout.agreement}
    return others | ({BASE: layout.base.hex()} if layout.base else {})


def _check_exponent(tensor: TensorSpec) -> None:
    exponents = tensor.exponent if isinstance(tensor.exponent, tuple) else (tensor.exponent,)
    wrong = [exponent for exponent in exponents if abs(exponent) > MAX_EXPONENT]
    if wrong:
        wish = f"from -{MAX_EXPONENT} to {MAX_EXPONENT}, not {wrong[0]}"
        raise PayloadError(f"the exponent of tensor {tensor.name} must be {wish}")
    if isinstance(tensor.exponent, tuple) and not 1 < len(exponents) == prod(tensor.shape):
        raise PayloadError(f"tensor {tensor.name} of shape {tensor.shape} has {len(exponents)} exponents")


def _check(layout: Layout) -> None:
    """Reject layouts that name a tensor twice, not in plain characters, or with numbers out of range."""
    names = [tensor.name for tensor in layout.tensors]
    if len(set(names)) != len(names):
        raise PayloadError("the layout names a tensor twice")
    for tensor in layout.tensors:
        if not _NAME.fullmatch(tensor.name) or tensor.name in _TAKEN:
            raise PayloadError(f"not a tensor name (letters, digits, '_', '.', '-'): {tensor.name[:80]!r}")
        if any(extent < 0 for extent in tensor.shape):
            raise PayloadError(f"tensor {tensor.name} has a negative extent")
        _check_exponent(tensor)
    agreed = [name for name, _ in layout.agreement]
    if agreed != sorted(set(agreed)) or not set(agreed) <= set(AGREED):
        raise PayloadError(
            f"a layout agrees on some of {', '.join(AGREED)}, in this order, not on {agreed!r}"
        )
    for name, value in layout.agreement:
        if not _AGREED_VALUE.fullmatch(value):
            raise PayloadError(f"what a layout says of {name} must be plain and short, not {value[:80]!r}")
