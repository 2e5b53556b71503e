"""Write adapters as PEFT does, where a task builds a model of PEFT's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from bcfl.errors import ConfigError, own_code
from bcfl.learning.tasks import Task
from bcfl.learning.training import FIXED_SEED, build, state_of
from bcfl.ports import Vector


def save_adapters(task: Task, model: Vector, folder: Path) -> None:
    """Write the adapters of `model`, (parameters,), and their configuration to a folder that PEFT loads.

    Raises ConfigError for a task whose module has no part that PEFT made, and where writing fails.
    """
    module = build(task, FIXED_SEED)
    adapted = [part for part in module.modules() if hasattr(part, "peft_config")]
    save: Callable[..., object] | None = getattr(adapted[0], "save_pretrained", None) if adapted else None
    if save is None:
        raise ConfigError(f"task {task.name} builds no model of PEFT's: take --format safetensors")
    with own_code(f"task {task.name}: its adapters cannot be written to {folder}"):
        module.load_state_dict({name: torch.tensor(array) for name, array in state_of(task, model).items()})
        save(str(folder), save_embedding_layers=False)
