"""The layout of a federation, whose digest is on chain, from the header of a stored model."""

from __future__ import annotations

import re

from bcfl.errors import PayloadError
from bcfl.protocol.payload import layout_digest
from bcfl.protocol.types import Layout, TensorSpec

HEADER_BYTES = 2**20
LENGTH_BYTES = 8
# One entry of a canonical header. It is searched for, not parsed as JSON: no nesting to be bombed with.
TENSOR = re.compile(
    rb'"([A-Za-z0-9_.-]{1,256})":\{"dtype":"I32","shape":\[((?:\d{1,18},?)*)\],"data_offsets":\[\d+,\d+\]\}'
)


def layout_in(data: bytes, digest: bytes) -> Layout:
    """The layout that a payload's header describes; raises PayloadError unless its digest is `digest`."""
    length = min(int.from_bytes(data[:LENGTH_BYTES], "little"), HEADER_BYTES)
    header = data[LENGTH_BYTES : LENGTH_BYTES + length]
    tensors = tuple(_tensor(name, shape) for name, shape in TENSOR.findall(header))
    if layout_digest(Layout(tensors)) != digest:
        raise PayloadError("the payload's layout is not the one that the contract's terms name")
    return Layout(tensors)


def _tensor(name: bytes, shape: bytes) -> TensorSpec:
    return TensorSpec(name.decode("ascii"), tuple(int(extent) for extent in shape.split(b",") if extent))
