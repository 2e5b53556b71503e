"""View a global model: what the model ledger says of it, what the store has, and the model as a file."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from bcfl.errors import ConfigError
from bcfl.protocol.rewards import block_hash
from bcfl.protocol.types import Block, Exponent, Layout

if TYPE_CHECKING:
    import numpy.typing as npt

    from bcfl.federation.views.source import Source
    from bcfl.learning.kinds import AnyTask
    from bcfl.protocol.fixedpoint import Model


class ModelView(TypedDict):
    """A model in the ledger; `block_round` is the round that made it, `held` whether the store has it.

    `other_cids` are where it may lie too, since its leader can have named a wrong CID. `exponents` are those
    of tensors whose values are not the vector's, but `2**exponent` times as much, or a tuple of one an entry.
    `sealed`: whether its bytes are, for the members.
    """

    round: int
    block_round: int
    root: bytes
    cid: str
    other_cids: list[str]
    block_hash: bytes
    parent: bytes
    leader: str | None
    reward: int
    parameters: int
    exponents: dict[str, Exponent]
    bytes: int | None
    held: bool
    sealed: bool


def model_view(source: Source, number: int, block: Block) -> ModelView:
    """Return the model of `block` as the one in force after round `number`."""
    cid, *other_cids = (source.model_cid(block.round, digest) for digest in source.history.model_cids(block))
    return {
        "round": number,
        "block_round": block.round,
        "root": block.root,
        "cid": cid,
        "other_cids": other_cids,
        "block_hash": block_hash(block),
        "parent": block.parent,
        "leader": block.leader if block.round else None,
        "reward": block.reward,
        "parameters": source.terms.parameters,
        "exponents": {} if source.layout is None else source.layout.exponents,
        "bytes": None if source.sizes is None else source.sizes.model(block.round),
        "held": any(source.store.has(name) for name in (cid, *other_cids)),
        "sealed": source.sizes is not None and source.sizes.seals_model(block.round),
    }


def to_safetensors(
    layout: Layout, lanes: Model, scale_bits: int, facts: dict[str, str], task: AnyTask | None = None
) -> bytes:
    """Return a model, `(parameters,)`, as a file of tensors with `facts` as its metadata.

    With the `task` it has everything that `load_state_dict` asks for: tied weights under each of their names,
    and buffers that are no part of the vector. Raises ConfigError for a task of another layout.
    """
    import numpy as np
    from safetensors.numpy import save

    from bcfl.learning import variances
    from bcfl.protocol.fixedpoint import decode

    values = decode(lanes, scale_bits)  # (parameters,)
    metadata = {f"bcfl.{name}": fact for name, fact in facts.items()}
    if task is not None:
        from bcfl.learning.kinds import state_of

        return save(_in_order(state_of(_fitted(task, layout), values), task), metadata)
    tensors, start = {}, 0
    for tensor in layout.tensors:
        end = start + prod(tensor.shape)
        part = values[start:end] * np.ldexp(np.float32(1), tensor.exponent)
        if variances.is_variance(tensor.name):
            part = np.where(part > 0, part, variances.instead(tensor.exponent))
        tensors[tensor.name] = part.astype(np.float32).reshape(tensor.shape)
        start = end
    return save(tensors, metadata)


def _in_order(arrays: dict[str, npt.NDArray[Any]], task: AnyTask) -> dict[str, npt.NDArray[Any]]:
    """Return an app's arrays, where it numbers them, under names that sort as they are numbered: 00, 01."""
    from bcfl.learning.flower import FlowerTask

    if not isinstance(task, FlowerTask) or not all(name.isdecimal() for name in arrays):
        return arrays
    digits = max(map(len, arrays))
    return {name.zfill(digits): array for name, array in arrays.items()}


def write_adapters(path: Path, layout: Layout, lanes: Model, scale_bits: int, task: AnyTask) -> None:
    """Write the adapters of a model, `(parameters,)`, to a folder that PEFT loads; raises ConfigError."""
    from bcfl.learning.peft import save_adapters
    from bcfl.learning.tasks import Task
    from bcfl.protocol.fixedpoint import decode

    fitted = _fitted(task, layout)
    if not isinstance(fitted, Task):
        raise ConfigError(f"{fitted.name} is a Flower app, which has no module: take --format safetensors")
    save_adapters(fitted, decode(lanes, scale_bits), path)


def _fitted(task: AnyTask, layout: Layout) -> AnyTask:
    """Return a task with what a layout says of it; raises ConfigError if its model is another one."""
    from bcfl.learning import kinds

    task = task.with_exponents(layout.exponents).with_agreement(layout.agreement)
    if kinds.layout(task) != layout:
        raise ConfigError(f"task {task.name} has another model than this federation")
    return task
