"""Read the layout of a federation, whose digest is on chain, from the header of a stored model.

The exponents of a layout are chosen once, at genesis. Everybody else takes them from here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar, cast

from bcfl.errors import CidError, ConfigError, PayloadError, StoreError
from bcfl.protocol.cid import DAG_PB, RAW, Cid
from bcfl.protocol.limits import MODEL_BYTES
from bcfl.protocol.payload import layout_digest, require_parameters
from bcfl.protocol.types import Exponent, Layout, TensorSpec, Terms

if TYPE_CHECKING:
    from bcfl.learning.kinds import AnyTask
    from bcfl.ports import Store

KindOfTask = TypeVar("KindOfTask", bound="AnyTask")

HEADER_BYTES = 2**20
LENGTH_BYTES = 8
# One entry of a canonical header. It is searched for, not parsed as JSON: no nesting to be bombed with.
TENSOR = re.compile(
    rb'"([A-Za-z0-9_.-]{1,256})":\{"dtype":"I32","shape":\[((?:\d{1,18}(?:,\d{1,18}){0,31})?)\],"data_offsets":\[\d+,\d+\]\}'
)

METADATA = re.compile(rb'\{"__metadata__":\{((?:"[A-Za-z0-9_.-]{1,256}":"[0-9a-z.,=-]{1,65536}",?)*)\}')
EXPONENT = re.compile(rb'"([A-Za-z0-9_.-]{1,256})":"(-?\d{1,2}(?:,-?\d{1,2})*)"')
AGREEMENT = re.compile(rb'"__(models|noise|privacy)__":"([0-9a-z.,=-]{1,64})"')
BASE_HASH = re.compile(rb'"__base__":"([0-9a-f]{64})"')


def layout_in(data: bytes, terms: Terms) -> Layout:
    """Return the layout in a payload's header; raises PayloadError unless it is that of the terms.

    Raises ConfigError where the terms count other parameters.
    """
    length = min(int.from_bytes(data[:LENGTH_BYTES], "little"), HEADER_BYTES)
    header = data[LENGTH_BYTES : LENGTH_BYTES + length]
    entries = METADATA.match(header)
    metadata = b"" if entries is None else entries[1]
    exponents = {name: _exponent(text) for name, text in EXPONENT.findall(metadata)}
    base = BASE_HASH.search(metadata)
    layout = Layout(
        tuple(_tensor(name, shape, exponents) for name, shape in TENSOR.findall(header)),
        b"" if base is None else bytes.fromhex(base[1].decode("ascii")),
        tuple((name.decode("ascii"), value.decode("ascii")) for name, value in AGREEMENT.findall(metadata)),
    )
    if layout_digest(layout) != terms.layout:
        raise PayloadError("the payload's layout is not the one that the contract's terms name")
    require_parameters(layout, terms)
    return layout


def stored_layout(store: Store, terms: Terms, models: Sequence[bytes]) -> Layout:
    """Return the layout of the terms from any model of a store, the first and the latest tried first.

    `models` are the CID digests of all models. Raises StoreError when the store holds none of them.
    """
    max_bytes = terms.parameters * MODEL_BYTES + HEADER_BYTES
    for digest in [models[0], *reversed(models)]:
        for codec in (RAW, DAG_PB):
            with suppress(StoreError, PayloadError, CidError):
                return layout_in(store.get(str(Cid(codec, digest)), max_bytes), terms)
    raise StoreError("the store holds no model of this federation: name its own with --store")


def recorded_task(task: KindOfTask, store: Store, terms: Terms, models: Sequence[bytes]) -> KindOfTask:
    """Return the task with the exponents of the federation, and what else it agreed on.

    The store is read only where the task's own layout is not that of the terms. Raises StoreError when it
    has no model, ConfigError for a task that is not the federation's.
    """
    from bcfl.learning.kinds import layout

    shape = layout(task)
    if layout_digest(shape) == terms.layout:
        require_parameters(shape, terms)
        return task
    recorded = stored_layout(store, terms, models)
    agreed = task.with_exponents(recorded.exponents).with_agreement(recorded.agreement)
    task = cast(KindOfTask, agreed)
    if _shapes(recorded) != _shapes(shape):
        raise ConfigError(
            f"this model has {shape.parameters:,} parameters and another layout than the federation's "
            f"({terms.parameters:,} parameters): use the task and model that it was deployed with"
        )
    if recorded.base != shape.base:
        raise ConfigError(
            "what this model does not share is not what the federation began with: another base model, or "
            "another choice of what is shared"
        )
    return task


def _shapes(layout: Layout) -> list[tuple[str, tuple[int, ...]]]:
    return [(tensor.name, tensor.shape) for tensor in layout.tensors]


def _exponent(text: bytes) -> Exponent:
    first, *others = map(int, text.split(b","))
    return (first, *others) if others else first


def _tensor(name: bytes, shape: bytes, exponents: dict[bytes, Exponent]) -> TensorSpec:
    extents = tuple(int(extent) for extent in shape.split(b",") if extent)
    return TensorSpec(name.decode("ascii"), extents, exponents.get(name, 0))
