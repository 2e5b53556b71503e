"""Read the layout of a federation, whose digest is on chain, from the header of a stored model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from bcfl.errors import BcflError, PayloadError, StoreError
from bcfl.protocol.cid import DAG_PB, RAW, Cid
from bcfl.protocol.limits import MODEL_BYTES
from bcfl.protocol.payload import layout_digest
from bcfl.protocol.types import Layout, TensorSpec, Terms

if TYPE_CHECKING:
    from bcfl.ports import Store

HEADER_BYTES = 2**20
LENGTH_BYTES = 8
# One entry of a canonical header. It is searched for, not parsed as JSON: no nesting to be bombed with.
TENSOR = re.compile(
    rb'"([A-Za-z0-9_.-]{1,256})":\{"dtype":"I32","shape":\[((?:\d{1,18},?)*)\],"data_offsets":\[\d+,\d+\]\}'
)


def layout_in(data: bytes, digest: bytes) -> Layout:
    """Return the layout in a payload's header; raises PayloadError unless its digest is `digest`."""
    length = min(int.from_bytes(data[:LENGTH_BYTES], "little"), HEADER_BYTES)
    header = data[LENGTH_BYTES : LENGTH_BYTES + length]
    tensors = tuple(_tensor(name, shape) for name, shape in TENSOR.findall(header))
    if layout_digest(Layout(tensors)) != digest:
        raise PayloadError("the payload's layout is not the one that the contract's terms name")
    return Layout(tensors)


def stored_layout(store: Store, terms: Terms, models: Sequence[bytes]) -> Layout:
    """Return the layout of the terms from any model of a store, the first and the latest tried first.

    `models` are the CID digests of all models. Raises StoreError when the store holds none of them.
    """
    max_bytes = terms.parameters * MODEL_BYTES + HEADER_BYTES
    for digest in [models[0], *reversed(models)]:
        for codec in (RAW, DAG_PB):
            with suppress(BcflError):
                return layout_in(store.get(str(Cid(codec, digest)), max_bytes), terms.layout)
    raise StoreError("the store holds no model of this federation: name its own with --store")


def _tensor(name: bytes, shape: bytes) -> TensorSpec:
    return TensorSpec(name.decode("ascii"), tuple(int(extent) for extent in shape.split(b",") if extent))
