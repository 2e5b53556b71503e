"""Remember what a run learns from, so that it notices other data, another model or options on resumption."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bcfl.errors import ConfigError, RunError
from bcfl.folders import write_whole

if TYPE_CHECKING:
    from bcfl.learning import Task
    from bcfl.learning.kinds import AnyShares, AnyTask

FILE = "learning.json"
WEIGHTS = "weights"
UNFIT = "does not fit"  # what stands for weights that the task cannot begin with
UNTOLD = frozenset(
    {"name", "description", "load", "build", "exponents", "weights", "agreement"}
)  # no matter, or seen otherwise

Fingerprint = dict[str, str]  # what may change, and what stands for it


def fingerprint(task: AnyTask, shares: AnyShares, seed: int) -> Fingerprint:
    """Return what stands for the data, the first model and each option of the task."""
    from bcfl.learning.flower import FlowerTask, Nodes

    if isinstance(task, FlowerTask) or isinstance(shares, Nodes):
        return task.fingerprint() if isinstance(task, FlowerTask) else {}
    parts = {
        "training data": _hash(*(array for share in shares.devices for array in share.identity())),
        "miners' data": _hash(*(array for share in shares.miners for array in share.identity())),
        "test data": _hash(*shares.test.identity()),
    }
    return parts | task_fingerprint(task, seed)


def task_fingerprint(task: Task, seed: int) -> Fingerprint:
    """Return what stands for the first model, or the weights that it has, and each option of the task.

    A file of weights that is gone has nothing that could differ: the first model is on the store. One that
    does not fit the task is another than the run began with.
    """
    from bcfl.learning.training import initial_model

    options = {field.name: getattr(task, field.name) for field in fields(task) if field.name not in UNTOLD}
    parts = {f"option {name}": _text(value) for name, value in options.items()}
    if task.weights is None:
        return {"model": _hash(initial_model(task.with_exponents({}), seed))} | parts
    if not Path(task.weights).exists():
        return parts
    try:
        return {WEIGHTS: _hash(initial_model(task.with_exponents({}), seed))} | parts
    except ConfigError:
        return {WEIGHTS: UNFIT} | parts


def check(folder: Path, found: Fingerprint, weights: Path | str | None = None) -> None:
    """Write the fingerprint of a new run to its folder, or compare it with the one that is there.

    `weights`: the file that the task names. Raises RunError that names what has changed.
    """
    file = folder / FILE
    try:
        known = json.loads(file.read_text())
    except FileNotFoundError:
        try:
            write_whole(file, (json.dumps(found, indent=1) + "\n").encode())
        except OSError as error:
            raise RunError(f"{file} cannot be written: {error.strerror}") from None
        return
    except ValueError:
        raise RunError(f"{file} is damaged: remove it to go on without noticing what has changed") from None
    if isinstance(known, dict) and WEIGHTS not in known:  # an earlier version took them for the model
        known[WEIGHTS] = known.get("model")
    changed = [name for name, value in found.items() if isinstance(known, dict) and known.get(name) != value]
    if changed == [WEIGHTS]:
        raise RunError(
            f"file of {WEIGHTS} {weights} has changed since this run began: put back what was there, or take "
            "it away, as the run has its first model"
        )
    changed = [f"file of {WEIGHTS} {weights}" if name == WEIGHTS else name for name in changed]
    if changed:
        verb = "has" if len(changed) == 1 else "have"
        raise RunError(
            f"{', '.join(changed)} {verb} changed since this run began: put back what was there, or start a "
            "new run"
        )


def _hash(*arrays: Any) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:32]


def _text(value: object) -> str:
    """Return a value as text: the source of a function, of a dict its names and those of its values."""
    if is_dataclass(value) and not isinstance(value, type):
        return f"{type(value).__name__}({_text(vars(value))})"
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_text(item)}" for name, item in value.items())
    if callable(value):
        return _hash_of_source(value)
    return repr(value)


def _hash_of_source(value: Callable[..., object]) -> str:
    try:
        source = inspect.getsource(value)
    except (OSError, TypeError):
        return (
            f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"
        )
    return hashlib.sha256(source.encode()).hexdigest()[:32]
